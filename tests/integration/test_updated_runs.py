"""A run goes on with a larger area, another scene or another date, and does only what these touch.

Oracle: a run that was asked for the new ground from its beginning. Both leave the same bytes in every file
but run.json, where the updated run names the snapshot that counted before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from growing_worlds import BLOCK_PX, GrowingWorld, interrupt_at, make_growing_world
from numpy.typing import NDArray

from pipeline.run.verify.verify_run import verify
from pipeline.write.records import block_records

RunJob = Callable[..., int]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> GrowingWorld:
    return make_growing_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")


def record_files(out: Path) -> dict[str, tuple[int, int, bytes]]:
    """block_id -> inode, time and content."""
    found = {path: path.stat() for path in sorted((out / "blocks").glob("b*.parquet"))}
    return {path.stem: (stat.st_ino, stat.st_mtime_ns, path.read_bytes()) for path, stat in found.items()}


def plan_of(out: Path) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """block_id -> tiles that are looked at, each with its scenes."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for row in pq.read_table(out / "plan.parquet").to_pylist():
        if row["inside"]:
            found.setdefault(row["block_id"], []).append((row["tile_id"], tuple(row["scene_ids"])))
    return found


def ids_in(out: Path, snapshot: str = "current") -> NDArray[np.int64]:
    folder = out / ("current" if snapshot == "current" else f"snapshots/{snapshot}") / "masks.zarr"
    return np.asarray(zarr.open_group(str(folder), mode="r")["instance_id"][0]).astype(np.int64)


def run_json(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "run.json").read_text()))


def contents(out: Path) -> dict[str, bytes]:
    """Every file of the run but run.json and earlier snapshots."""
    shown = run_json(out)["snapshot"]
    files = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in files.items()
        if name != "run.json" and (not name.startswith("snapshots/") or name.split("/")[1] == shown)
    }


def assert_same_run(updated: Path, fresh: Path) -> None:
    one, other = contents(updated), contents(fresh)
    assert [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)] == []
    infos = [run_json(out) for out in (updated, fresh)]
    assert infos[0].pop("earlier") != infos[1].pop("earlier") == []
    assert infos[0] == infos[1]
    assert verify(updated).sound


def assert_only_touched(
    before: dict[str, tuple[int, int, bytes]], was: dict[str, Any], out: Path
) -> tuple[set[str], set[str]]:
    """Check that the files of blocks with the same tiles and scenes are the same files. Returns the blocks
    that stayed, and those that were done again.
    """
    now = plan_of(out)
    same = {name for name in was if now.get(name) == was[name]}
    after = record_files(out)
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    again = {name for name in was.keys() & now.keys() if after[name][:2] != before[name][:2]}
    assert again == (was.keys() & now.keys()) - same
    return same, again


def test_a_larger_area_does_the_blocks_that_it_touches(
    run_job: RunJob, world: GrowingWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = ["--grid-area", world.folder / "all.gpkg"]
    june = world.scene("june")
    fresh = tmp_path / "fresh"
    assert run_job(*world.words, *june, *room, *world.aoi("all"), "--out", fresh) == 0
    out = tmp_path / "out"
    assert run_job(*world.words, *june, *room, *world.aoi("north"), "--out", out) == 0
    old = run_json(out)
    assert old["lattice"] == run_json(fresh)["lattice"], "the grid has room for all"
    before, was, ids = record_files(out), plan_of(out), ids_in(out)
    update = [*world.words, *june, *world.aoi("all"), "--update", "--out", out]

    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, block_records, "after_block_record", after=3)
        assert run_job(*update) == 130
    half = record_files(out)
    assert half != before
    assert len(half) < 9
    shown = run_json(out)
    assert (shown["fingerprint"], shown["snapshot"]) == (old["fingerprint"], old["snapshot"])
    np.testing.assert_array_equal(ids_in(out), ids)
    verdict = verify(out)
    assert (verdict.intact, verdict.sound) == (True, False), (verdict.findings, verdict.not_made)
    assert "; 2 new blocks are not done yet;" in verdict.update

    capsys.readouterr()
    assert run_job(*update) == 0
    said = capsys.readouterr().out
    assert "blocks stay as they are" in said
    assert_same_run(out, fresh)
    stayed, again = assert_only_touched(before, was, out)
    assert (len(stayed), len(again), len(plan_of(out))) == (3, 3, 9), "rows of 48 px from pixel 3 on"
    now = record_files(out)
    kept = {name for name, content in half.items() if content != before.get(name)}
    assert {name: now[name] for name in kept} == {name: half[name] for name in kept}, "not done again"
    np.testing.assert_array_equal(ids_in(out, old["snapshot"]), ids)
    np.testing.assert_array_equal(ids_in(out)[:BLOCK_PX], ids[:BLOCK_PX])
    assert ids[:BLOCK_PX].any()

    smaller = [*world.words, *june, *world.aoi("north"), "--update", "--out", out]
    assert run_job(*smaller) == 0
    assert "3 block records lie outside of the area now" in capsys.readouterr().out
    np.testing.assert_array_equal(ids_in(out), ids)
    verdict = verify(out)
    assert verdict.sound, (verdict.findings, verdict.not_made)


def test_a_new_scene_at_the_front_does_the_blocks_that_it_reaches(
    run_job: RunJob, world: GrowingWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = [*world.scene("july"), *world.scene("june"), *world.aoi("all")]
    fresh = tmp_path / "fresh"
    assert run_job(*world.words, *both, "--out", fresh) == 0
    out = tmp_path / "out"
    assert run_job(*world.words, *world.scene("june"), *world.aoi("all"), "--out", out) == 0
    before, was, ids = record_files(out), plan_of(out), ids_in(out)
    assert run_job(*world.words, *both, "--out", out) == 2
    assert "add --update" in capsys.readouterr().err
    assert record_files(out) == before
    with pytest.MonkeyPatch.context() as patch:
        from pipeline.write import run_document

        interrupt_at(patch, run_document, "before_run_json_swap", after=0)
        assert run_job(*world.words, *both, "--update", "--out", out) == 130
    np.testing.assert_array_equal(ids_in(out), ids)
    assert run_job(*world.words, *both, "--update", "--out", out) == 0
    assert_same_run(out, fresh)
    stayed, again = assert_only_touched(before, was, out)
    assert again == {"b00000_00000"}, "july ends at pixel 40, and blocks have 48 px from pixel 3 on"
    assert len(stayed) == len(was) - 1 == 8
    rows = pq.read_table(out / "coverage.parquet").to_pylist()
    assert {tuple(row["scene_ids"]) for row in rows if row["block_id"] in stayed} == {("june",)}
    assert {name for row in rows for name in row["scene_ids"]} == {"june", "july"}


def test_another_date_has_the_tiles_of_the_first(
    run_job: RunJob, world: GrowingWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first"
    assert run_job(*world.words, *world.scene("june"), *world.aoi("all"), "--out", first) == 0
    other = tmp_path / "other"
    late = [*world.scene("late"), *world.aoi("north"), "--grid-of", first]
    assert run_job(*world.words, *late, "--out", other) == 0
    infos = [run_json(out) for out in (first, other)]
    assert infos[0]["lattice"] == infos[1]["lattice"]
    tiles = [pq.read_table(out / "plan.parquet")["tile_id"] for out in (first, other)]
    assert tiles[0].equals(tiles[1])
    mine, theirs = ids_in(other), ids_in(first)
    shared = (mine > 0) & (theirs > 0)
    assert (mine[shared] == theirs[shared]).mean() > 0.9, "the models see the same objects"
    assert run_job(*world.words, *late, "--out", other) == 0, "it resumes"
    assert verify(other).sound
    capsys.readouterr()
    assert run_job(*world.words, *late, "--block", 4, "--out", tmp_path / "no") == 2
    assert "add --tile 32 --halo 4 --block 2" in capsys.readouterr().err


def test_what_cannot_go_on_is_refused_before_anything_is_written(
    run_job: RunJob, world: GrowingWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    north = [*world.words, *world.scene("june"), *world.aoi("north")]
    assert run_job(*north, "--out", out) == 0
    before = contents(out) | {"run.json": (out / "run.json").read_bytes()}

    def refused(*words: object) -> str:
        capsys.readouterr()
        assert run_job(*words, "--out", out) == 2
        return capsys.readouterr().err

    all_of_it = [*world.words, *world.scene("june"), *world.aoi("all")]
    assert "add --update" in refused(*all_of_it)
    said = refused(*all_of_it, "--update")
    beyond = re.search(r"([0-9,]+) pixels beyond it \(41 %\), which june shows", said)
    assert beyond, said
    assert abs(int(beyond[1].replace(",", "")) - 39.5 * 97) < 5, "rows 61 to 100.5 of 97 columns"
    assert "--grid-area" in said
    assert "queries" in refused(*north, "--query", "pools", "--update")
    assert "--update" not in refused(*north, "--query", "pools")
    assert "--new-run" in refused(*north, "--update", "--new-run")
    assert "--grid-of" in refused(*north, "--grid-of", tmp_path / "nothing")
    assert "--crs" in refused(*north, "--grid-of", out, "--crs", "EPSG:32633")
    assert before == contents(out) | {"run.json": (out / "run.json").read_bytes()}
    room = ["--grid-area", world.folder / "all.gpkg"]
    new = tmp_path / "new"
    assert run_job(*world.words, *world.scene("june"), *world.aoi("beyond"), *room, "--out", new) == 2
    assert "within the AOI" in capsys.readouterr().err
    assert not new.exists()
