"""How well do exported outlines fit mapped ones, with how many vertices, and do any overlap?

python tests/benchmarks/outline_fit.py --objects out/places/export/results.gpkg --truth buildings.geojson

For every mapped outline the best intersection over union with an object; the mean of them, vertices of all
objects, how many are invalid, and the area in m2 that two objects share.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray


def read(path: Path, layer: str | None = None) -> geopandas.GeoDataFrame:
    """Read a GIS file, or a folder of GeoParquet files such as `instances` of a run."""
    return geopandas.read_parquet(path) if path.is_dir() else geopandas.read_file(path, layer=layer)


def best_ious(mapped: NDArray[np.object_], objects: NDArray[np.object_]) -> NDArray[np.float64]:
    """(n,) the best intersection over union of each mapped shape with an object."""
    best = np.zeros(len(mapped))
    pairs = shapely.STRtree(objects).query(mapped, predicate="intersects")
    for at, other in pairs.T.tolist():
        common = shapely.intersection(mapped[at], objects[other]).area
        best[at] = max(best[at], common / (mapped[at].area + objects[other].area - common))
    return best


def shared_area(objects: NDArray[np.object_]) -> float:
    """Area that lies in two objects."""
    pairs = shapely.STRtree(objects).query(objects, predicate="intersects")
    twice = [shapely.intersection(objects[a], objects[b]).area for a, b in pairs.T.tolist() if a < b]
    return float(sum(twice))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", required=True, type=Path, metavar="FILE|DIR")
    parser.add_argument("--truth", required=True, type=Path, metavar="FILE")
    args = parser.parse_args()
    found = read(args.objects, "instances")
    shapes = np.asarray(found.geometry.to_numpy(), dtype=object)
    truth = read(args.truth).to_crs(found.crs).geometry
    mapped = np.asarray(shapely.make_valid(truth.to_numpy()), dtype=object)
    ious = best_ious(mapped, shapely.make_valid(shapes))
    n_vertices = int(shapely.count_coordinates(shapes))
    n_invalid = int((~shapely.is_valid(shapes)).sum())
    shared_m2 = shared_area(shapely.make_valid(shapes))
    print(f"{len(shapes)} objects, {n_vertices} vertices, {n_invalid} invalid, {shared_m2:.3f} m2 shared")
    print(f"mean IoU with {len(mapped)} mapped outlines {ious.mean():.3f}")


if __name__ == "__main__":
    main()
