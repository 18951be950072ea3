"""Records go that nobody needs, and no others. A run of nine blocks becomes one of six."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damaged_runs import copy_of, results_of
from growing_worlds import make_interrupted_update, world_in
from job_files import load_job
from zone_results import zoned_info

from pipeline.run.clean_run import clean, names_of_kept, plan_cleaning
from pipeline.run.old_records import OldRecords, plan_records
from pipeline.run.verify.verify_run import verify
from pipeline.write.records.done_records import record_files
from pipeline.write.run_dir import RunDir
from pipeline.write.zoned.zoned_json import write_zoned_json

SOUTH = ("b00002_00000", "b00002_00001", "b00002_00002")


def run_job(out: Path, aoi: str, world_folder: Path) -> int:
    world = world_in(world_folder)
    words = [*world.words, *world.scene("june"), *world.aoi(aoi), "--update", "--out", out]
    return load_job("segment_region").main([str(word) for word in words])


@pytest.fixture(scope="module")
def halfway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_interrupted_update(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def shrunk(halfway: Path) -> Path:
    """All of the ground, then the north of it again."""
    out = copy_of(halfway, halfway.parent / "shrunk")
    assert run_job(out, "all", halfway.parent) == 0
    assert run_job(out, "north", halfway.parent) == 0
    return out


def names(out: Path) -> list[str]:
    return [path.stem for path in record_files(RunDir(out))]


def planned(out: Path, *, keep: int, min_age_s: float = -60.0) -> OldRecords:
    kept = names_of_kept(plan_cleaning(RunDir(out), keep=keep, min_age_s=min_age_s))
    return plan_records(RunDir(out), kept=kept, min_age_s=min_age_s)


def test_a_snapshot_that_stays_needs_its_records(shrunk: Path) -> None:
    assert planned(shrunk, keep=1) == OldRecords(), "the larger area counted before"
    gone = planned(shrunk, keep=0)
    assert (gone.names, gone.stays) == (SOUTH, "")
    assert gone.n_bytes == sum((shrunk / "blocks" / f"{name}.parquet").stat().st_size for name in SOUTH)
    assert gone.text().endswith(" bytes: b00002_00000, b00002_00001, b00002_00002")


def test_they_are_named_and_go_and_come_back_with_the_area(
    shrunk: Path, halfway: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copy_of(shrunk, tmp_path / "out")
    words = [str(out), "--keep", "0", "--min-age-hours", "0"]
    assert load_job("clean_run").main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "3 records of blocks that fell out of the plan" in said
    assert "b00002_00002: would go" in said
    assert len(names(out)) == 9
    assert load_job("clean_run").main(words) == 0
    assert "removed 3 records of blocks that fell out of the plan" in capsys.readouterr().out
    assert not set(names(out)) & set(SOUTH)
    assert len(names(out)) == 6
    verdict = verify(out)
    assert verdict.sound, (verdict.findings, verdict.not_made)
    assert run_job(out, "all", halfway.parent) == 0
    assert "3 blocks stay as they are, 3 done again (3 for larger area), 3 new" in capsys.readouterr().out


def test_young_ones_stay(shrunk: Path) -> None:
    old = planned(shrunk, keep=0, min_age_s=3600.0)
    assert old == OldRecords(), "so does the snapshot that needs them"
    young = plan_records(RunDir(shrunk), kept=(), min_age_s=3600.0)
    assert young.names == SOUTH
    assert "younger than 1 h" in young.stays


def test_an_update_that_has_not_ended_needs_those_of_both_plans(halfway: Path) -> None:
    """Forward and back again."""
    assert len(names(halfway)) == 6
    assert planned(halfway, keep=0) == OldRecords()
    (halfway / "blocks" / "b00002_00001.parquet").write_bytes(b"new")
    assert planned(halfway, keep=0) == OldRecords()
    (halfway / "blocks" / "b00002_00001.parquet").unlink()


@pytest.mark.parametrize(
    ("left", "in_result", "coming", "gone"),
    [(True, "a", "a", 9), (True, "b", "a", 0), (True, "a", "b", 0), (False, "a", "a", 0)],
    ids=["nobody has it", "a result has it", "an update has it", "the run has it"],
)
def test_a_zone_that_fell_out_needs_none_once_no_result_has_it(
    halfway: Path, shrunk: Path, tmp_path: Path, left: bool, in_result: str, coming: str, gone: int
) -> None:
    zone = tmp_path / "zones" / "b"
    zone.parent.mkdir()
    copy_of(shrunk, zone)
    assert run_job(zone, "all", halfway.parent) == 0
    entry = replace(zoned_info({}).zones[0], name="b", path="zones/b")
    named = {"left_zones": (entry,), "zones": ()} if left else {"zones": (entry,)}
    whole = replace(zoned_info({}), update={"zones": {coming: ""}}, **named)
    write_zoned_json(tmp_path / "run.json", whole)
    ledger = RunDir(tmp_path).in_snapshot("one").coverage
    ledger.write_bytes(b"")
    pq.write_table(pa.table({"zone": [in_result]}), ledger.local())
    old = planned(zone, keep=0)
    assert (len(old.names), old.stays) == (gone, "")
    assert planned(zone, keep=0, min_age_s=3600.0).names == old.names
    if gone:
        ledger.delete()
        (tmp_path / "snapshots" / "one" / "coverage.parquet").write_bytes(b"damaged")
        assert planned(zone, keep=0) == OldRecords(), "it cannot be told"


@pytest.mark.parametrize("what", ["plan", "ledger"])
def test_what_cannot_be_told_is_needed(shrunk: Path, tmp_path: Path, what: str) -> None:
    out = copy_of(shrunk, tmp_path / "out")
    (out / "plan.parquet" if what == "plan" else results_of(out) / "coverage.parquet").write_bytes(b"PAR1")
    old = planned(out, keep=0)
    assert (old.names, "cannot be told" in old.stays) == ((), True)
    clean(RunDir(out), keep=0, min_age_s=-60.0, say=print)
    assert len(names(out)) == 9


def test_a_directory_without_records_has_none_that_are_old(shrunk: Path, tmp_path: Path) -> None:
    out = copy_of(shrunk, tmp_path / "out")
    shutil.rmtree(out / "blocks")
    assert planned(out, keep=0) == OldRecords()
