"""Scoring a run against a world: with oracle models the figures are known beforehand."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from job_files import load_job
from label_worlds import LabelWorld, write_label_world
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluate.finished_run.score_run import score_run
from pipeline.evaluate.finished_run.score_tiles import score_table
from pipeline.evaluate.finished_run.world_truth import read_truth
from pipeline.prompt.oracle_prompter import OraclePrompter
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import TilePrompts
from pipeline.schema.tiling import Window
from pipeline.world.landscape import World
from pipeline.world.scene import write_world
from pipeline.write.run_document import finished_run
from pipeline.write.run_json import read_run_json

RunJob = Callable[..., int]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored") / "world"
    write_world(World.from_seed(29), Window(row0=0, col0=0, row1=896, col1=896), folder)
    return folder


def run(run_job: RunJob, world: Path, out: Path, query: str) -> None:
    words = (
        "--source",
        world / "scene.tif",
        "--whole-scene",
        "--query",
        query,
        "--models",
        f"oracle:{world / 'labels.tif'}",
    )
    assert run_job(*words, "--tile", 256, "--halo", 32, "--runner", "local", "--out", out) == 0


def test_an_oracle_that_answers_every_class_has_full_recall_and_known_precision(
    run_job: RunJob, world: Path, tmp_path: Path
) -> None:
    truth = gpd.read_parquet(world / "truth.parquet")
    name = truth["class"].value_counts().idxmax()
    query = next(
        item["query"] for item in json.loads((world / "queries.json").read_text()) if item["class"] == name
    )
    run(run_job, world, tmp_path / "out", query)
    info = read_run_json(tmp_path / "out" / "run.json")
    (score,) = score_run(tmp_path / "out", read_truth(world), info)
    figures = score.figures()
    n_class = int((truth["class"] == name).sum())
    assert figures["recall"] == 1.0
    assert (figures["n_true"], figures["n_predicted"]) == (n_class, len(truth))
    assert figures["precision"] == pytest.approx(n_class / len(truth), abs=1e-4)
    assert figures["ciou"] == pytest.approx(
        truth.geometry[truth["class"] == name].area.sum() / truth.geometry.area.sum(), abs=1e-4
    )
    assert figures["false_rejection"] == 0.0
    assert name in score_table([score])
    main = load_job("evaluate").main
    assert (
        main(["--run", str(tmp_path / "out"), "--truth", str(world), "--json", str(tmp_path / "scores.json")])
        == 0
    )
    assert json.loads((tmp_path / "scores.json").read_text()) == [figures]


def test_false_alarms_per_100_km2_of_a_world_made_by_hand(run_job: RunJob, tmp_path: Path) -> None:
    """96 x 96 px in 3 x 3 cores of 32 px (16 m) that see 4 px of their neighbours; the models answer every
    query with all they know.

    Pools are true at (2, 2) in the first tile and at (66, 66) in the last, so seven tiles hold none; the
    second pool begins beyond the halo of the tiles before it. A lake of the middle tile, a blob over two
    tiles of the top row's end and one of the bottom row are predicted too: three false alarms about pools on
    7 * 256 m2. About lakes: the pools and the two blobs on 8 * 256 m2.
    """
    boxes = {
        1: (2, 2, 8, 8),
        2: (70, 70, 80, 80),
        3: (40, 40, 50, 50),
        4: (10, 60, 20, 70),
        5: (80, 10, 84, 14),
    }
    labels = np.zeros((96, 96), dtype=np.int64)
    for number, (row0, col0, row1, col1) in boxes.items():
        labels[row0:row1, col0:col1] = number
    predicted = write_label_world(tmp_path / "predicted", labels)
    true = write_label_world(tmp_path / "world", np.where(labels <= 3, labels, 0))
    names = {int(true.ids[2, 2]): "pool", int(true.ids[70, 70]): "pool", int(true.ids[40, 40]): "lake"}
    frame = gpd.GeoDataFrame(
        {"instance_id": list(names), "class": list(names.values())},
        geometry=[shapely.Point(0, 0)] * 3,
        crs=32633,
    )
    frame.to_parquet(tmp_path / "world" / "truth.parquet")
    queries = [
        {"query": name, "class": name.removesuffix("s"), "kind": "explicit"}
        for name in ("pools", "lakes", "ships")
    ]
    queries[2]["class"] = ""
    (tmp_path / "world" / "queries.json").write_text(json.dumps(queries))
    words = (
        "--source",
        predicted.scene,
        "--whole-scene",
        "--queries-from",
        tmp_path / "world" / "queries.json",
    )
    models = ("--models", f"oracle:{predicted.labels}", "--tile", 40, "--halo", 4, "--runner", "local")
    assert run_job(*words, *models, "--out", tmp_path / "out") == 0
    info = read_run_json(tmp_path / "out" / "run.json")
    scores = [score.figures() for score in score_run(tmp_path / "out", read_truth(tmp_path / "world"), info)]
    tile_m2 = 256 / 0.9996**2  # UTM's scale on its central meridian, where this world lies
    for score, alarms, tiles in zip(scores, (3, 4, 5), (7, 8, 9), strict=True):
        assert (score["false_alarms"], score["truly_empty_tiles"]) == (alarms, tiles)
        assert score["empty_km2"] == pytest.approx(tiles * tile_m2 / 1e6, rel=1e-3)
        assert score["per_100_km2"] == pytest.approx(100 * alarms / (tiles * tile_m2 / 1e6), rel=1e-3)
    assert "per_100_km2" in score_table(score_run(tmp_path / "out", read_truth(tmp_path / "world"), info))


def pool_world(folder: Path, labels: NDArray[np.int64]) -> LabelWorld:
    """A world whose instances are pools, with one query that asks for them and one that nothing answers."""
    world = write_label_world(folder, labels)
    ids = [int(number) for number in np.unique(world.ids) if number]
    frame = gpd.GeoDataFrame(
        {"instance_id": ids, "class": ["pool"] * len(ids)},
        geometry=[shapely.Point(0, 0)] * len(ids),
        crs=32633,
    )
    frame.to_parquet(folder / "truth.parquet")
    queries = [
        {"query": "pools", "class": "pool", "kind": "explicit"},
        {"query": "ships", "class": "", "kind": "absent"},
    ]
    (folder / "queries.json").write_text(json.dumps(queries))
    return world


def scored(
    run_job: RunJob, world: LabelWorld, out: Path, *words: object, code: int = 0
) -> list[dict[str, Any]]:
    """The figures of a run of the oracle, which answers every query with all instances, in tiles of 32 px
    and a halo of 4.
    """
    folder = world.scene.parent
    models = ("--models", f"oracle:{world.labels}", "--tile", 40, "--halo", 4, "--runner", "local")
    assert (
        run_job(
            "--source", world.scene, "--queries-from", folder / "queries.json", *models, *words, "--out", out
        )
        == code
    )
    return [score.figures() for score in score_run(out, read_truth(folder), read_run_json(out / "run.json"))]


def test_land_that_was_not_looked_at_is_in_no_figure(run_job: RunJob, tmp_path: Path) -> None:
    """3 x 3 tiles; the first has no imagery, and the last half of it."""
    world = pool_world(tmp_path / "world", np.zeros((96, 96), dtype=np.int64))
    with rasterio.open(world.scene) as source:
        data = source.read()
        profile = source.profile
    data[:, :32, :32] = data[:, 64:, 80:] = 0
    with rasterio.open(world.scene, "w", **{**profile, "nodata": 0}) as changed:
        changed.write(data)
    for figures in scored(run_job, world, tmp_path / "out", "--whole-scene"):
        assert (figures["truly_empty_tiles"], figures["rejection"], figures["giou"]) == (8, 1.0, 1.0)
        assert figures["empty_km2"] == pytest.approx(7.5 * 256 / 0.9996**2 / 1e6, rel=1e-3)


def test_a_region_is_scored_by_what_lies_in_it(run_job: RunJob, tmp_path: Path) -> None:
    """The AOI ends inside column 33, so that 3 x 2 of 3 x 5 tiles are looked at.

    One pool (6 x 6 px) is inside. Of another, of 120 columns and 10 rows, four columns are, and the run sees
    it up to column 68: less than half of it. A third is in a tile that nobody looked at. About ships the
    oracle answers with all it knows in the three tiles that see any of it and rejects the other three. By the
    whole lattice recall would be 1 of 3 and the rejection about ships 12 of 15.
    """
    labels = np.zeros((96, 160), dtype=np.int64)
    for number, (row0, col0, row1, col1) in enumerate(
        ((2, 2, 8, 8), (40, 30, 50, 150), (70, 100, 80, 110)), start=1
    ):
        labels[row0:row1, col0:col1] = number
    world = pool_world(tmp_path / "world", labels)
    area = shapely.box(500000, 5500000 - 48, 500000 + 33.5 * 0.5, 5500000)
    gpd.GeoDataFrame(geometry=[area], crs=32633).to_file(tmp_path / "aoi.gpkg")
    pools, ships = scored(run_job, world, tmp_path / "out", "--aoi", tmp_path / "aoi.gpkg")
    assert (pools["n_true"], pools["n_predicted"], pools["recall"], pools["precision"], pools["ciou"]) == (
        2,
        2,
        1.0,
        1.0,
        1.0,
    )
    assert (pools["giou"], pools["giou_present"], pools["false_rejection"], pools["false_alarms"]) == (
        1.0,
        1.0,
        0.0,
        0,
    )
    assert (pools["truly_empty_tiles"], pools["rejection"]) == (3, 1.0)
    assert pools["empty_km2"] == pytest.approx((32 * 32 + 2 * 2 * 32) * 0.25 / 0.9996**2 / 1e6, abs=1e-6)
    assert (ships["truly_empty_tiles"], ships["rejection"], ships["false_alarms"]) == (6, 0.5, 2)
    assert ships["giou"] == 0.5


def test_a_tile_that_failed_has_no_answer(
    run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 3 x 3 tiles two hold a pool, and one of these fails, as does one without: 7 of 9 answers are right,
    one of two pools is found.
    """
    labels = np.zeros((96, 96), dtype=np.int64)
    labels[10:20, 10:20], labels[74:84, 74:84] = 1, 2
    answer = OraclePrompter.prompt

    async def moody(self: OraclePrompter, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        if image.tile.tile_id in ("r00000c00000", "r00000c00002"):
            raise RuntimeError("out of memory")
        return await answer(self, image, queries)

    monkeypatch.setattr(OraclePrompter, "prompt", moody)
    pools, _ = scored(
        run_job, pool_world(tmp_path / "world", labels), tmp_path / "out", "--whole-scene", code=3
    )
    assert (pools["n_true"], pools["recall"], pools["precision"], pools["ciou"]) == (2, 0.5, 1.0, 0.5)
    assert (pools["giou"], pools["giou_present"]) == (pytest.approx(7 / 9, abs=1e-4), 0.5)
    assert (pools["truly_empty_tiles"], pools["rejection"]) == (7, pytest.approx(6 / 7, abs=1e-4))
    assert pools["false_rejection"] == 0.0
    assert pools["empty_km2"] == pytest.approx(6 * 256 / 0.9996**2 / 1e6, rel=1e-3)


def test_a_query_without_a_known_class_is_refused(run_job: RunJob, world: Path, tmp_path: Path) -> None:
    run(run_job, world, tmp_path / "out", "anything at all")
    info = read_run_json(tmp_path / "out" / "run.json")
    with pytest.raises(InputError, match=r"queries\.json"):
        score_run(tmp_path / "out", read_truth(world), info)


def test_a_run_that_was_merged_again_is_scored_alike(run_job: RunJob, world: Path, tmp_path: Path) -> None:
    """Its block records lie elsewhere; before, every tile of it was taken for rejected."""
    query = json.loads((world / "queries.json").read_text())[0]["query"]
    run(run_job, world, tmp_path / "out", query)
    info = read_run_json(tmp_path / "out" / "run.json")
    (before,) = score_run(tmp_path / "out", read_truth(world), info)
    (tmp_path / "out" / "blocks").rename(tmp_path / "records")
    (after,) = score_run(tmp_path / "out", read_truth(world), info)
    assert after.figures() == before.figures()
    assert after.figures()["false_rejection"] == 0.0


def test_a_run_must_have_ended(run_job: RunJob, world: Path, tmp_path: Path) -> None:
    run(run_job, world, tmp_path / "out", json.loads((world / "queries.json").read_text())[0]["query"])
    info = read_run_json(tmp_path / "out" / "run.json")
    finished_run(tmp_path / "out").coverage.delete()
    with pytest.raises(InputError, match=r"needs coverage\.parquet"):
        score_run(tmp_path / "out", read_truth(world), info)


@pytest.mark.parametrize("name", ["labels.tif", "truth.parquet", "queries.json", "world.json"])
def test_a_world_needs_its_files(world: Path, tmp_path: Path, name: str) -> None:
    """Without world.json its drawing was interrupted: the others may be of two scenes."""
    folder = shutil.copytree(world, tmp_path / "world")
    read_truth(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"needs {re.escape(name)}.*make_world"):
        read_truth(folder)
