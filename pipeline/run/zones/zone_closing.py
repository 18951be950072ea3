"""The end of a run of several zones: report, catalogue item, and run.json last.

As for an ordinary run, what cannot be made costs nothing but a note and a null in `outputs`. A full disk is
an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial

import shapely

from pipeline.files.run_times import durations, moment
from pipeline.files.store.store_path import StorePath
from pipeline.run.closing_notes import Notes, kept_notes
from pipeline.run.screen import Say
from pipeline.run.stop_signals import unbroken
from pipeline.run.summary import table
from pipeline.run.zones.zone_objects import ZoneResult
from pipeline.run.zones.zone_pictures import zoned_pictures
from pipeline.run.zones.zone_publish import PublishedZones
from pipeline.write.manifest import write_manifest
from pipeline.write.plan_table import read_inside
from pipeline.write.report.report_html import Html
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import amend, conclude, seen_version
from pipeline.write.shown_snapshots import settled
from pipeline.write.stac_item import footprint_lonlat
from pipeline.write.zoned.zoned_item import write_zoned_item
from pipeline.write.zoned.zoned_json import ZonedInfo
from pipeline.write.zoned.zoned_page import write_zoned_page
from pipeline.write.zoned.zoned_pictures import picture_sections


def close_zones(
    started: ZonedInfo,
    results: Sequence[ZoneResult],
    published: PublishedZones,
    *,
    timings_s: Mapping[str, float],
    say: Say,
) -> ZonedInfo:
    """Add report.html and item.json, and write run.json last; returns its content. Raises OSError when the
    disk is full.
    """
    root = published.run_dir
    info = _closing_entry(started, results, published, timings_s)
    notes = Notes(say, root.log)
    reports = [root.zone_report(each.zone.name) for each in results]
    if settled(root) is None:
        _copy_reports(root, results, notes)
        pictures = notes.attempt("the pictures of report.html", lambda: _pictures(root, info, results, notes))
        notes.attempt(
            "report.html",
            lambda: write_zoned_page(
                root,
                info,
                published.conservation,
                n_instances=published.n_instances,
                reports=[path.below(root.results) if path.exists() else None for path in reports],
                pictures=pictures or (),
            ),
        )
    else:
        notes.texts += kept_notes(root)
    write_manifest(root, info.fingerprint, (), pages=[path for path in reports if path.exists()])
    item_before = seen_version(root.item)
    with unbroken():
        info = conclude(root, replace(info, notes=tuple(notes.texts), outputs=_outputs(root)))
    if notes.attempt("item.json", lambda: _item(root, info, results, item_before)) is None:
        info = amend(root, replace(info, notes=tuple(notes.texts), outputs={**info.outputs, "item": None}))
    return info


def _pictures(root: RunDir, info: ZonedInfo, results: Sequence[ZoneResult], notes: Notes) -> list[Html]:
    seed = int(info.fingerprint[:8] or "0", 16)
    with zoned_pictures(results, notes) as pictures:
        owned = [shapely.from_wkb(bytes.fromhex(zone.owned_wkb)) for zone in info.zones]
        return picture_sections(root, pictures, queries=info.queries, seed=seed, owned=owned)


def _copy_reports(root: RunDir, results: Sequence[ZoneResult], notes: Notes) -> None:
    """Put the zones' reports, as far as there are some, where the page of all zones leads."""
    for each in results:
        if each.run_dir.report.exists():
            copy = root.zone_report(each.zone.name)
            notes.attempt(
                f"the report of zone {each.zone.name} beside report.html",
                partial(_copied, each.run_dir.report, copy),
            )


def _copied(path: StorePath, copy: StorePath) -> StorePath:
    return copy.write_bytes(path.read_bytes())


def _item(root: RunDir, info: ZonedInfo, results: Sequence[ZoneResult], seen: str) -> StorePath:
    footprints = [
        footprint_lonlat(each.info.lattice, read_inside(each.run_dir.plan, each.info.lattice))
        for each in results
    ]
    return write_zoned_item(
        root,
        info,
        footprints=[footprint for footprint in footprints if footprint is not None],
        scenes=[scene for each in results for scene in each.info.scenes],
        seen=seen,
    )


def _closing_entry(
    started: ZonedInfo,
    results: Sequence[ZoneResult],
    published: PublishedZones,
    timings_s: Mapping[str, float],
) -> ZonedInfo:
    ledger = published.conservation
    summed: dict[str, int] = {}
    for each in results:
        for name, count in each.info.counters.items():
            summed[name] = summed.get(name, 0) + count
    return replace(
        started,
        status="incomplete" if ledger.failed else "complete",
        zones=tuple(
            replace(entry, status=each.info.status, snapshot=each.info.snapshot)
            for entry, each in zip(started.zones, results, strict=True)
        ),
        counters={**summed, "instances": sum(published.n_instances)},
        reasons=dict(ledger.reasons),
        searched={} if ledger.searched is None else asdict(ledger.searched),
        qa=published.qa,
        warnings=tuple(dict.fromkeys(text for each in results for text in each.info.warnings)),
        timings_s=durations(timings_s),
        ended=moment(),
    )


def _outputs(root: RunDir) -> dict[str, str | None]:
    paths = {
        "zones": root.zones,
        "plan": root.plan,
        "instances": root.instances,
        "coverage": root.coverage,
        "manifest": root.manifest,
        "report": root.report,
    }
    there = {name: path.below(root.path) if path.exists() else None for name, path in paths.items()}
    return {**there, "item": root.item.name}


def zoned_result_table(info: ZonedInfo, published: PublishedZones, root: RunDir) -> str:
    """Tell what came of all zones: tiles, ground, and instances per query, every one once."""
    ledger = published.conservation
    rows = {
        "all zones": f"{ledger.planned} planned tiles = {ledger.found} found + {ledger.empty} empty + "
        f"{ledger.failed} failed"
    }
    if ledger.searched is not None:
        rows["searched"] = ledger.searched.text(info.queries)
    for query, count in zip(info.queries, published.n_instances, strict=True):
        figures = published.qa[query]
        rows[f'"{query}"'] = f"{count} instances, {figures['joined']} of the zones' joined over a seam" + (
            f"; left out: {figures['below_min_area_m2']} below the smallest area"
            if figures["below_min_area_m2"]
            else ""
        )
    if info.timings_s:
        rows["time"] = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in info.timings_s.items())
    rows["results"] = str(root.path if root.path.is_local else published.run_dir.results)
    if ledger.failed:
        rows["attention"] = (
            f"{ledger.failed} tiles failed; see status and error in coverage.parquet, then run again with "
            "--retry-failed"
        )
    return table(rows)
