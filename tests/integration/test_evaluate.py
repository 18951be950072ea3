"""Scoring a run against a world: with oracle models the figures are known beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import pytest
from job_files import load_job

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


def test_a_question_without_a_known_class_is_refused(run_job: RunJob, world: Path, tmp_path: Path) -> None:
    run(run_job, world, tmp_path / "out", "anything at all")
    info = read_run_json(tmp_path / "out" / "run.json")
    with pytest.raises(InputError, match=r"queries\.json"):
        score_run(tmp_path / "out", read_truth(world), info.lattice, info.queries)


def test_a_world_needs_its_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels\.tif"):
        read_truth(tmp_path)
