"""A dry run writes a plan where there is no run, and changes nothing of one that is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from damaged_runs import copy_of
from growing_worlds import GrowingWorld, make_growing_world, make_interrupted_update, world_in
from job_files import load_job

Rehearse = Callable[..., str]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_interrupted_update(tmp_path_factory.mktemp("interrupted"))


@pytest.fixture
def rehearsed(capsys: pytest.CaptureFixture[str]) -> Rehearse:
    """Calls the job with --dry-run; returns the last line of what it says."""

    def call(*words: object, code: int = 0) -> str:
        capsys.readouterr()
        assert load_job("segment_region").main([str(word) for word in (*words, "--dry-run")]) == code
        return capsys.readouterr().out.rstrip().rpartition("\n")[2]

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def june(world: GrowingWorld, out: Path, aoi: str) -> list[object]:
    return [*world.words, *world.scene("june"), *world.aoi(aoi), "--out", out]


def test_where_no_run_is_it_leaves_a_plan_and_another_may_follow(rehearsed: Rehearse, tmp_path: Path) -> None:
    world = make_growing_world(tmp_path)
    out = tmp_path / "out"
    said = rehearsed(*june(world, out, "all"))
    assert said == f"dry run: no model was loaded; the plan is {out / 'plan.parquet'}"
    assert sorted(contents(out)) == ["plan.parquet", "scenes.parquet"]
    assert pq.read_table(out / "plan.parquet").num_rows == 25  # ceil(98 / 24) = 5 a side
    rehearsed(*june(world, out, "all"), "--tile", 64)
    assert pq.read_table(out / "plan.parquet").num_rows == 4  # ceil(98 / 56) = 2 a side


def test_it_counts_what_an_update_would_do(rehearsed: Rehearse, interrupted: Path, tmp_path: Path) -> None:
    """Of 9 blocks in three rows, 3 stayed, 2 of 3 were done again before the update was interrupted."""
    world = world_in(interrupted.parent)
    out = copy_of(interrupted, tmp_path / "out")
    before = contents(out)
    said = rehearsed(*june(world, out, "all"), "--update")
    assert said == (
        f"dry run: no model was loaded and nothing was written; the run in {out} would go on with this area "
        "and these scenes (--update): 5 blocks would stay as they are, "
        "1 would be done again (1 for larger area), 3 new"
    )
    said = rehearsed(*world.scene("july"), *june(world, out, "all"), "--update")
    assert "4 blocks would stay as they are, 2 would be done again (" in said
    assert "1 for new scene july" in said
    back = rehearsed(*june(world, out, "north"), "--grid-area", world.folder / "all.gpkg")
    assert f"the run in {out} would be resumed: 4 blocks would stay as they are, 2 would be done" in back
    assert "0 not done yet" in back
    assert contents(out) == before


def test_it_counts_what_falls_out_and_what_is_damaged(
    rehearsed: Rehearse, interrupted: Path, tmp_path: Path
) -> None:
    world = world_in(interrupted.parent)
    out = copy_of(interrupted, tmp_path / "out")
    (out / "blocks" / "b00000_00000.parquet").write_bytes(b"record")
    (out / "blocks" / "b00000_00001.parquet").unlink()
    said = rehearsed(*june(world, out, "north"), "--update")
    assert "3 blocks would stay" not in said
    assert "1 for a record that is not usable" in said
    assert "1 not done yet" in said
    (out / "blocks" / "b00007_00007.parquet").write_bytes(b"record")
    assert "1 block records lie outside of the area now" in rehearsed(*june(world, out, "north"), "--update")


def test_another_run_is_refused_and_a_new_one_says_what_it_would_delete(
    rehearsed: Rehearse, interrupted: Path, tmp_path: Path
) -> None:
    world = world_in(interrupted.parent)
    out = copy_of(interrupted, tmp_path / "out")
    before = contents(out)
    rehearsed(*june(world, out, "north"), "--halo", 2, code=2)
    said = rehearsed(*june(world, out, "north"), "--halo", 2, "--new-run")
    assert said.endswith(f"the run in {out} would be deleted (--new-run)")
    assert contents(out) == before
