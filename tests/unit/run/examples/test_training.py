"""A classifier is trained once for a run, on squares that anybody can tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from pipeline.errors import InputError
from pipeline.grid.source import SourceOptions
from pipeline.run.config import AreaOptions, GridChoice, RunConfig, build_preset, merge_tables, preset_tables
from pipeline.run.examples.training import ranker_of, with_ranker
from pipeline.run.infer.steps import RunContext
from pipeline.run.prepare import RunRequest, claim, plan_request

SIDE = 256
SPOTS = [(row, col) for row in range(16, SIDE, 64) for col in range(16, SIDE, 64)]
"""Top left corners of squares of 24 px; every second one is red, the others blue."""


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    rgb = np.full((SIDE, SIDE, 3), 90, dtype=np.uint8)
    rgb += np.random.default_rng(0).integers(0, 12, rgb.shape, dtype=np.uint8)
    for number, (row, col) in enumerate(SPOTS):
        rgb[row : row + 24, col : col + 24] = (220, 40, 30) if number % 2 else (30, 60, 210)
    rgb[:, :8] = 0
    profile: dict[str, Any] = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": 3, "dtype": "uint8"}
    profile |= {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_500_000, 0.5, 0.5), "nodata": 0}
    with rasterio.open(tmp_path / "scene.tif", "w", **profile) as scene:
        scene.write(rgb.transpose(2, 0, 1))
    outlines = [
        shapely.box(
            500_000 + col / 2, 5_500_000 - (row + 24) / 2, 500_000 + (col + 24) / 2, 5_500_000 - row / 2
        )
        for row, col in SPOTS
    ]
    off = shapely.Point(500_001, 5_499_990)  # nodata
    geopandas.GeoDataFrame(
        {"mark": ["yes" if number % 2 else "no" for number in range(len(SPOTS))] + ["no"]},
        geometry=[*outlines, off],
        crs="EPSG:32633",
    ).to_file(tmp_path / "marks.geojson")
    tables = merge_tables(
        preset_tables("embedded"),
        {
            "prompter": {"kind": "grid", "model": ""},
            "examples": {"marks": str(tmp_path / "marks.geojson")},
        },
    )
    config = RunConfig(
        queries=("red things",),
        area=AreaOptions(whole_scene=True),
        source=SourceOptions(hrefs=(str(tmp_path / "scene.tif"),)),
        grid=GridChoice(),
        preset_name="embedded",
        preset=build_preset(merge_tables({**tables, "prompter": {"kind": "grid", "model": ""}}, {})),
    )
    return claim(plan_request(RunRequest(config=config, out=str(tmp_path / "run"), runner="local"))).context


def test_it_is_trained_once_and_kept(context: RunContext) -> None:
    said: list[str] = []
    ranker = ranker_of(context, "a key", said.append)
    assert any("1 mark is left out" in text for text in said), "the one without imagery"
    assert said[0] == "Learning from 17 marks in 4 tiles"
    (table,) = [text for text in said if "each judged by the others" in text]
    assert "8 marks yes, 8 no" in table
    assert "average precision 1.00" in table
    again: list[str] = []
    kept = ranker_of(context, "a key", again.append)
    assert again == []
    assert kept.weights.tolist() == ranker.weights.tolist()
    other: list[str] = []
    ranker_of(context, "another key", other.append)
    assert any("each judged by the others" in text for text in other)


def test_a_damaged_classifier_is_made_again(context: RunContext) -> None:
    ranker_of(context, "a key", lambda _: None)
    kept = Path(context.run_dir) / "examples/ranker.json"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:40])
    said: list[str] = []
    ranker_of(context, "a key", said.append)
    assert any("is damaged, and is made again" in text for text in said)
    assert kept.read_bytes() == whole


def test_a_run_without_examples_has_none(context: RunContext) -> None:
    from dataclasses import replace

    plain = replace(context.config, preset=build_preset(preset_tables("embedded")))
    without = replace(context, config=plain)
    assert with_ranker(without, {}, print) is without


def test_marks_without_imagery_do_not_count(context: RunContext, tmp_path: Path) -> None:
    places = [shapely.Point(500_001, 5_499_990 - i) for i in range(6)]
    frame = geopandas.GeoDataFrame({"mark": ["yes", "no"] * 3}, geometry=places, crs="EPSG:32633")
    (tmp_path / "marks.geojson").unlink()
    frame.to_file(tmp_path / "marks.geojson")
    with pytest.raises(InputError, match=r"0 yes and 0 no that could be drawn"):
        ranker_of(context, "a key", lambda _: None)
