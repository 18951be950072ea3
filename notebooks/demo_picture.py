"""Draws the README's picture: the demo's world, what was found, and the ledger.

python notebooks/demo_picture.py --run demo/run --out notebooks/demo.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import geopandas as gpd
import matplotlib
import numpy as np
import rasterio

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

COLOURS = ("#ff3b30", "#ffcc00", "#0a84ff", "#bf5af2")
STATUS = {"found": "#34c759", "empty": "#d0d0d5", "failed": "#ff3b30"}


def main() -> None:
    """Draw three panels side by side."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--run", type=Path, default=Path("demo/run"))
    top.add_argument("--out", type=Path, default=Path("notebooks/demo.png"))
    top.add_argument(
        "--detail",
        type=float,
        nargs=2,
        default=(0.6, 0.15),
        metavar=("X", "Y"),
        help="centre of the detail, shares of the scene",
    )
    args = top.parse_args()
    info = json.loads((args.run / "run.json").read_text())
    with rasterio.open(info["scenes"][0]["href"]) as scene:
        factor = max(1, max(scene.height, scene.width) // 1400)
        rgb = np.moveaxis(
            scene.read((1, 2, 3), out_shape=(3, scene.height // factor, scene.width // factor)), 0, -1
        )
        extent = (scene.bounds.left, scene.bounds.right, scene.bounds.bottom, scene.bounds.top)
        side = 0.22 * (extent[1] - extent[0])
        middle = (
            extent[0] + args.detail[0] * (extent[1] - extent[0]),
            extent[3] - args.detail[1] * (extent[3] - extent[2]),
        )
        zoom = (middle[0] - side / 2, middle[0] + side / 2, middle[1] - side / 2, middle[1] + side / 2)
        window = scene.window(zoom[0], zoom[2], zoom[1], zoom[3])
        near = np.moveaxis(scene.read((1, 2, 3), window=window), 0, -1)
    instances = gpd.read_parquet(args.run / "instances")
    coverage = gpd.read_parquet(args.run / "coverage.parquet")
    rank = coverage["status"].map({"failed": 0, "found": 1, "empty": 2})  # of all queries, the weightiest
    coverage = coverage.iloc[rank.argsort(kind="stable")].drop_duplicates("tile_id")
    figure, axes = plt.subplots(1, 3, figsize=(16.5, 6.2), constrained_layout=True)
    queries = info["queries"]
    for axis, image, box, title in (
        (axes[0], rgb, extent, "what was found"),
        (axes[1], near, zoom, "a closer look"),
    ):
        axis.imshow(image, extent=box)
        outline(axis, instances, len(queries), width=0.8 if box is extent else 1.8)
        axis.set(xlim=box[:2], ylim=box[2:], title=title)
    patches = [
        Patch(facecolor="none", edgecolor=COLOURS[i % len(COLOURS)], label=text, linewidth=2)
        for i, text in enumerate(queries)
    ]
    figure.legend(handles=patches, loc="outside lower left", ncols=len(queries), frameon=False, fontsize=11)
    coverage.plot(ax=axes[2], color=coverage["status"].map(STATUS), edgecolor="white", linewidth=0.5)
    counts = coverage["status"].value_counts()
    text = ", ".join(f"{counts.get(name, 0)} {name}" for name in STATUS)
    axes[2].set(
        xlim=extent[:2], ylim=extent[2:], title=f"the ledger: {len(coverage)} tiles = {text}", aspect="equal"
    )
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(args.out, dpi=75)


def outline(axis: Axes, instances: gpd.GeoDataFrame, n_queries: int, *, width: float) -> None:
    """Draw instance outlines in the colour of their query."""
    for index in range(n_queries):
        part = instances[instances["query_index"] == index]
        if len(part):
            part.boundary.plot(ax=axis, color=COLOURS[index % len(COLOURS)], linewidth=width)


if __name__ == "__main__":
    main()
