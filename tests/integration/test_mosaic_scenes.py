"""Whose pixels was an object judged on? A whole job over overlapping scenes, against reading each alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin

RunJob = Callable[..., int]
SIDE = 300
DATES = {"new": "2024-06-01", "mid": "2021-06-01", "old": "2019-06-01"}


def write(path: Path, pixels: NDArray[np.generic], col0: int, date: str | None = None) -> Path:
    profile = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype.name,
        "crs": "EPSG:32633",
        "transform": from_origin(500_000 + col0, 5_500_000, 1, 1),
        "nodata": 0,
    }
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)
        if date:
            dataset.update_tags(ns="IMAGERY", ACQUISITIONDATETIME=f"{date}T10:00:00Z")
    return path


def first_scene(paths: list[Path]) -> NDArray[np.int64]:
    """(SIDE, SIDE): 1 + number of the first scene with a valid pixel, 0 = none. Read with rasterio alone."""
    which = np.zeros((SIDE, SIDE), dtype=np.int64)
    for number, path in enumerate(paths, start=1):
        with rasterio.open(path) as dataset:
            col0 = round(dataset.transform.c) - 500_000
            part = which[:, col0 : col0 + dataset.width]
            part[(part == 0) & (dataset.dataset_mask() > 0)] = number
    return which


def scenes_by_place(out: Path) -> dict[tuple[float, ...], tuple[list[str], str]]:
    frame = gpd.read_parquet(out / "instances")
    rows = zip(frame.geometry, frame["scene_ids"], frame["datetime"], strict=True)
    return {tuple(shape.bounds): (list(ids), str(time)[:10]) for shape, ids, time in rows}


@pytest.mark.slow
def test_objects_name_the_scenes_that_gave_their_pixels(run_job: RunJob, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    sizes = {"new": (0, 160), "mid": (90, 150), "old": (0, SIDE)}
    paths = []
    for name, (col0, width) in sizes.items():
        pixels = rng.integers(40, 220, (3, SIDE, width)).astype(np.uint8)
        if name != "old":  # every pixel has a scene, so no object is cut
            holes = rng.random((SIDE, width)) < 0.02
            holes[150:] = False
            holes[60:90, 20:120] = True
            pixels[:, holes] = 0
        paths.append(write(tmp_path / f"{name}.tif", pixels, col0, DATES[name]))
    labels = np.zeros((1, SIDE, SIDE), dtype=np.int32)
    rows = range(4, 290, 22)
    heights = rng.integers(4, 19, len(rows))
    cols = rng.integers(0, 220, len(rows))
    widths = rng.integers(4, 80, len(rows))
    boxes = list(zip(rows, cols, rows + heights, cols + widths, strict=True))
    for number, (r0, c0, r1, c1) in enumerate(boxes, start=1):
        labels[0, r0:r1, c0:c1] = number
    truth = write(tmp_path / "labels.tif", labels, 0)
    which = first_scene(paths)
    want = {}
    for number, (r0, c0, r1, c1) in enumerate(boxes, start=1):
        under = np.unique(which[labels[0] == number])
        ids = [list(sizes)[k - 1] for k in under.tolist() if k]
        bounds = (500_000.0 + c0, 5_500_000.0 - r1, 500_000.0 + c1, 5_500_000.0 - r0)
        want[bounds] = (ids, min(DATES[name] for name in ids))
    assert {len(ids) for ids, _ in want.values()} >= {1, 2}, "the world must tell one scene from two"

    words = ["--query", "water", "--models", f"oracle:{truth}", "--runner", "local"]
    words += [word for path in paths for word in ("--source", str(path))]
    part = ["--bbox", *box_of(20, 40, 260, 250)]
    cuts = (("whole", ["--whole-scene"], (96, 16, 2)), ("part", part, (64, 8, 1)))
    for name, where, (tile, halo, block) in cuts:
        out = tmp_path / name
        tiling = ["--tile", tile, "--halo", halo, "--block", block]
        assert run_job(*words, *where, *tiling, "--out", out) == 0
        found = scenes_by_place(out)
        same = set(found) & set(want)
        assert {place: found[place] for place in same} == {place: want[place] for place in same}
        assert len(same) == len(want) if name == "whole" else len(same) >= 4


def box_of(row0: int, col0: int, row1: int, col1: int) -> list[str]:
    """A --bbox inside a rectangle of pixels."""
    move = pyproj.Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True)
    west, north = move.transform(500_000 + col0, 5_500_000 - row0)
    east, south = move.transform(500_000 + col1, 5_500_000 - row1)
    return [f"{value:.7f}" for value in (west, south, east, north)]
