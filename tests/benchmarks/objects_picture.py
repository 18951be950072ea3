"""Draw the objects of runs over their imagery: green where --examples finds them likely, else colourful.

python tests/benchmarks/objects_picture.py --scene kampala_west.tif --run out/buildings --out buildings.png

Several runs stand side by side. With --outlines the imagery is left out, so that the picture may be shown
where the imagery may not.
"""

from __future__ import annotations

import argparse
from typing import Any

import geopandas
import matplotlib as mpl
import numpy as np
import rasterio
from rasterio.plot import plotting_extent


def main() -> None:
    """Read a scene and runs over it, and write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scene", required=True, metavar="FILE", help="a raster with red, green and blue")
    parser.add_argument(
        "--run", required=True, action="append", metavar="DIR", help="run directory over it; repeatable"
    )
    parser.add_argument("--title", action="append", default=[], metavar="TEXT", help="one for each run")
    parser.add_argument("--outlines", action="store_true", help="without the imagery")
    parser.add_argument("--width-px", type=int, default=900, metavar="PX", help="of each run's part")
    parser.add_argument("--out", required=True, metavar="FILE", help=".png or .svg")
    args = parser.parse_args()
    mpl.use("Agg")
    from matplotlib import pyplot

    with rasterio.open(args.scene) as scene:
        height = round(args.width_px * scene.height / scene.width)
        rgb = scene.read([1, 2, 3], out_shape=(3, height, args.width_px)).transpose(1, 2, 0)
        extent = plotting_extent(scene)
        crs = scene.crs
    titled = 0.06 if args.title else 0.0
    size = len(args.run) * args.width_px / 100, height / 100 / (1 - titled)
    figure = pyplot.figure(figsize=size, dpi=100)
    for place, run in enumerate(args.run):
        gap = 0.01 * (place > 0)
        axes = figure.add_axes((place / len(args.run) + gap, 0, 1 / len(args.run) - gap, 1 - titled))
        axes.set_axis_off()
        if not args.outlines:
            axes.imshow(rgb, extent=extent)
        n = draw_objects(axes, run, crs, filled=args.outlines)
        axes.set_xlim(extent[:2])
        axes.set_ylim(extent[2:])
        if args.title:
            axes.set_title(args.title[place], fontsize=13, loc="left")
        print(f"{run}: {n} objects")
    figure.savefig(args.out)


def draw_objects(axes: Any, run: str, crs: Any, *, filled: bool) -> int:
    """Draw the objects of a run; returns how many there are. `filled`: with pale insides."""
    objects = geopandas.read_parquet(f"{run}/instances").to_crs(crs)
    if "verified" in objects and objects["verified"].notna().any():
        colours = mpl.colormaps["RdYlGn"](objects["verified"].fillna(0.5).to_numpy())
    else:
        colours = mpl.colormaps["hsv"](np.random.default_rng(0).random(len(objects)))
    if filled:
        objects.plot(ax=axes, color=colours, alpha=0.35)
    objects.boundary.plot(ax=axes, color=colours, linewidth=1.2 if filled else 1.6)
    axes.set_aspect("auto")
    return len(objects)


if __name__ == "__main__":
    main()
