"""sopa: `solve_conflicts`, which unites polygons of different patches by intersection over the smaller area.

Settings: `threshold`.
"""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from exchange import Outputs, TileMasks, answer
from numpy.typing import NDArray
from sopa.segmentation.resolve import solve_conflicts

Native = tuple[list[Any], NDArray[np.int64], dict[str, Any]]


def prepare(masks: TileMasks, settings: dict[str, Any]) -> Native:
    return list(shapely.from_wkb(list(masks.wkb))), masks.tile, settings


def merge(native: Native) -> gpd.GeoDataFrame:
    cells, patch, settings = native
    return solve_conflicts(cells, threshold=settings["threshold"], patch_indices=patch)


def export(merged: gpd.GeoDataFrame) -> Outputs:
    return Outputs(wkb=tuple(shapely.to_wkb(merged.geometry.to_numpy()).tolist()))


if __name__ == "__main__":
    answer(prepare, merge, export, ["sopa", "geopandas", "shapely"])
