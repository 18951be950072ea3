"""What a finished run can do without never costs the run; run.json names what is there, and the item follows
it.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pystac
import pytest
from pyproj import CRS
from s3_server import BUCKET, serving_s3

from pipeline.errors import IncompleteRunError, SourceError
from pipeline.files.store.store_path import StorePath
from pipeline.files.store.zarr_adapter import Written
from pipeline.load.overview import Overview
from pipeline.load.prepare_scenes import LoadOptions
from pipeline.run import closing, report_imagery
from pipeline.run.closing import MergedRun, close_run
from pipeline.run.report_imagery import Imagery
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write import run_document, run_lock, stac_item
from pipeline.write.coverage import Conservation
from pipeline.write.manifest import read_manifest
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.report.report import ReportInputs
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import begin
from pipeline.write.run_json import RunInfo, read_run_json

GRID = RunGrid(
    crs_wkt=CRS.from_epsg(32633).to_wkt(),
    transform=(10.0, 0.0, 500000.0, 0.0, -10.0, 5500000.0),
    width=64,
    height=64,
)
SHARD = Written("mask/c/0/0/0", 6, hashlib.sha256(b"pixels").hexdigest())
PAPER = Overview(rgb=np.zeros((2, 2, 3), dtype=np.uint8), left_out={})
NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


def fail(error: Exception) -> Callable[..., None]:
    def raising(*_: object, **__: object) -> None:
        raise error

    return raising


@pytest.fixture
def merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MergedRun:
    """A run whose run.json says `running`; report and overview are stood in for, the item is real."""
    return started_run(tmp_path / "out", monkeypatch)


def started_run(place: Path | str, monkeypatch: pytest.MonkeyPatch) -> MergedRun:
    run_dir = RunDir(place).in_snapshot("abc")
    run_dir.coverage.write_bytes(b"ledger")
    info = RunInfo(
        run_id="ab" * 8,
        fingerprint="ab" * 32,
        status="complete",
        parameters={},
        queries=("tanks",),
        lattice=TileLattice(grid=GRID, tile_px=64, halo_px=8, block_tiles=2),
        scenes=(),
        ended="2026-01-02T03:04:05+00:00",
    )
    begin(run_dir, replace(info, status="running", ended=""))

    def report(run_dir: RunDir, inputs: ReportInputs) -> StorePath:
        return run_dir.report.write_bytes(b"paper" if inputs.overview_rgb is None else b"pictures")

    monkeypatch.setattr(closing, "write_report", report)
    monkeypatch.setattr(report_imagery, "read_overview", lambda *_, **__: PAPER)
    monkeypatch.setattr(stac_item, "_table_asset", lambda run_dir, path, **_: pystac.Asset(href=path.name))
    return MergedRun(
        run_dir=run_dir,
        shards=(SHARD,),
        info=info,
        keys=AlikeKeys("ab" * 32),
        conservation=Conservation(planned=1, found=1, empty=0, failed=0, reasons={}),
        inside=np.ones((2, 2), dtype=np.bool_),
        imagery=lambda: Imagery(sources=(), load=LoadOptions()),
    )


def test_a_run_that_is_complete_has_everything_that_it_names(merged: MergedRun) -> None:
    said = list[str]()
    closed = close_run(merged, say=said.append)
    out = merged.run_dir.path
    assert said == []
    assert read_run_json(out / "run.json") == closed
    assert (closed.status, closed.snapshot, closed.at_work) == ("complete", "abc", "")
    assert closed.notes == ()
    assert closed.outputs == {
        "plan": None,
        "masks": None,  # this run has none
        "instances": None,
        "coverage": "snapshots/abc/coverage.parquet",
        "manifest": "snapshots/abc/manifest.json",
        "report": "snapshots/abc/report.html",
        "item": "item.json",
    }
    assert all((out / name).exists() for name in closed.outputs.values() if name is not None)
    assert (out.local() / "report.html").read_text() == "pictures", "the link follows"


def test_a_finished_run_that_is_closed_again_leaves_its_snapshot_as_it_is(
    merged: MergedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its report would have another time in it. A report that could not be made may be made in another
    snapshot, and what the first one said of its pictures stays said.
    """
    run = merged.run_dir
    with monkeypatch.context() as broken:
        broken.setattr(report_imagery, "read_overview", fail(SourceError("gone")))
        (note,) = close_run(merged, say=lambda _: None).notes
    before = {path: path.head() for path in run.results.entries()}
    monkeypatch.setattr(closing, "write_report", lambda *_: pytest.fail("the report is there"))
    begin(run, replace(merged.info, status="running", ended=""))
    again = close_run(merged, say=lambda text: pytest.fail(text))
    assert {path: path.head() for path in run.results.entries()} == before
    assert (again.snapshot, again.at_work, again.notes) == ("abc", "", (note,))


def test_the_manifest_names_what_is_there_and_what_tasks_wrote(merged: MergedRun) -> None:
    close_run(merged, say=lambda _: None)
    manifest = read_manifest(merged.run_dir)
    assert manifest is not None
    assert (manifest.snapshot, manifest.fingerprint) == ("abc", merged.info.fingerprint)
    assert manifest.files == {
        "masks.zarr/mask/c/0/0/0": (SHARD.size, SHARD.sha256),
        "coverage.parquet": (6, hashlib.sha256(b"ledger").hexdigest()),
        "report.html": (8, hashlib.sha256(b"pictures").hexdigest()),
    }


def test_the_item_describes_the_snapshot_that_counts(
    merged: MergedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written once run.json names it: killed in between, the next start writes it."""
    write = closing.write_item

    def watched(run_dir: RunDir, *args: Any) -> StorePath:
        assert read_run_json(run_dir.run_json).snapshot == "abc"
        return write(run_dir, *args)

    monkeypatch.setattr(closing, "write_item", watched)
    close_run(merged, say=lambda _: None)
    item = json.loads(merged.run_dir.item.read_text())
    assert item["assets"]["report"]["href"] == "./snapshots/abc/report.html"
    assert "file:checksum" not in item["assets"]["run"], "run.json is rewritten by every start"


def test_a_driver_that_was_taken_over_publishes_nothing(
    merged: MergedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It slept while it made the report; its successor's result counts, and so does its item."""
    out = merged.run_dir
    successor = replace(run_lock.this_driver(), token="successor")
    with monkeypatch.context() as other:
        other.setattr(run_document, "this_driver", lambda: successor)
        begin(out, replace(merged.info, status="running", ended=""))
        theirs = out.in_snapshot("theirs")
        theirs.coverage.write_bytes(b"theirs")
        close_run(replace(merged, run_dir=theirs), say=lambda _: None)
    before = (out.run_json.read_bytes(), out.item.read_bytes())
    with pytest.raises(IncompleteRunError, match="taken over"):
        close_run(merged, say=lambda _: None)
    assert (out.run_json.read_bytes(), out.item.read_bytes()) == before
    assert read_run_json(out.run_json).snapshot == "theirs"


def test_a_run_in_a_bucket_is_closed_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_s3():
        run = started_run(f"s3://{BUCKET}/run", monkeypatch)
        closed = close_run(run, say=lambda text: pytest.fail(text))
        assert read_run_json(run.run_dir.run_json) == closed
        assert closed.snapshot == "abc"
        assert json.loads(run.run_dir.item.read_text())["assets"]["coverage"]["href"] == "coverage.parquet"
        assert run.run_dir.path.children() == ["item.json", "run.json", "snapshots"]


@pytest.mark.parametrize(
    ("module", "part", "what", "lost"),
    [
        (closing, "write_report", "report.html", {"report"}),
        (report_imagery, "read_overview", "the overview", set()),
        (closing, "footprint_lonlat", "the footprint in item.json", set()),
        (closing, "write_item", "item.json", {"item"}),
    ],
)
def test_what_cannot_be_made_costs_a_note_and_a_null(
    merged: MergedRun,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    part: str,
    what: str,
    lost: set[str],
) -> None:
    merged.run_dir.item.write_bytes(b"old")  # of an earlier start
    monkeypatch.setattr(module, part, fail(ValueError("err = 2050")))
    said = list[str]()
    closed = close_run(merged, say=said.append)
    log = merged.run_dir.log
    note = f"{what} could not be made: unexpected ValueError: err = 2050. The traceback is in {log}."
    assert said == [f"note: {note}"]
    assert read_run_json(merged.run_dir.run_json) == closed
    assert closed.status == "complete"
    assert closed.notes == (note,)
    for name in ("report", "item"):
        path = getattr(merged.run_dir, name)
        assert (closed.outputs[name] is None) == (name in lost)
        assert closed.outputs[name] is None or (path.exists() and path.read_text() != "old")
    assert "Traceback" in log.read_text()
    if part == "footprint_lonlat":
        item = json.loads(merged.run_dir.item.read_text())
        assert item["geometry"] is None
        assert "bbox" not in item or item["bbox"] is None


def test_imagery_that_has_gone_leaves_a_report_on_plain_paper(merged: MergedRun) -> None:
    said = list[str]()
    gone = replace(merged, imagery=fail(SourceError("scene.tif could not be opened")))  # type: ignore[arg-type]
    closed = close_run(gone, say=said.append)
    assert said == ["note: pictures of the imagery could not be made: scene.tif could not be opened"]
    assert merged.run_dir.report.read_text() == "paper"
    assert closed.outputs["report"] == "snapshots/abc/report.html"


@pytest.mark.parametrize("part", ["write_report", "write_manifest", "conclude"])
def test_a_full_disk_leaves_the_run_open(
    merged: MergedRun, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """It can be closed once there is room."""
    monkeypatch.setattr(closing, part, fail(NO_ROOM))
    with pytest.raises(OSError, match="No space left"):
        close_run(merged, say=lambda _: None)
    assert read_run_json(merged.run_dir.run_json).status == "running"


def test_a_disk_that_is_full_for_the_item_alone_is_an_error_and_the_result_counts(
    merged: MergedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command makes it once there is room."""
    monkeypatch.setattr(closing, "write_item", fail(NO_ROOM))
    with pytest.raises(OSError, match="No space left"):
        close_run(merged, say=lambda _: None)
    info = read_run_json(merged.run_dir.run_json)
    assert (info.status, info.snapshot) == ("complete", "abc")
