"""Fields of The World: `ftw_tools.inference.utils.merge_polygons`, union-find on IoU or containment of whole
polygons.

Settings: `iou_thresh`, `contain_thresh`, `grid_size`.
"""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import shapely
from exchange import Outputs, TileMasks, answer
from ftw_tools.inference.utils import merge_polygons


def prepare(masks: TileMasks, settings: dict[str, Any]) -> tuple[gpd.GeoDataFrame, dict[str, Any]]:
    return gpd.GeoDataFrame(geometry=shapely.from_wkb(list(masks.wkb))), settings


def merge(native: tuple[gpd.GeoDataFrame, dict[str, Any]]) -> gpd.GeoDataFrame:
    polygons, settings = native
    return merge_polygons(polygons, **settings)


def export(merged: gpd.GeoDataFrame) -> Outputs:
    return Outputs(wkb=tuple(shapely.to_wkb(merged.geometry.to_numpy()).tolist()))


if __name__ == "__main__":
    answer(prepare, merge, export, ["ftw-tools", "geopandas", "shapely"])
