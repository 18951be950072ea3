"""What readers know stays; a snapshot that was shown without its report gives way to another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.manifest import write_manifest
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, write_run_json
from pipeline.write.shown_snapshots import free_name, settled

GRID = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0), width=64, height=64)
INFO = RunInfo(
    run_id="ab" * 8,
    fingerprint="ab" * 32,
    status="complete",
    parameters={},
    queries=("tanks",),
    lattice=TileLattice(grid=GRID, tile_px=64, halo_px=8, block_tiles=2),
    scenes=(),
)


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    """A snapshot of a ledger and a report, with its manifest; run.json names another one."""
    run_dir = RunDir(tmp_path).in_snapshot("abc")
    run_dir.coverage.write_bytes(b"ledger")
    run_dir.report.write_bytes(b"report")
    write_manifest(run_dir, INFO.fingerprint, ())
    write_run_json(run_dir.run_json, replace(INFO, snapshot="other"))
    return run_dir


def show(run_dir: RunDir, *, earlier: bool = False) -> None:
    names = {"snapshot": "newer", "earlier": ("abc",)} if earlier else {"snapshot": "abc"}
    write_run_json(run_dir.run_json, replace(INFO, **names))


@pytest.mark.parametrize("earlier", [False, True])
def test_what_run_json_names_or_named_is_settled(run_dir: RunDir, earlier: bool) -> None:
    assert settled(run_dir) is None
    show(run_dir, earlier=earlier)
    manifest = settled(run_dir)
    assert manifest is not None
    assert sorted(manifest.files) == ["coverage.parquet", "report.html"]
    assert free_name(run_dir) == "abc"


@pytest.mark.parametrize("damage", ["no report", "another report", "no manifest", "a torn manifest"])
def test_what_was_damaged_is_mended_in_place(run_dir: RunDir, damage: str) -> None:
    show(run_dir)
    if damage == "no report":
        run_dir.report.delete()
    elif damage == "another report":
        run_dir.report.write_bytes(b"others")
    elif damage == "no manifest":
        run_dir.manifest.delete()
    else:
        run_dir.manifest.write_bytes(run_dir.manifest.read_bytes()[:40])
    assert settled(run_dir) is None
    assert free_name(run_dir) == "abc"


def test_one_that_was_shown_without_its_report_gives_way(run_dir: RunDir) -> None:
    run_dir.report.delete()
    write_manifest(run_dir, INFO.fingerprint, ())
    assert free_name(run_dir) == "abc", "nobody has seen it"
    show(run_dir)
    name = free_name(run_dir)
    assert name != "abc"
    write_run_json(run_dir.run_json, replace(INFO, snapshot=name, earlier=("abc",)))
    assert free_name(run_dir) == name, "it is not whole yet"
    second = run_dir.in_snapshot(name)
    second.coverage.write_bytes(b"ledger")
    write_manifest(second, INFO.fingerprint, ())
    assert free_name(run_dir) not in ("abc", name)
    second.report.write_bytes(b"report")
    write_manifest(second, INFO.fingerprint, ())
    assert free_name(run_dir) == name


def test_where_no_run_has_begun_the_name_is_free(tmp_path: Path) -> None:
    assert free_name(RunDir(tmp_path).in_snapshot("abc")) == "abc"
