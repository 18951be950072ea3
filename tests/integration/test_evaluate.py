"""Scoring a run against a world: with oracle models the figures are known beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from job_files import load_job
from label_worlds import write_label_world

from pipeline.errors import InputError
from pipeline.evaluate.truth import read_truth, score_run, score_table
from pipeline.schema import Window
from pipeline.world.landscape import World
from pipeline.world.scene import write_world
from pipeline.write.run_json import read_run_json

RunJob = Callable[..., int]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored") / "world"
    write_world(World.from_seed(29), Window(row0=0, col0=0, row1=896, col1=896), folder)
    return folder


def run(run_job: RunJob, world: Path, out: Path, query: str) -> None:
    words = ("--source", world / "scene.tif", "--whole-scene", "--query", query, "--models", f"oracle:{world / 'labels.tif'}")
    assert run_job(*words, "--tile", 256, "--halo", 32, "--runner", "local", "--out", out) == 0


def test_an_oracle_that_answers_every_class_has_full_recall_and_known_precision(run_job: RunJob, world: Path, tmp_path: Path) -> None:
    truth = gpd.read_parquet(world / "truth.parquet")
    name = truth["class"].value_counts().idxmax()
    query = next(item["query"] for item in json.loads((world / "queries.json").read_text()) if item["class"] == name)
    run(run_job, world, tmp_path / "out", query)
    info = read_run_json(tmp_path / "out" / "run.json")
    (score,) = score_run(tmp_path / "out", read_truth(world), info.lattice, info.queries)
    figures = score.figures()
    n_class = int((truth["class"] == name).sum())
    assert figures["recall"] == 1.0
    assert (figures["n_true"], figures["n_predicted"]) == (n_class, len(truth))
    assert figures["precision"] == pytest.approx(n_class / len(truth), abs=1e-4)
    assert figures["ciou"] == pytest.approx(truth.geometry[truth["class"] == name].area.sum() / truth.geometry.area.sum(), abs=1e-4)
    assert figures["false_rejection"] == 0.0
    assert name in score_table([score])
    main = load_job("evaluate").main
    assert main(["--run", str(tmp_path / "out"), "--truth", str(world), "--json", str(tmp_path / "scores.json")]) == 0
    assert json.loads((tmp_path / "scores.json").read_text()) == [figures]


def test_false_alarms_per_100_km2_of_a_world_made_by_hand(run_job: RunJob, tmp_path: Path) -> None:
    """96 x 96 px in 3 x 3 cores of 32 px (16 m) that see 4 px of their neighbours; the models answer every question with all they know.

    Pools are true at (2, 2) in the first tile and at (66, 66) in the last, so seven tiles hold none; the second pool begins beyond the
    halo of the tiles before it. A lake of the middle tile, a blob over two tiles of the top row's end and one of the bottom row
    are predicted too: three false alarms about pools on 7 * 256 m2. About lakes: the pools and the two blobs on 8 * 256 m2.
    """
    boxes = {1: (2, 2, 8, 8), 2: (70, 70, 80, 80), 3: (40, 40, 50, 50), 4: (10, 60, 20, 70), 5: (80, 10, 84, 14)}
    labels = np.zeros((96, 96), dtype=np.int64)
    for number, (row0, col0, row1, col1) in boxes.items():
        labels[row0:row1, col0:col1] = number
    predicted = write_label_world(tmp_path / "predicted", labels)
    true = write_label_world(tmp_path / "world", np.where(labels <= 3, labels, 0))
    names = {int(true.ids[2, 2]): "pool", int(true.ids[70, 70]): "pool", int(true.ids[40, 40]): "lake"}
    frame = gpd.GeoDataFrame({"instance_id": list(names), "class": list(names.values())}, geometry=[shapely.Point(0, 0)] * 3, crs=32633)
    frame.to_parquet(tmp_path / "world" / "truth.parquet")
    questions = [{"query": name, "class": name.removesuffix("s"), "kind": "explicit"} for name in ("pools", "lakes", "ships")]
    questions[2]["class"] = ""
    (tmp_path / "world" / "queries.json").write_text(json.dumps(questions))
    words = ("--source", predicted.scene, "--whole-scene", "--queries-from", tmp_path / "world" / "queries.json")
    models = ("--models", f"oracle:{predicted.labels}", "--tile", 40, "--halo", 4, "--runner", "local")
    assert run_job(*words, *models, "--out", tmp_path / "out") == 0
    info = read_run_json(tmp_path / "out" / "run.json")
    scores = [score.figures() for score in score_run(tmp_path / "out", read_truth(tmp_path / "world"), info.lattice, info.queries)]
    tile_m2 = 256 / 0.9996**2  # UTM's scale on its central meridian, where this world lies
    for score, alarms, tiles in zip(scores, (3, 4, 5), (7, 8, 9), strict=True):
        assert (score["false_alarms"], score["truly_empty_tiles"]) == (alarms, tiles)
        assert score["empty_km2"] == pytest.approx(tiles * tile_m2 / 1e6, rel=1e-3)
        assert score["per_100_km2"] == pytest.approx(100 * alarms / (tiles * tile_m2 / 1e6), rel=1e-3)
    assert "per_100_km2" in score_table(score_run(tmp_path / "out", read_truth(tmp_path / "world"), info.lattice, info.queries))


def test_land_that_was_not_looked_at_is_no_empty_land(run_job: RunJob, tmp_path: Path) -> None:
    """A failed tile and one without imagery leave seven of nine; half of another one's pixels leave half of its area."""
    world = write_label_world(tmp_path / "world", np.zeros((96, 96), dtype=np.int64))
    gpd.GeoDataFrame({"instance_id": [], "class": []}, geometry=[], crs=32633).to_parquet(tmp_path / "world" / "truth.parquet")
    (tmp_path / "world" / "queries.json").write_text('[{"query": "pools", "class": "pool", "kind": "explicit"}]')
    words = ("--source", world.scene, "--whole-scene", "--query", "pools", "--models", f"oracle:{world.labels}", "--tile", 40, "--halo", 4)
    assert run_job(*words, "--runner", "local", "--out", tmp_path / "out") == 0
    info = read_run_json(tmp_path / "out" / "run.json")
    path = tmp_path / "out" / "coverage.parquet"
    rows = pq.read_table(path).to_pylist()
    failed, unseen = {"statuses": ["failed"], "reasons": ["timeout"]}, {"statuses": ["empty"], "reasons": ["nodata"], "valid_share": 0.01}
    changes = [failed, unseen, {"valid_share": 0.5}]
    changed = [{**row, **change} for row, change in zip(rows, [*changes, *({} for _ in rows[3:])], strict=True)]
    pq.write_table(pa.Table.from_pylist(changed, schema=pq.read_schema(path)), path)
    (score,) = score_run(tmp_path / "out", read_truth(tmp_path / "world"), info.lattice, info.queries)
    assert score.empty_m2 == pytest.approx(6.5 * 256 / 0.9996**2, rel=1e-3)


def test_a_question_without_a_known_class_is_refused(run_job: RunJob, world: Path, tmp_path: Path) -> None:
    run(run_job, world, tmp_path / "out", "anything at all")
    info = read_run_json(tmp_path / "out" / "run.json")
    with pytest.raises(InputError, match=r"queries\.json"):
        score_run(tmp_path / "out", read_truth(world), info.lattice, info.queries)


def test_a_run_that_was_merged_again_is_scored_alike(run_job: RunJob, world: Path, tmp_path: Path) -> None:
    """Its block records lie elsewhere; before, every tile of it was taken for rejected."""
    query = json.loads((world / "queries.json").read_text())[0]["query"]
    run(run_job, world, tmp_path / "out", query)
    info = read_run_json(tmp_path / "out" / "run.json")
    (before,) = score_run(tmp_path / "out", read_truth(world), info.lattice, info.queries)
    (tmp_path / "out" / "blocks").rename(tmp_path / "records")
    (after,) = score_run(tmp_path / "out", read_truth(world), info.lattice, info.queries)
    assert after.figures() == before.figures()
    assert after.figures()["false_rejection"] == 0.0


def test_a_run_must_have_ended(run_job: RunJob, world: Path, tmp_path: Path) -> None:
    run(run_job, world, tmp_path / "out", json.loads((world / "queries.json").read_text())[0]["query"])
    info = read_run_json(tmp_path / "out" / "run.json")
    (tmp_path / "out" / "coverage.parquet").unlink()
    with pytest.raises(InputError, match=r"needs coverage\.parquet"):
        score_run(tmp_path / "out", read_truth(world), info.lattice, info.queries)


def test_a_world_needs_its_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels\.tif"):
        read_truth(tmp_path)
