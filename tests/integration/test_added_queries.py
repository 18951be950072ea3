"""Queries are added to a finished run (`--add-query`).

Oracle: a run that was asked all queries from its beginning. The prompter is one that knows the truth, and
gives each query a share of the objects of its own, so that no query's answers are those of another one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from growing_worlds import GrowingWorld, interrupt_at, make_growing_world
from growing_zones import make_growing_zones, run_zones_job
from job_files import load_job
from killed_jobs import start_job

from pipeline.files.fail_point import VARIABLE
from pipeline.prompt.oracle_prompter import OraclePrompter
from pipeline.run.verify.verify_run import verify
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Reason, TilePrompts, TileStatus
from pipeline.write import run_document
from pipeline.write.records import block_records
from pipeline.write.run_document import finished_run
from tests.s3_server import BUCKET, serving_s3

RunJob = Callable[..., int]
ARRAYS = ("mask", "instance_id", "score")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> GrowingWorld:
    return make_growing_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every query that the prompter is asked about a tile. "pools" and "ships" mean a part of the objects."""
    told: list[str] = []
    all_of = OraclePrompter.prompt

    async def prompt(self: OraclePrompter, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        told.extend(queries)
        return [
            share_of(answer, query)
            for answer, query in zip(await all_of(self, image, queries), queries, strict=True)
        ]

    monkeypatch.setattr(OraclePrompter, "prompt", prompt)
    return told


def share_of(answer: TilePrompts, query: str) -> TilePrompts:
    shares = {"pools": slice(0, None, 2), "ships": slice(1, None, 2)}
    prompts = answer.prompts[shares.get(query, slice(None))]
    if prompts or answer.status is not TileStatus.FOUND:
        return replace(answer, prompts=prompts, reply=f"of {query}")
    return replace(answer, prompts=(), status=TileStatus.EMPTY, reason=Reason.PROMPTER, reply=f"no {query}")


def run_json(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "run.json").read_text()))


def rows_of(out: Path, query: str) -> list[dict[str, Any]]:
    """Rows of instances and ledger of one query. `run_id` names the run that run.json names, and the order of
    objects is a curve through those of all queries: neither is compared.
    """
    rows = pq.read_table(out / "current/instances").drop_columns(["run_id"]).to_pylist()
    rows.sort(key=lambda row: row["instance_id"])
    rows += pq.read_table(out / "current/coverage.parquet").to_pylist()
    return [row for row in rows if row["query"] == query]


def pixels_of(out: Path, query: str) -> list[bytes]:
    group = zarr.open_group(str(out / "current/masks.zarr"), mode="r")
    place = np.asarray(group["query"][:]).tolist().index(query)
    return [np.asarray(group[name][place]).tobytes() for name in ARRAYS]


def record_rows(out: Path, n_queries: int) -> list[pa.Table]:
    """The rows of the first queries in every record, as they are stored."""
    found = []
    for path in sorted((out / "blocks").glob("b*.parquet")):
        table = pq.read_table(path)
        keep = [index < n_queries for index in table["query_index"].to_pylist()]
        found.append(table.filter(pa.array(keep)).replace_schema_metadata(None))
    return found


def results(out: Path, queries: Sequence[str]) -> dict[str, Any]:
    return {query: (rows_of(out, query), pixels_of(out, query)) for query in queries}


def assert_as_fresh(out: Path, fresh: Path) -> None:
    """The same run but for the image encodings, which were made twice, and the names of snapshots."""
    queries = run_json(fresh)["queries"]
    assert results(out, queries) == results(fresh, queries)
    assert record_rows(out, len(queries)) == record_rows(fresh, len(queries))
    assert (out / "plan.parquet").read_bytes() == (fresh / "plan.parquet").read_bytes()
    infos = [run_json(each) for each in (out, fresh)]
    for info in infos:
        for key in ("earlier", "snapshot", "outputs"):
            info.pop(key)
        assert info["counters"].pop("image_encodings") > 0
    assert infos[0] == infos[1]
    verdict = verify(out)
    assert verdict.sound, (verdict.findings, verdict.not_made)


def test_only_the_added_queries_are_asked_and_all_else_stays(
    run_job: RunJob,
    world: GrowingWorld,
    tmp_path: Path,
    asked: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = [*world.words, *world.scene("june"), *world.aoi("all")]
    more = ["--query", "pools", "--query", "ships"]
    fresh = tmp_path / "fresh"
    assert run_job(*base, *more, "--out", fresh) == 0
    out = tmp_path / "out"
    assert run_job(*base, "--out", out) == 0
    before = results(out, ["tanks"])
    stored = record_rows(out, 1)
    snapshot = run_json(out)["snapshot"]
    scenes = (out / "scenes.parquet").read_bytes()
    add = ["--out", out, "--add-query", "pools", "--add-query", "ships"]

    assert run_job(*add, "--dry-run") == 0
    assert "9 asked the added queries alone" in capsys.readouterr().out
    assert run_json(out)["snapshot"] == snapshot
    asked.clear()
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, block_records, "after_block_record", after=3)
        assert run_job(*add) == 130
    assert set(asked) == {"pools", "ships"}
    assert results(out, ["tanks"]) == before
    shown = run_json(out)
    assert (shown["queries"], shown["snapshot"]) == (["tanks"], snapshot)
    verdict = verify(out)
    assert (verdict.intact, verdict.sound) == (True, False), (verdict.findings, verdict.not_made)
    for words, why in (
        ([*base, "--out", out], "has not ended"),
        ([*base, "--update", "--out", out], "has not ended"),
        (["--out", out, "--add-query", "roads"], "must end first"),
    ):
        capsys.readouterr()
        assert run_job(*words) == 2
        assert why in capsys.readouterr().err

    capsys.readouterr()
    assert load_job("restitch_region").main(["--run", str(out)]) == 2
    assert "'pools', 'ships' is being added" in capsys.readouterr().err

    for point, after in (("before_run_json_swap", 0), ("after_run_json_begin", 0)):
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(patch, run_document, point, after=after)
            assert run_job(*add) == 130
        assert results(out, ["tanks"]) == before
    n_asked = len(asked)
    assert run_job(*add) == 0
    assert len(asked) == n_asked == 50, "each of 25 tiles once, in all starts together"
    assert results(out, ["tanks"]) == before
    assert record_rows(out, 1) == stored
    assert (out / "scenes.parquet").read_bytes() == scenes
    assert [row["instance_id"] for row in rows_of(out, "pools") if "instance_id" in row]
    assert rows_of(out, "pools") != rows_of(out, "ships")
    assert_as_fresh(out, fresh)
    capsys.readouterr()
    assert run_job(*add) == 2
    assert "of which the run has results" in capsys.readouterr().err


@pytest.mark.long
def test_afterwards_it_is_a_run_of_all_its_queries(
    run_job: RunJob, world: GrowingWorld, tmp_path: Path, asked: list[str]
) -> None:
    june = world.scene("june")
    room = ["--grid-area", world.folder / "all.gpkg"]
    out = tmp_path / "out"
    assert run_job(*world.words, *june, *room, *world.aoi("north"), "--out", out) == 0
    assert run_job("--out", out, "--add-query", "pools") == 0
    both = [*world.words, "--query", "pools", *june]
    asked.clear()
    assert run_job(*both, *room, *world.aoi("north"), "--out", out) == 0
    assert asked == [], "its own command names all queries, and finds all done"

    assert run_job(*both, *world.aoi("all"), "--update", "--out", out) == 0
    assert asked.count("tanks") == asked.count("pools") > 0
    fresh = tmp_path / "fresh"
    assert run_job(*both, *room, *world.aoi("all"), "--out", fresh) == 0
    assert results(out, ["tanks", "pools"]) == results(fresh, ["tanks", "pools"])
    assert verify(out).sound

    again = tmp_path / "again"
    restitch = load_job("restitch_region").main
    assert restitch([str(word) for word in ("--run", out, "--out", again, "--min-area-px", 30)]) == 0
    assert {row["query"] for row in rows_of(again, "pools")} == {"pools"}
    assert run_job("--out", again, "--add-query", "ships") == 2


def test_a_block_that_lost_its_record_is_asked_everything(
    run_job: RunJob, world: GrowingWorld, tmp_path: Path, asked: list[str]
) -> None:
    base = [*world.words, *world.scene("june"), *world.aoi("all")]
    out = tmp_path / "out"
    assert run_job(*base, "--out", out) == 0
    before = results(out, ["tanks"])
    (out / "blocks" / "b00001_00001.parquet").unlink()
    (out / "blocks" / "b00000_00000.parquet").write_bytes(b"no record")
    asked.clear()
    assert run_job("--out", out, "--add-query", "pools") == 0
    assert (asked.count("tanks"), asked.count("pools")) == (8, 25)
    assert results(out, ["tanks"]) == before


def test_what_cannot_be_asked_is_refused_before_anything_is_written(
    run_job: RunJob, world: GrowingWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = tmp_path / "june.tif"
    scene.write_bytes((world.folder / "june.tif").read_bytes())
    base = [*world.words, "--source", scene, *world.aoi("all")]
    out = tmp_path / "out"
    add = ["--out", out, "--add-query", "pools"]
    assert run_job(*add) == 2
    assert "without a run.json" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, block_records, "after_block_record", after=1)
        assert run_job(*base, "--out", out) == 130
    assert run_job(*add) == 2
    assert "that has published nothing" in capsys.readouterr().err
    assert run_job(*base, "--out", out) == 0
    told = (out / "run.json").read_bytes()
    options = tmp_path / "other.toml"
    options.write_text("[stitch]\nmin_area_px = 99\n")
    for words, why in (
        ([*add, "--source", scene], "--source beside it"),
        (["--out", out, "--add-query", "tanks"], "of which the run has results"),
        ([*add, "--add-query", "pools"], "every --add-query may be given once"),
        ([*add, "--config", options], "stitch.min_area_px"),
    ):
        capsys.readouterr()
        assert run_job(*words) == 2
        assert why in capsys.readouterr().err
    data = bytearray(scene.read_bytes())
    data[-1] ^= 255
    scene.write_bytes(bytes(data))
    assert run_job(*add) != 0
    assert "put the earlier file back" in capsys.readouterr().err
    assert (out / "run.json").read_bytes() == told


@pytest.mark.long
def test_several_zones_are_asked_and_joined_again(tmp_path: Path, asked: list[str]) -> None:
    world = make_growing_zones(tmp_path / "world")
    out = tmp_path / "out"
    words = world.words("part")
    assert run_zones_job(*words, "--out", out) == 0
    before = rows_of(out, "anything")
    add = ["--out", out, "--add-query", "pools"]
    asked.clear()
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, run_document, "after_run_json_swap", after=0)
        assert run_zones_job(*add) == 130
    assert set(asked) == {"pools"}
    assert rows_of(out, "anything") == before
    n_asked = len(asked)
    assert run_zones_job(*words, "--out", out) == 2
    assert run_zones_job(*add) == 0
    assert len(asked) == n_asked, "all blocks were committed"
    assert rows_of(out, "anything") == before
    fresh = tmp_path / "fresh"
    assert run_zones_job(*words, "--query", "pools", "--out", fresh) == 0
    assert rows_of(out, "pools") == rows_of(fresh, "pools") != []
    assert verify(out).sound
    asked.clear()
    assert run_zones_job(*words, "--query", "pools", "--out", out) == 0
    assert asked == []


@pytest.mark.long
def test_a_run_in_a_bucket_is_asked_more(run_job: RunJob, world: GrowingWorld, tmp_path: Path) -> None:
    base = [*world.words, *world.scene("june"), *world.aoi("north")]
    out = tmp_path / "out"
    assert run_job(*base, "--out", out) == 0
    assert run_job("--out", out, "--add-query", "pools") == 0
    with serving_s3():
        place = f"s3://{BUCKET}/more"
        assert run_job(*base, "--out", place) == 0
        assert run_job("--out", place, "--add-query", "pools") == 0
        there = finished_run(place)
        assert there.coverage.read_bytes() == (out / "current/coverage.parquet").read_bytes()
        parts = [path.read_bytes() for path in there.instances.entries()]
    assert parts == [path.read_bytes() for path in sorted((out / "current/instances").iterdir())]


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    ["before_block_record", "after_block_record", "after_shard", "before_run_json_swap", "between_links"],
)
def test_a_killed_driver_leaves_the_earlier_result_or_the_whole_new_one(
    world: GrowingWorld, tmp_path: Path, point: str
) -> None:
    out = tmp_path / "out"
    base = [str(word) for word in (*world.words, *world.scene("june"), *world.aoi("all"), "--out", out)]
    log = tmp_path / "log.txt"
    assert start_job(base, log).wait() == 0
    before = results(out, ["tanks"])
    old = run_json(out)["snapshot"]
    add = ["--out", str(out), "--add-query", "pools"]
    assert start_job(add, log, settings={VARIABLE: point}).wait() != 0
    shown = run_json(out)
    assert (shown["snapshot"] == old) == (shown["queries"] == ["tanks"])
    if shown["snapshot"] == old:
        assert results(out, ["tanks"]) == before
        assert start_job(add, log).wait() == 0
    else:  # the new result counts, and the run's own command lets links follow
        assert start_job([*base, "--query", "pools"], log).wait() == 0
    assert results(out, ["tanks"]) == before
    assert verify(out).sound
