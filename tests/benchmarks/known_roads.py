"""The roads of a world as outlines for --prompts, and how well runs drew them.

python tests/benchmarks/known_roads.py outlines WORLD_DIR SEED roads.parquet
python tests/benchmarks/known_roads.py score WORLD_DIR SEED RUN ...

A road is what `world_lines.road_mask` marks and nothing is built over. `score` prints the IoU of all polygons
of a run with it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
from rasterio.features import rasterize, shapes

from pipeline.evaluate.benchmark.readers.world_lines import road_mask
from pipeline.schema.tiling import Window
from pipeline.world.landscape import World

LEAST_M2 = 30.0


def main(what: str, folder: str, seed: str, *places: str) -> None:
    """Write outlines, or print scores."""
    with rasterio.open(Path(folder) / "labels.tif") as labels:
        whole = Window(row0=0, col0=0, row1=labels.height, col1=labels.width)
        roads = road_mask(World.from_seed(int(seed)), whole) & (labels.read(1) == 0)
        transform = labels.transform
        crs = labels.crs
    if what == "outlines":
        found = [shapely.geometry.shape(one) for one, _ in shapes(roads.astype("uint8"), roads, 4, transform)]
        kept = [one for one in found if one.area > LEAST_M2]
        geopandas.GeoDataFrame({"name": ["road"] * len(kept)}, geometry=kept, crs=crs).to_parquet(places[0])
        print(f"{len(kept)} outlines")
        return
    for place in places:
        parts = [geopandas.read_parquet(path) for path in sorted(Path(place).glob("instances/*.parquet"))]
        polygons = [one for part in parts for one in part.to_crs(crs).geometry]
        drawn = rasterize(polygons, out_shape=roads.shape, transform=transform).astype(np.bool_)
        print(f"{place}: IoU {(drawn & roads).sum() / (drawn | roads).sum():.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
