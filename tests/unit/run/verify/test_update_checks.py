"""A run whose update was interrupted: it is said, the result before it is judged, and damage is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from damaged_runs import copy_of, edit_json, edit_table, findings_of, results_of
from growing_worlds import interrupt_at, make_growing_world, make_interrupted_update, world_in
from job_files import load_job
from zone_results import zoned_info

from pipeline.run.verify.record_checks import Records
from pipeline.run.verify.update_checks import OpenUpdate, zoned_update_text
from pipeline.run.verify.verify_run import verify
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.plan_table import write_plan
from pipeline.write.records import block_records
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, write_run_json

OLDER = "b00001_00002"
REPLACED = "b00001_00000"
STAYS = "b00000_00001"
NEW = "b00002_00000"


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_interrupted_update(tmp_path_factory.mktemp("interrupted"))


@pytest.fixture
def halfway(interrupted: Path, tmp_path: Path) -> Path:
    return copy_of(interrupted, tmp_path / "run")


def record(run: Path, name: str) -> Path:
    return run / "blocks" / f"{name}.parquet"


def change_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x40
    path.write_bytes(bytes(data))


def change_id(run: Path, row: int, col: int) -> None:
    array = zarr.open_group(str(results_of(run) / "masks.zarr"), mode="r+")["instance_id"]
    assert isinstance(array, zarr.Array)
    array[0, row, col] = 77777


def change_status(run: Path, block: str) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        next(row for row in rows if row["block_id"] == block).update(status="failed", reason="timeout")

    edit_table(results_of(run) / "coverage.parquet", change)


def test_what_is_not_done_yet_is_no_damage(halfway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = verify(halfway)
    assert (verdict.findings, verdict.not_made) == ((), {})
    assert (verdict.intact, verdict.sound) == (True, False)
    told = "1 block is still of the older plan, 3 new blocks are not done yet; start the same command again"
    assert f"an update is under way or was interrupted; {told}." in verdict.update
    assert load_job("verify_run").main([str(halfway)]) == 4
    *_, line, last = capsys.readouterr().out.splitlines()
    assert line == f"NOT ENDED    {verdict.update}"
    assert last == "the result that counts is sound"


@pytest.mark.parametrize(
    ("damage", "checks", "told"),
    [
        (lambda run: record(run, OLDER).unlink(), {"records"}, f"{OLDER}: the block is planned and has no"),
        (lambda run: change_byte(record(run, STAYS)), {"records"}, f"{STAYS}: block record"),
        (lambda run: change_byte(record(run, REPLACED)), {"records"}, f"{REPLACED}: block record"),
        (lambda run: shutil.copy(record(run, STAYS), record(run, NEW)), {"records"}, f"{NEW}: block record"),
        (
            lambda run: record(run, "b00009_00009").write_bytes(b"PAR1"),
            {"records"},
            "b00009_00009: the",
        ),
        (lambda run: change_status(run, STAYS), {"ledger", "manifest"}, "column status: 1 rows differ"),
        (lambda run: change_status(run, REPLACED), {"manifest"}, "coverage.parquet: it has "),
        (
            lambda run: change_id(run, 50, 2),
            {"rasters", "manifest"},
            f"{REPLACED}, query 0, instance_id: ",
        ),
        (lambda run: (run / "plan.parquet").unlink(), {"plan", "run.json"}, "plan.parquet: "),
        (lambda run: edit_json(run / "run.json", _without_scenes), {"run.json"}, "update: "),
    ],
    ids=["gone", "stays", "replaced", "foreign", "unplanned", "ledger", "row", "raster", "plan", "aim"],
)
def test_damage_is_found_all_the_same(
    halfway: Path, damage: Callable[[Path], object], checks: set[str], told: str
) -> None:
    damage(halfway)
    found = findings_of(halfway)
    assert found.keys() >= checks
    assert any(text.startswith(told) for texts in found.values() for text in texts), found
    verdict = verify(halfway)
    assert not verdict.intact
    assert verdict.update


def _without_scenes(document: dict[str, Any]) -> None:
    del document["update"]["scenes"]


def test_an_update_of_a_run_that_has_published_nothing_has_no_damage_either(tmp_path: Path) -> None:
    """It is interrupted, updated, and interrupted again: records are of both plans."""
    world = make_growing_world(tmp_path)
    out = tmp_path / "out"
    room = ["--grid-area", tmp_path / "all.gpkg"]
    for aoi, more, after in (("north", room, 4), ("all", ["--update"], 0)):
        words = [*world.words, *world.scene("june"), *world.aoi(aoi), *more, "--out", out]
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(patch, block_records, "after_block_record", after=after)
            assert load_job("segment_region").main([str(word) for word in words]) == 130
    verdict = verify(out)
    assert [(each.check, each.place) for each in verdict.findings] == [("run.json", "status")]
    assert "5 of its blocks are not done yet" in verdict.not_made["ledger"]


def test_the_same_command_ends_it(interrupted: Path, tmp_path: Path) -> None:
    world = world_in(interrupted.parent)
    out = copy_of(interrupted, tmp_path / "out")
    words = [*world.words, *world.scene("june"), *world.aoi("all"), "--update", "--out", out]
    assert load_job("segment_region").main([str(word) for word in words]) == 0
    verdict = verify(out)
    assert verdict.sound, (verdict.findings, verdict.not_made, verdict.update)


def run_info() -> RunInfo:
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0), width=96, height=96)
    return RunInfo(
        run_id="",
        fingerprint="old",
        status="complete",
        parameters={},
        queries=("q",),
        lattice=TileLattice(grid=grid, tile_px=64, halo_px=8, block_tiles=1),
        scenes=(),
    )


def test_of_zones_it_says_what_is_left_of_each(tmp_path: Path) -> None:
    """One is done, one has begun, one stays, one has not begun, one is new and one is new and half done."""
    before = {"done": "old", "begun": "old", "stays": "old", "waits": "old"}
    coming = {"done": "new", "begun": "new", "stays": "old", "waits": "new", "adds": "new", "comes": "new"}
    for name, fingerprint in (("done", "new"), ("begun", "old"), ("stays", "old"), ("waits", "old")):
        write_run_json(tmp_path / "zones" / name / "run.json", replace(run_info(), fingerprint=fingerprint))
    write_run_json(tmp_path / "zones/comes/run.json", replace(run_info(), status="running"))
    entries = [replace(zoned_info({}).zones[0], name=name, fingerprint=key) for name, key in before.items()]
    info = replace(zoned_info({}), zones=tuple(entries), update={"fingerprint": "f", "zones": coming})
    records = Records(run_dir=RunDir(tmp_path), keys=AlikeKeys("old"))
    begun = OpenUpdate(records=records, whole=True, n_older=2, n_new=1)
    said = zoned_update_text(RunDir(tmp_path), info, {"begun": begun})
    told = "2 blocks are still of the older plan, 1 new block is not done yet, zone waits is still of the"
    assert f"; {told} older plan, zone adds is not begun; start the same command again" in said

    lattice = run_info().lattice
    inside = np.ones((lattice.n_tile_rows, lattice.n_tile_cols), dtype=np.bool_)
    write_plan(tmp_path / "zones/comes/plan.parquet", lattice, inside)
    said = zoned_update_text(RunDir(tmp_path), info, {"begun": begun})
    assert "5 new blocks are not done yet" in said, "2 x 2 of the new zone"
