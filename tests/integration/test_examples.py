"""A few examples instead of words: a run with marks, on a drawn world and with the embedded segmenter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from pipeline.schema.tiling import Window
from pipeline.world.landscape import World
from pipeline.world.scene import write_world

RunJob = Callable[..., int]

pytestmark = pytest.mark.long

N_MARKS = 15
"""Of each kind."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("town") / "world"
    write_world(World(seed=29), Window(row0=0, col0=0, row1=1024, col1=1024), folder)
    return folder


def write_marks(world: Path, path: Path) -> Path:
    """Points in buildings say yes; points in things of other kinds, and on open ground, say no."""
    truth = geopandas.read_parquet(world / "truth.parquet")
    rng = np.random.default_rng(0)
    is_building = (truth["class"] == "building").to_numpy()
    chosen = rng.permutation(np.flatnonzero(is_building))[:N_MARKS]
    others = rng.permutation(np.flatnonzero(~is_building))[: N_MARKS // 2]
    west, south, east, north = truth.total_bounds
    ground = shapely.points(rng.uniform((west, south), (east, north), (400, 2)))
    near = shapely.buffer(shapely.union_all(truth.geometry.to_numpy()), 5.0)
    ground = ground[~shapely.within(ground, near)][: N_MARKS - len(others)]
    places = [
        *shapely.point_on_surface(truth.geometry.to_numpy()[np.concatenate([chosen, others])]),
        *ground,
    ]
    said = ["yes"] * N_MARKS + ["no"] * N_MARKS
    geopandas.GeoDataFrame({"mark": said}, geometry=places, crs=truth.crs).to_file(path)
    return path


def precision_at(right: NDArray[np.bool_], order: NDArray[np.intp], n_right: int) -> float:
    """Share of right objects among the first in an order, down to the `n_right`-th right one."""
    kept = int(np.searchsorted(np.cumsum(right[order]), n_right)) + 1
    return n_right / kept


@pytest.fixture(scope="module")
def judged(run_job: RunJob, world: Path) -> Path:
    """A run that rejects nothing, so all that was drawn has its probability."""
    out = world.parent / "run"
    marks = write_marks(world, world.parent / "marks.geojson")
    words = ["--source", world / "scene.tif", "--whole-scene", "--everything", "--query", "buildings"]
    words += ["--examples", marks, "--examples-threshold", 0, "--points-per-side", 8]
    assert run_job(*words, "--runner", "local", "--out", out) == 0
    return out


def test_thirty_marks_raise_precision_at_equal_recall(judged: Path, world: Path) -> None:
    """Beside the order of the segmenter's own score, down to half of the buildings that were drawn."""
    objects = geopandas.read_parquet(judged / "instances")
    truth = geopandas.read_parquet(world / "truth.parquet")
    buildings = truth[truth["class"] == "building"].geometry.to_numpy()
    masks = objects.geometry.to_numpy()
    shared = shapely.area(shapely.intersection(masks[:, None], buildings[None]))
    iou = shared / (shapely.area(masks)[:, None] + shapely.area(buildings)[None] - shared)
    right = (iou > 0.5).any(axis=1)
    assert right.sum() >= 8
    assert objects["verified"].between(0, 1).all()
    half = int(right.sum()) // 2
    by_score = precision_at(right, np.argsort(-objects["score"].to_numpy(), kind="stable"), half)
    by_marks = precision_at(right, np.argsort(-objects["verified"].to_numpy(), kind="stable"), half)
    assert by_marks >= by_score + 0.15, (by_marks, by_score)
    assert by_marks >= right.mean() + 0.15, "to keep all"


def test_classifier_and_marks_lie_in_the_run_directory(
    judged: Path, world: Path, run_job: RunJob, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second start finds all done and trains nothing; other marks are another run."""
    folder = judged / "examples"
    before = (folder / "ranker.json").read_bytes()
    marks = json.loads((folder / "marks.geojson").read_text())["features"]
    assert [mark["properties"]["mark"] for mark in marks].count("yes") == N_MARKS
    assert all(0 <= mark["properties"]["left_out"] <= 1 for mark in marks)
    assert "<svg" in (folder / "precision_recall.svg").read_text()
    parameters = json.loads((judged / "run.json").read_text())["parameters"]["examples"]
    assert parameters["marks"].startswith("sha256:")
    words = ["--source", world / "scene.tif", "--whole-scene", "--everything", "--query", "buildings"]
    words += ["--points-per-side", 8, "--runner", "local", "--out", judged]
    again = ["--examples", world.parent / "marks.geojson", "--examples-threshold", 0]
    assert run_job(*words, *again) == 0
    assert "each judged by the others" not in capsys.readouterr().out
    assert (folder / "ranker.json").read_bytes() == before
    assert run_job(*words, "--examples", world.parent / "marks.geojson") == 2
    assert "examples" in capsys.readouterr().err
