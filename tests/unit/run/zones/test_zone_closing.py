"""A run of zones is closed like any other: run.json names its snapshot, and a note what could not be made."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from page_links import followed, hrefs_of
from zone_results import two_zones

from pipeline.files.store.store_path import StorePath
from pipeline.run.zones import zone_closing
from pipeline.run.zones.zone_closing import close_zones, zoned_result_table
from pipeline.run.zones.zone_publish import publish_zones
from pipeline.write.manifest import read_manifest
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import begin, finished_run
from pipeline.write.zoned.zoned_json import ZonedInfo, ZoneEntry

ZONE_NAMES = ("EPSG_32630", "EPSG_32631")


def closed(root: Path, said: list[str], *, reports: bool = False) -> ZonedInfo:
    """`reports`: the zones have some, the western one in a snapshot."""
    results = two_zones(root, [], [], failed=[(1, 1)])
    if reports:
        results[0] = replace(results[0], run_dir=_with_snapshot(results[0].run_dir))
        for each in results:
            each.run_dir.report.write_bytes(each.zone.name.encode())
    entries = tuple(
        ZoneEntry(
            name=each.zone.name,
            crs=each.zone.name,
            path=f"zones/{each.zone.name}",
            fingerprint=each.info.fingerprint,
            id_offset=each.id_offset,
            n_scenes=1,
            n_tiles=16,
            owned_wkb=each.zone.owned.wkb_hex,
        )
        for each in results
    )
    info = ZonedInfo(
        run_id="whole",
        fingerprint="f",
        status="running",
        parameters={},
        queries=("roofs",),
        crs="OGC:CRS84",
        zones=entries,
        started="2024-05-06T08:00:00Z",
    )
    run_dir = RunDir(root)
    info = begin(run_dir, info)
    published = publish_zones(run_dir, results, min_area_m2=0.0, info=info)
    done = close_zones(info, results, published, timings_s={"total": 1.0}, say=said.append)
    said.append(zoned_result_table(done, published, run_dir))
    return done


def _with_snapshot(run_dir: RunDir) -> RunDir:
    """The same results in a snapshot."""
    shown = run_dir.in_snapshot("z")
    for name in ("coverage.parquet", "instances"):
        (run_dir.path / name).local().rename(made(shown.results.local()) / name)
    return shown


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_the_whole_says_what_came_of_it(tmp_path: Path) -> None:
    said: list[str] = []
    info = closed(tmp_path, said)
    assert info.status == "incomplete"
    assert [zone.status for zone in info.zones] == ["incomplete", "complete"]
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["counters"] == {"tiles_planned": 32, "instances": 0}
    snapshot = f"snapshots/{info.snapshot}"
    assert document["outputs"] == {
        "zones": "zones",
        "plan": "plan.parquet",
        "instances": f"{snapshot}/instances",
        "coverage": f"{snapshot}/coverage.parquet",
        "manifest": f"{snapshot}/manifest.json",
        "report": f"{snapshot}/report.html",
        "item": "item.json",
    }
    assert all((tmp_path / path).exists() for path in document["outputs"].values())
    assert os.readlink(tmp_path / "current") == snapshot
    manifest = read_manifest(finished_run(tmp_path))
    assert manifest is not None
    assert sorted(manifest.files) == ["coverage.parquet", "instances/part-00000.parquet", "report.html"]
    page = (tmp_path / snapshot / "report.html").read_text()
    assert hrefs_of(page) == []  # these zones have no reports of their own
    item = json.loads((tmp_path / "item.json").read_text())
    assert item["assets"]["instances"]["href"] == f"./{snapshot}/instances/part-00000.parquet"
    assert document["notes"] == []
    assert "1 tiles failed" in said[-1]
    assert "--retry-failed" in said[-1]


def test_the_report_leads_to_the_zones_reports_from_wherever_it_is_opened(tmp_path: Path) -> None:
    """By each of its addresses, and in a snapshot that was taken elsewhere. A zone has a snapshot of its own,
    shown by a link, or none as of earlier versions.
    """
    out = tmp_path / "out"
    info = closed(out, [], reports=True)
    (out / "zones" / "EPSG_32630" / "report.html").symlink_to("snapshots/z/report.html")
    moved = tmp_path / "moved"
    shutil.copytree(out / "snapshots" / info.snapshot, moved)
    for folder in (out, out / "current", out / "snapshots" / info.snapshot, moved):
        linked = followed(folder / "report.html")
        assert linked == [folder / "zones" / name / "report.html" for name in ZONE_NAMES]
        assert [path.read_text() for path in linked] == list(ZONE_NAMES)
    manifest = read_manifest(finished_run(out))
    assert manifest is not None
    assert {f"zones/{name}/report.html" for name in ZONE_NAMES} <= manifest.files.keys()


def test_a_report_that_cannot_be_copied_is_a_note_and_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: StorePath, copy: StorePath) -> StorePath:
        if "EPSG_32631" in str(path):
            raise RuntimeError("no ink")
        return copy.write_bytes(path.read_bytes())

    monkeypatch.setattr(zone_closing, "_copied", broken)
    info = closed(tmp_path, [], reports=True)
    assert followed(tmp_path / "report.html") == [tmp_path / "zones" / "EPSG_32630" / "report.html"]
    (note,) = info.notes
    assert note.startswith("the report of zone EPSG_32631 beside report.html could not be made")


def test_what_cannot_be_made_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Path:
        raise RuntimeError("no pen")

    monkeypatch.setattr(zone_closing, "write_zoned_page", broken)
    monkeypatch.setattr(zone_closing, "write_zoned_item", broken)
    said: list[str] = []
    info = closed(tmp_path, said)
    assert info.outputs["report"] is None
    assert info.outputs["item"] is None
    assert info.outputs["instances"] == f"snapshots/{info.snapshot}/instances"
    assert len(info.notes) == 2
    assert "no pen" in said[0]
    assert json.loads((tmp_path / "run.json").read_text())["notes"] == list(info.notes)
