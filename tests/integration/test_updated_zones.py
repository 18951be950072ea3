"""A run of several zones goes on with a larger area, another zone, another scene or another date.

Oracle: a run that was asked for the new ground from its beginning. Both leave the same bytes in every file
but run.json, where the updated run names the snapshots that counted before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyarrow.parquet as pq
import pytest
from growing_worlds import interrupt_at
from growing_zones import (
    EAST,
    FAR,
    MORE,
    WEST,
    GrowingZones,
    interrupt_update,
    make_growing_zones,
    run_zones_job,
)
from job_files import load_job

from pipeline.run.verify.verify_run import verify
from pipeline.write import run_document

NAMES = (WEST.name, EAST.name, FAR.name)


@pytest.fixture(scope="module", autouse=True)
def one_moment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1767225600")
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> GrowingZones:
    return make_growing_zones(tmp_path_factory.mktemp("zones"))


@pytest.fixture(scope="module")
def whole(world: GrowingZones) -> Path:
    """All of the area from the beginning."""
    out = world.folder / "whole"
    assert run_zones_job(*world.words("all"), "--out", out) == 0
    return out


def run_json(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "run.json").read_text()))


def contents(out: Path) -> dict[str, bytes]:
    """Every file of the run and its zones but run.json and earlier snapshots."""
    found = {}
    for folder in (out, *(out / "zones").iterdir()):
        shown = run_json(folder)["snapshot"]
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            stale = name.startswith("snapshots/") and name.split("/")[1] != shown
            if path.is_file() and path.name != "run.json" and not stale and not name.startswith("zones/"):
                found[path.relative_to(out).as_posix()] = path.read_bytes()
    return found


def assert_same_run(updated: Path, fresh: Path) -> None:
    one, other = contents(updated), contents(fresh)
    assert [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)] == []
    for name in (".", *(f"zones/{zone.name}" for zone in (fresh / "zones").iterdir())):
        infos = [run_json(out / name) for out in (updated, fresh)]
        for info in infos:
            info.pop("earlier")
        assert infos[0] == infos[1], name
    assert verify(updated).sound


def records(out: Path) -> dict[str, tuple[int, int]]:
    """zone/block_id -> inode and time of the record."""
    found = {path: path.stat() for path in (out / "zones").glob("*/blocks/b*.parquet")}
    return {f"{path.parts[-3]}/{path.stem}": (stat.st_ino, stat.st_mtime_ns) for path, stat in found.items()}


def plan_of(out: Path) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """zone/block_id -> tiles that are looked at, each with its scenes."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for row in pq.read_table(out / "plan.parquet").to_pylist():
        if row["inside"]:
            name = f"{row['zone']}/{row['block_id']}"
            found.setdefault(name, []).append((row["tile_id"], tuple(row["scene_ids"])))
    return found


def objects(out: Path) -> dict[int, bytes]:
    """instance_id -> geometry."""
    frame = gpd.read_parquet(out / "instances")
    return dict(zip(frame["instance_id"].tolist(), frame.geometry.to_wkb().tolist(), strict=True))


@pytest.mark.long
def test_a_larger_area_and_another_zone_do_what_they_touch(
    world: GrowingZones, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    interrupt_update(world, out, after=4)
    verdict = verify(out)
    assert verdict.intact, (verdict.findings, verdict.not_made)
    assert "an update is under way or was interrupted; " in verdict.update
    shown = objects(out)
    before = run_json(out)
    was = {f"{zone['name']}" for zone in before["zones"]}
    assert was == {WEST.name, EAST.name}

    with pytest.MonkeyPatch.context() as patch:  # one zone is published, another is not, nor is the whole
        interrupt_at(patch, run_document, "before_run_json_swap", after=1)
        assert run_zones_job(*world.words("all"), "--out", out, "--update") == 130
    assert objects(out) == shown
    assert run_json(out)["snapshot"] == before["snapshot"]
    made_of = before["zones"][0]["snapshot"]
    assert run_json(out / "zones" / WEST.name)["snapshot"] != made_of
    capsys.readouterr()
    assert load_job("clean_run").main([str(out), "--keep", "0", "--min-age-hours", "0"]) == 0
    assert f"{made_of}  " in capsys.readouterr().out
    assert (out / "zones" / WEST.name / "snapshots" / made_of).is_dir(), "the whole was made of it"
    verdict = verify(out)
    assert verdict.intact, (verdict.findings, verdict.not_made)
    assert "all blocks are done, and the result is not published" in verdict.update

    done = records(out)
    assert run_zones_job(*world.words("all"), "--out", out, "--update") == 0
    assert records(out) == done, "nothing is done again"
    assert_same_run(out, whole)


@pytest.mark.long
def test_only_touched_blocks_are_done_again_and_ids_elsewhere_stay(
    world: GrowingZones, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_zones_job(*world.words("part"), "--out", out) == 0
    before, was, ids = records(out), plan_of(out), objects(out)
    place = ["--explain-tile", 1, 5, "--zone", EAST.name]
    capsys.readouterr()
    assert run_zones_job(*world.words("part"), "--out", tmp_path / "new", *place) == 0
    planned = capsys.readouterr().out
    assert run_zones_job("--out", out, *place) == 0
    assert capsys.readouterr().out.startswith(planned.rstrip()), "before the run its tiles are the same"
    assert run_zones_job(*world.words("all"), "--out", out, "--update", "--dry-run") == 0
    said = capsys.readouterr().out
    assert said.count("(--update): 3 blocks would stay as they are, 3 would be done again (3 for larger") == 2
    assert not (out / "zones" / FAR.name).exists()
    assert run_zones_job(*world.words("all"), "--out", out, "--update") == 0
    assert_same_run(out, whole)
    after, now = records(out), plan_of(out)
    same = {name for name in was if now[name] == was[name]}
    assert {name for name in was if after[name] == before[name]} == same
    assert (len(same), len(was)) == (6, 12)
    assert len(ids.items() & objects(out).items()) > 0.5 * len(ids)

    # a scene more, which reaches a corner of one zone
    names = (WEST.name, MORE, EAST.name, FAR.name)
    fresh = tmp_path / "fresh"
    assert run_zones_job(*world.words("all", *names), "--out", fresh) == 0
    before, was = after, now
    assert run_zones_job(*world.words("all", *names), "--out", out) == 2
    assert "add --update" in capsys.readouterr().err
    assert run_zones_job(*world.words("all", *names), "--out", out, "--update") == 0
    assert_same_run(out, fresh)
    after, now = records(out), plan_of(out)
    again = {name for name in was if after[name] != before[name]}
    assert again == {name for name in was if now[name] != was[name]}
    assert {name.partition("/")[0] for name in again} == {EAST.name}
    assert 0 < len(again) < 6


@pytest.mark.heavy
def test_a_zone_that_falls_out_and_comes_back_keeps_its_ids(
    world: GrowingZones, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the scenes are named in another order meanwhile."""
    out = tmp_path / "out"
    assert run_zones_job(*world.words("all"), "--out", out) == 0
    backwards = world.words("part", FAR.name, EAST.name, WEST.name)
    capsys.readouterr()
    assert run_zones_job(*backwards, "--out", out, "--update", "--dry-run") == 0
    assert f"zone {FAR.name} falls out" in capsys.readouterr().out
    assert run_zones_job(*backwards, "--out", out, "--update") == 0
    info = run_json(out)
    assert [zone["name"] for zone in info["zones"]] == [WEST.name, EAST.name]
    assert [zone["name"] for zone in info["left_zones"]] == [FAR.name]
    assert verify(out).sound
    assert len(objects(out).items() & objects(whole).items()) > 0.5 * len(objects(out))
    assert load_job("clean_run").main([str(out), "--keep", "0", "--min-age-hours", "0"]) == 0
    assert "records of blocks that fell out of the plan" in capsys.readouterr().out
    assert not list((out / "zones" / FAR.name / "blocks").glob("b*.parquet")), "no result has the zone"
    assert run_zones_job(*world.words("all"), "--out", out, "--update") == 0
    assert_same_run(out, whole)


@pytest.mark.long
def test_another_date_has_the_grids_and_ids_of_every_zone(
    world: GrowingZones, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = world.words("part", EAST.name, WEST.name)
    at = words.index("--grid-area")
    words[at : at + 2] = ["--grid-of", whole]
    out = tmp_path / "out"
    assert run_zones_job(*words, "--out", out) == 0
    theirs = {zone["name"]: zone for zone in run_json(whole)["zones"]}
    for zone in run_json(out)["zones"]:
        assert zone["id_offset"] == theirs[zone["name"]]["id_offset"]
        lattices = [run_json(run / zone["path"])["lattice"] for run in (out, whole)]
        assert lattices[0] == lattices[1]
    assert len(objects(out).items() & objects(whole).items()) > 0.5 * len(objects(out))
    assert run_zones_job(*words, "--out", out) == 0, "it resumes"
    assert verify(out).sound


@pytest.mark.long
def test_what_cannot_go_on_is_refused_before_anything_is_written(
    world: GrowingZones, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = world.words("part")
    at = words.index("--grid-area")
    assert run_zones_job(*words[:at], *words[at + 2 :], "--out", out) == 0
    before = contents(out) | {"run.json": (out / "run.json").read_bytes()}

    def refused(*more: object) -> str:
        capsys.readouterr()
        assert run_zones_job(*more, "--out", out) == 2
        return capsys.readouterr().err

    assert "add --update" in refused(*world.words("all"))
    assert "pixels beyond it" in refused(*world.words("all"), "--update")
    assert "queries" in refused(*words, "--query", "more", "--update")
    assert "min_area_m2" in refused(*words, "--min-area-m2", 5, "--update")
    assert "--crs" not in refused(*words, "--halo", 4, "--update")
    assert before == contents(out) | {"run.json": (out / "run.json").read_bytes()}
