"""A small world with a run that grows: `june` shows all of the ground, `july` and `late` a part of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from item_files import LEFT, TOP, UTM, write_pixels
from job_files import load_job
from shapely.geometry import box

from pipeline.write.records import block_records

SIDE = 110
BLOCK_PX = 48
NORTH = (3.5, 3.5, 60.5, 100.5)
"""First and last row and column of what is looked at first: row0, col0, row1, col1."""
ALL = (3.5, 3.5, 100.5, 100.5)


def area(path: Path, edges: tuple[float, float, float, float]) -> Path:
    row0, col0, row1, col1 = edges
    ground = box(LEFT + col0, TOP - row1, LEFT + col1, TOP - row0)
    gpd.GeoDataFrame(geometry=[ground], crs=UTM).to_file(path)
    return path


@dataclass(frozen=True)
class GrowingWorld:
    folder: Path
    words: list[object]

    def scene(self, name: str) -> list[object]:
        return ["--source", self.folder / f"{name}.tif"]

    def aoi(self, name: str) -> list[object]:
        return ["--aoi", self.folder / f"{name}.gpkg"]


def make_growing_world(folder: Path) -> GrowingWorld:
    """Write the scenes, labels and areas of a world."""
    rng = np.random.default_rng(8)
    for name, (start, side) in {"june": (0, SIDE), "july": (0, 40), "late": (10, 80)}.items():
        pixels = rng.integers(30, 220, (3, side, side)).astype(np.uint8)
        write_pixels(folder / f"{name}.tif", pixels, row0=start, col0=2 * start)
    labels = np.zeros((1, SIDE, SIDE), dtype=np.int32)
    number = 0
    for row in range(2, SIDE, 17):
        for col in range(2, SIDE, 19):
            number += 1
            height, width = rng.integers(5, 14, 2)
            labels[0, row : row + height, col : col + width] = number
    labels_path = write_pixels(folder / "labels.tif", labels, nodata=None)
    area(folder / "north.gpkg", NORTH)
    area(folder / "all.gpkg", ALL)
    area(folder / "beyond.gpkg", (3.5, 3.5, 100.5, 107.5))
    assert labels_path == folder / "labels.tif"
    return world_in(folder)


def world_in(folder: Path) -> GrowingWorld:
    """The world whose files lie in a folder. `words`: one query, oracle models, blocks of 48 x 48 px."""
    models = ["--models", f"oracle:{folder / 'labels.tif'}"]
    words: list[object] = ["--query", "tanks", *models, "--runner", "local"]
    return GrowingWorld(folder=folder, words=[*words, "--tile", 32, "--halo", 4, "--block", 2])


def interrupt_at(monkeypatch: pytest.MonkeyPatch, module: Any, point: str, *, after: int) -> None:
    """End the process' work where it reaches a point for the last time that is allowed."""
    seen: list[str] = []

    def reach(name: str) -> None:
        seen.append(name)
        if seen.count(point) > after:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "reach", reach)


def make_interrupted_update(folder: Path) -> Path:
    """Run the north of the world, and interrupt an update to all of it. Returns the run.

    Of blocks in three rows and columns the first row stays. Of the second two are done again and one is not
    yet; the third is new, and not done.
    """
    world = make_growing_world(folder)
    out = folder / "out"
    main = load_job("segment_region").main
    words = [*world.words, *world.scene("june"), "--grid-area", folder / "all.gpkg", "--out", out]
    assert main([str(word) for word in (*words, *world.aoi("north"))]) == 0
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, block_records, "after_block_record", after=1)
        assert main([str(word) for word in (*words, *world.aoi("all"), "--update")]) == 130
    return out
