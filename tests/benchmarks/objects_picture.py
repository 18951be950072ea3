"""Draw the objects of a run over its imagery: green where --examples finds them likely, else in many colours.

python tests/benchmarks/objects_picture.py --scene kampala_west.tif --run out/buildings --out buildings.png
"""

from __future__ import annotations

import argparse

import geopandas
import matplotlib as mpl
import numpy as np
import rasterio
from rasterio.plot import plotting_extent


def main() -> None:
    """Read a scene and a run over it, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", required=True, metavar="FILE", help="a raster with red, green and blue")
    parser.add_argument("--run", required=True, metavar="DIR", help="run directory over it")
    parser.add_argument("--width-px", type=int, default=900, metavar="PX")
    parser.add_argument("--out", required=True, metavar="FILE", help=".png or .svg")
    args = parser.parse_args()
    mpl.use("Agg")
    from matplotlib import pyplot

    with rasterio.open(args.scene) as scene:
        height = round(args.width_px * scene.height / scene.width)
        rgb = scene.read([1, 2, 3], out_shape=(3, height, args.width_px)).transpose(1, 2, 0)
        extent = plotting_extent(scene)
        crs = scene.crs
    objects = geopandas.read_parquet(f"{args.run}/instances").to_crs(crs)
    if "verified" in objects:
        colours = mpl.colormaps["RdYlGn"](objects["verified"].fillna(0.5).to_numpy())
    else:
        colours = mpl.colormaps["hsv"](np.random.default_rng(0).random(len(objects)))
    figure = pyplot.figure(figsize=(args.width_px / 100, height / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(rgb, extent=extent)
    objects.boundary.plot(ax=axes, color=colours, linewidth=1.6)
    axes.set_xlim(extent[:2])
    axes.set_ylim(extent[2:])
    figure.savefig(args.out)
    print(f"{args.out}: {len(objects)} objects")


if __name__ == "__main__":
    main()
