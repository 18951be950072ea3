"""A run whose update was interrupted: it is said, the result before it is judged, and damage is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zarr
from damaged_runs import copy_of, edit_json, edit_table, findings_of, results_of
from growing_worlds import make_interrupted_update, world_in
from job_files import load_job

from pipeline.run.verify.verify_run import verify

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


def test_the_same_command_ends_it(interrupted: Path, tmp_path: Path) -> None:
    world = world_in(interrupted.parent)
    out = copy_of(interrupted, tmp_path / "out")
    words = [*world.words, *world.scene("june"), *world.aoi("all"), "--update", "--out", out]
    assert load_job("segment_region").main([str(word) for word in words]) == 0
    verdict = verify(out)
    assert verdict.sound, (verdict.findings, verdict.not_made, verdict.update)
