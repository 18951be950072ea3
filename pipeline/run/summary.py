"""What is printed before and after a run, and the closing entry of run.json."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pipeline.files.run_times import durations, moment
from pipeline.files.store.store_path import store_path
from pipeline.grid.pixel_size import pixel_side, pixel_text
from pipeline.prompt.looks.gate_audit import gate_figures, gate_text
from pipeline.run.imagery_text import unjudged_rows
from pipeline.run.merge.model_counts import CUT_REPLIES
from pipeline.run.merge.publish import Published
from pipeline.run.models.models_text import models_rows
from pipeline.run.prepare import PlannedRun
from pipeline.schema.tiling import RunGrid
from pipeline.world.oracle import background_text, parse_oracle
from pipeline.write.on_body import ground_note, why_unknown
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, kept_text

BOX_WIDTH = 100
"""Columns of the printed notice."""


def notice_box(text: str) -> str:
    """Frame a notice so that nobody overlooks it in a log."""
    lines = textwrap.wrap(text, BOX_WIDTH - 4)
    bar = "*" * BOX_WIDTH
    return "\n".join([bar, *(f"* {line.ljust(BOX_WIDTH - 4)} *" for line in lines), bar])


def plan_text(planned: PlannedRun) -> str:
    """Tell the plan in a few lines: what will be looked at, read and asked."""
    plan = planned.plan
    guess = planned.estimate
    lattice = plan.lattice
    to_read = (
        f"about {_bytes(guess.bytes_to_read)}"
        if guess.bytes_to_read is not None
        else "unknown (sizes of the files are not known)"
    )
    rows = {
        "run": planned.fingerprint[:16],
        "queries": "; ".join(planned.request.config.queries),
        "scenes": f"{len(plan.scenes)} ({plan.mode} mode){_in_halos(plan.only_in_halos)}",
        **_overlaps(planned),
        **{f"note {number}": text for number, text in enumerate(planned.notes, start=1)},
        "run grid": _grid_text(lattice.grid),
        **_ground(lattice.grid),
        "tiles": (
            f"{guess.tiles} of {lattice.tile_px} px (core {lattice.core_px}, halo {lattice.halo_px}); "
            f"{guess.tiles_outside} outside"
        ),
        "blocks": f"{guess.blocks} of {lattice.block_tiles} x {lattice.block_tiles} tiles",
        "pixels": f"{guess.pixels:,} in cores, {guess.pixels_read:,} read",
        "bytes to read": f"{to_read}, {_bytes(guess.bytes_decoded)} decoded",
        "model calls": _model_calls(planned),
        **_truth(planned),
        **_second_looks(planned),
        **models_rows(planned.request.config.preset, planned.models),
        "runner": str(planned.runner),
        "output": str(RunDir(planned.request.out).path),
    }
    return table(rows)


def _in_halos(only: Sequence[bool]) -> str:
    return f", {sum(only)} of them only in halos" if any(only) else ""


def _grid_text(grid: RunGrid) -> str:
    size = f"{grid.width} x {grid.height} px, {_crs_name(grid)}"
    if grid.crs_wkt is None:
        return size
    return f"{size}, {pixel_text(pixel_side(grid.transform), grid.crs_wkt)} per pixel"


def _ground(grid: RunGrid) -> dict[str, str]:
    """What a grid that is not simply on the Earth means for areas and footprint."""
    note = ground_note(grid)
    return {"ground": note} if note else {}


def _overlaps(planned: PlannedRun) -> dict[str, str]:
    """Which scene wins where several dates show one place."""
    return {"overlaps": planned.overlap_note} if planned.overlap_note else {}


def _model_calls(planned: PlannedRun) -> str:
    """What will be asked of the models; known locations and label rasters answer without one."""
    config = planned.request.config
    guess = planned.estimate
    asked = {
        "vllm": f"at most {guess.model_calls} prompter calls",
        "vector": "no prompter calls (locations come from --prompts)",
        "oracle": "no prompter calls (answers come from a label raster)",
        "grid": f"no prompter calls (a grid of points, {config.prompter.spacing_text}, asks for everything)",
        "whole": f"at most {guess.tiles} tiles with all their queries to the mask model",
        "grounding-dino": f"at most {guess.model_calls} looks of Grounding DINO",
    }[config.prompter.kind]
    if config.segmenter.kind == "mask-model":
        return asked
    if config.segmenter.kind == "oracle":
        return f"{asked}, no image encodings"
    return f"{asked} and at most {guess.image_encodings} image encodings"


def _truth(planned: PlannedRun) -> dict[str, str]:
    """Which values of an oracle's label raster are no objects."""
    prompter = planned.request.config.prompter
    segmenter = planned.request.config.segmenter
    models = {prompter.model: prompter.kind, segmenter.checkpoint: segmenter.kind}
    hrefs = {parse_oracle(model).labels_href for model, kind in models.items() if kind == "oracle"}
    return {"label raster": "; ".join(map(background_text, sorted(hrefs)))} if hrefs else {}


def _second_looks(planned: PlannedRun) -> dict[str, str]:
    """What gate and verifier will do, when they are on."""
    config = planned.request.config
    guess = planned.estimate
    rows = dict[str, str]()
    if config.gate.on:
        looks = (guess.blocks if config.gate.mode == "parent" else guess.tiles) * len(config.queries)
        audit = f"{100 * config.gate.audit_share:g} % of what it rejects is examined all the same"
        rows["gate"] = (
            f"at most {looks} looks (per {'block' if config.gate.mode == 'parent' else 'tile'}), P < "
            f"{config.gate.threshold:g}; {audit}"
        )
    if config.verifier.on:
        rows["verifier"] = f"one look per mask, P < {config.verifier.threshold:g} is rejected"
    if config.preset.examples.on:
        examples = config.preset.examples
        rows["examples"] = f"{examples.marks}; masks of P < {examples.threshold:g} are rejected"
    return rows


def result_table(info: RunInfo, run_dir: str, published: Published) -> str:
    """Tell what came of a run: tiles, what was not judged, what a gate did, instances per query, times.
    `info`: the run as it was closed.
    """
    ledger = published.conservation
    law = f"{ledger.planned} = {ledger.found} found + {ledger.empty} empty + {ledger.failed} failed"
    rows = {"planned tiles": law}
    rows |= {f"  {reason}": str(count) for reason, count in ledger.reasons.items() if "/" in reason}
    if ledger.searched is not None:
        rows["searched"] = ledger.searched.text(info.queries)
    rows |= unjudged_rows(list(info.stretches.values()))
    if info.gate:
        rows["gate"] = gate_text(dict(info.gate))
    rows |= {
        f'"{query}"': "; ".join(
            filter(None, [f"{count} instances{left_out_text(info, query)}", kept_text(info, query)])
        )
        for query, count in zip(info.queries, published.n_instances, strict=True)
    }
    if cut := info.counters.get(CUT_REPLIES):
        rows["cut replies"] = (
            f"{cut} ended at the token limit and may lack objects; truncated_reply in coverage.parquet says "
            "which, max_tokens under [prompter.vllm] raises the limit"
        )
    if info.timings_s:
        rows["time"] = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in info.timings_s.items())
    # in a folder, links lead to the snapshot
    rows["results"] = run_dir if store_path(run_dir).is_local else str(published.run_dir.results)
    if ledger.failed:
        rows["attention"] = (
            f"{ledger.failed} tiles failed; see status and error in coverage.parquet, then run again "
            "with --retry-failed"
        )
    return table(rows)


def left_out_text(info: RunInfo, query: str) -> str:
    """Say how many objects of a query were left out and why, and how many have no area although others have.
    Empty: none.
    """
    found = info.qa.get(query)
    figures: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    dropped = figures.get("left_out", {})
    limits = info.parameters
    reasons = {
        "outside_aoi": "outside the area of interest",
        "below_min_area_px": f"below {limits.get('stitch', {}).get('min_area_px', 0)} px (min_area_px)",
        "below_min_area_m2": f"below {limits.get('min_area_m2', 0):g} m2 (--min-area-m2)",
        "mostly_covered": "mostly covered by others",
    }
    parts = [f"{dropped[name]} {text}" for name, text in reasons.items() if dropped.get(name)]
    said = f"; left out: {', '.join(parts)}" if parts else ""
    unknown = 0 if why_unknown(info.lattice.grid) else figures.get("area_unknown", 0)
    return said + (f"; {unknown} of unknown area" if unknown else "")


def closing_entry(info: RunInfo, published: Published, timings_s: Mapping[str, float]) -> RunInfo:
    """Make the closing run.json: status, counters over all starts of the run, reasons, times. Writes nothing.

    `info`: run.json as this start has it.
    """
    ledger = published.conservation
    models = published.models
    counters = {
        "tiles_in_lattice": info.lattice.n_tile_rows * info.lattice.n_tile_cols,
        "tiles_planned": ledger.planned,
        "tiles_found": ledger.found,
        "tiles_empty": ledger.empty,
        "tiles_failed": ledger.failed,
        **models.counters(),
        "instances": sum(published.n_instances),
    }
    return replace(
        info,
        status="incomplete" if ledger.failed else "complete",
        counters=counters,
        reasons=dict(ledger.reasons),
        searched={} if ledger.searched is None else asdict(ledger.searched),
        qa=published.qa,
        gate=gate_figures(models.gate)
        if "gate" in info.parameters
        else {},  # parameters hold no gate that is off
        timings_s=durations(timings_s),
        ended=moment(),
    )


def closing_code(counters: Mapping[str, int], max_failed_share: float) -> int:
    """Choose the exit code of a run that was published, by the counters of run.json: 0, or 3 when a larger
    share of its tiles failed than may.
    """
    return 3 if counters["tiles_failed"] > max_failed_share * counters["tiles_planned"] else 0


def table(rows: Mapping[str, str]) -> str:
    """Align names and values in two columns."""
    width = max(len(name) for name in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows.items())


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _crs_name(grid: RunGrid) -> str:
    if grid.crs_wkt is None:
        return "no CRS (pixel space)"
    import pyproj

    crs = pyproj.CRS.from_wkt(grid.crs_wkt)
    code = crs.to_authority(min_confidence=70)
    return f"{code[0]}:{code[1]}" if code else crs.name
