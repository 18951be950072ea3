"""detectree2: `stitch_crowns`, which drops what touches a tile's border, then `clean_crowns`.

Both read and write nothing but polygons: one GeoJSON file per tile, named after the tile's place, as
prediction leaves them. The package refuses to be imported without Detectron2, which is not on PyPI and which
these two functions never use: an empty module of that name answers its check. Settings: arguments of the two
functions.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

sys.modules["detectron2"] = ModuleType("detectron2")

import geopandas as gpd  # noqa: E402 - after the stand-in above
import shapely  # noqa: E402
from detectree2.models.outputs import clean_crowns, stitch_crowns  # noqa: E402
from exchange import Outputs, TileMasks, answer  # noqa: E402

EPSG = 32633
"""Any projected CRS in metres: one pixel is one metre."""

Native = tuple["tempfile.TemporaryDirectory[str]", dict[str, Any], int]


def prepare(masks: TileMasks, settings: dict[str, Any]) -> Native:
    """The folder of tiles. y points up, so row r of the grid has its upper edge at height - r."""
    folder = tempfile.TemporaryDirectory()
    height = masks.shape[0]
    side = masks.tile_px - 2 * masks.halo_px
    for index, (row, col) in enumerate(masks.tile_rc.tolist()):
        mine = masks.tile == index
        if not mine.any():
            continue
        shapes = shapely.from_wkb([w for w, m in zip(masks.wkb, mine, strict=True) if m])
        shapes = shapely.transform(shapes, lambda xy: xy * [1, -1] + [0, height])
        tile = gpd.GeoDataFrame({"Confidence_score": masks.score[mine]}, geometry=shapes, crs=EPSG)
        name = f"tile_{col * side}_{height - (row + 1) * side}_{side}_{masks.halo_px}_{EPSG}.geojson"
        tile.to_file(Path(folder.name) / name, driver="GeoJSON")
    return folder, settings, height


def merge(native: Native) -> tuple[gpd.GeoDataFrame, int]:
    folder, settings, height = native
    crowns = stitch_crowns(folder.name, settings["shift"])
    cleaned = clean_crowns(
        crowns, settings["iou_threshold"], confidence=settings["confidence"], verbose=False
    )
    folder.cleanup()
    return cleaned, height


def export(merged: tuple[gpd.GeoDataFrame, int]) -> Outputs:
    crowns, height = merged
    shapes = shapely.transform(crowns.geometry.to_numpy(), lambda xy: xy * [1, -1] + [0, height])
    return Outputs(wkb=tuple(shapely.to_wkb(shapes).tolist()))


if __name__ == "__main__":
    answer(prepare, merge, export, ["detectree2", "geopandas", "shapely"])
