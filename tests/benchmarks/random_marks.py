"""Marks for --examples, drawn at random: points in true objects say yes, points in other drawn ones say no.

python tests/benchmarks/random_marks.py --objects RUN --truth POLYGONS --out marks.geojson
"""

from __future__ import annotations

import argparse

import geopandas
import numpy as np
import shapely

GAP_DEG = 1e-5
"""About a metre: points closer than that to a true object are of neither kind."""


def main() -> None:
    """Read a run and the truth, and write the marks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", required=True, metavar="RUN", help="run directory with --everything")
    parser.add_argument("--truth", required=True, metavar="FILE", help="polygons of what is wanted")
    parser.add_argument("--marks", type=int, default=15, metavar="N", help="of each kind (default: 15)")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--out", required=True, metavar="FILE")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    truth = geopandas.read_file(args.truth).to_crs("EPSG:4326")
    wanted = shapely.make_valid(truth.geometry.to_numpy())
    drawn = geopandas.read_parquet(f"{args.objects}/instances").to_crs("EPSG:4326")
    yes = shapely.point_on_surface(rng.permutation(wanted)[: args.marks])
    places = shapely.point_on_surface(drawn.geometry.to_numpy())
    near = shapely.buffer(shapely.union_all(wanted), GAP_DEG)
    no = rng.permutation(places[~shapely.within(places, near)])[: args.marks]
    said = ["yes"] * len(yes) + ["no"] * len(no)
    marks = geopandas.GeoDataFrame({"mark": said}, geometry=[*yes, *no], crs="EPSG:4326")
    marks.to_file(args.out)
    print(f"{args.out}: {len(yes)} yes, {len(no)} no")


if __name__ == "__main__":
    main()
