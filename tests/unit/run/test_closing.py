"""What a finished run can do without never costs the run; run.json comes last and names what is there."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyproj import CRS

from pipeline.errors import SourceError
from pipeline.load.prepare_scenes import LoadOptions
from pipeline.run import closing
from pipeline.run.closing import Imagery, MergedRun, close_run
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.coverage import Conservation
from pipeline.write.report.report import ReportInputs
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, read_run_json, write_run_json

GRID = RunGrid(
    crs_wkt=CRS.from_epsg(32633).to_wkt(),
    transform=(10.0, 0.0, 500000.0, 0.0, -10.0, 5500000.0),
    width=64,
    height=64,
)
NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


def fail(error: Exception) -> Callable[..., None]:
    def raising(*_: object, **__: object) -> None:
        raise error

    return raising


@pytest.fixture
def merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MergedRun:
    """A run whose run.json says `running`; report and overview are stood in for, the item is real."""
    run_dir = RunDir(tmp_path / "out")
    (run_dir.instances).mkdir(parents=True)
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
    write_run_json(run_dir.run_json, replace(info, status="running"))

    def report(run_dir: RunDir, inputs: ReportInputs) -> Path:
        run_dir.report.write_text("paper" if inputs.overview_rgb is None else "pictures")
        return run_dir.report

    monkeypatch.setattr(closing, "write_report", report)
    monkeypatch.setattr(closing, "read_overview", lambda *_, **__: np.zeros((2, 2, 3), dtype=np.uint8))
    return MergedRun(
        run_dir=run_dir,
        info=info,
        record_fingerprint="ab" * 32,
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
    assert closed.status == "complete"
    assert closed.notes == ()
    assert closed.outputs["report"] == "report.html"
    assert closed.outputs["item"] == "item.json"
    assert closed.outputs["masks"] is None, "this run has none"
    assert all((out / name).exists() for name in closed.outputs.values() if name is not None)
    assert (out / "report.html").read_text() == "pictures"


def test_the_item_has_the_checksum_of_the_run_json_that_follows_it(merged: MergedRun) -> None:
    close_run(merged, say=lambda _: None)
    item = json.loads(merged.run_dir.item.read_text())
    data = merged.run_dir.run_json.read_bytes()
    assert item["assets"]["run"]["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest()
    assert item["assets"]["run"]["file:size"] == len(data)


@pytest.mark.parametrize(
    ("part", "what", "lost"),
    [
        ("write_report", "report.html", {"report"}),
        ("read_overview", "the overview", set()),
        ("footprint_lonlat", "the footprint in item.json", set()),
        ("write_item", "item.json", {"item"}),
    ],
)
def test_what_cannot_be_made_costs_a_note_and_a_null(
    merged: MergedRun, monkeypatch: pytest.MonkeyPatch, part: str, what: str, lost: set[str]
) -> None:
    for name in ("report.html", "item.json"):  # of an earlier start
        (merged.run_dir.path / name).write_text("old")
    monkeypatch.setattr(closing, part, fail(ValueError("err = 2050")))
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
        assert (closed.outputs[name] is None) == (name in lost) == (not path.exists())
        assert not path.exists() or path.read_text() != "old"
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
    assert closed.outputs["report"] == "report.html"


@pytest.mark.parametrize("part", ["write_report", "write_item"])
def test_a_full_disk_leaves_the_run_open(
    merged: MergedRun, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """It can be closed once there is room."""
    monkeypatch.setattr(closing, part, fail(NO_ROOM))
    with pytest.raises(OSError, match="No space left"):
        close_run(merged, say=lambda _: None)
    assert read_run_json(merged.run_dir.run_json).status == "running"
