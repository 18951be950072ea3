"""Where an item says that a file of it lies: CRS, transform and shape, without opening the file.

The STAC projection extension (v1 and v2) lets an asset repeat what its item says, and then the asset counts.
`projection_of` looks the fields up in that order, each for itself. Whatever is missing, null or nonsense
("EPSG:None" occurs) makes the metadata incomplete, and the header has to be read before the plan.

Nothing here is believed for good. The schema allows six or nine numbers in any order, so a transform in
GDAL's order passes it. `lies_apart` finds those: the place that they name is not the item's footprint.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio.crs
import rasterio.errors
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from pipeline.geo.globe import LONLAT_CRS
from pipeline.grid.catalog.item import Asset, Item
from pipeline.grid.lattice import crs_from_text
from pipeline.schema.tiling import AffineTuple

APART = 0.25
"""Share of its sides by which the middle of a footprint may lie outside a file before the two contradict each
other. Footprints are drawn roughly, and leave out what has no imagery."""

MAX_SIDE_PX = 2**31 - 1

_CODE = re.compile(r"[A-Za-z][\w.-]*:[\w.:-]+")


@dataclass(frozen=True, kw_only=True)
class Projection:
    """A lattice, as an item describes it."""

    crs_wkt: str
    transform: AffineTuple
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedPlace:
    """What an item says of the place of a file. None: it does not say."""

    crs_wkt: str | None
    shape: tuple[int, int] | None
    """(rows, cols)."""
    transform: AffineTuple | None


def claimed_place(item: Item, asset: Asset) -> ClaimedPlace:
    """Read what an item says of the place of a file, each part for itself."""
    return ClaimedPlace(
        crs_wkt=claimed_crs(item, asset),
        shape=_claimed_shape(item, asset),
        transform=_claimed_transform(item, asset),
    )


def projection_of(item: Item, asset: Asset, claimed: ClaimedPlace | None = None) -> Projection | None:
    """Read where a file lies. None: the item does not say all of it. `claimed`: its `claimed_place`."""
    said = claimed if claimed is not None else claimed_place(item, asset)
    if said.crs_wkt is None or said.shape is None:
        return None
    rows, cols = said.shape
    transform = said.transform or _from_bounds(item.field_of(asset, "proj:bbox"), said.shape)
    if transform is None:
        return None
    return Projection(crs_wkt=said.crs_wkt, transform=transform, width=cols, height=rows)


def footprint_place(bounds: tuple[float, float, float, float]) -> Projection:
    """Place a file whose lattice is unknown by its footprint (west, south, east, north): one pixel of it."""
    west, south, east, north = bounds
    side = 1e-9  # a point has no extent, and a pixel must have one
    return Projection(
        crs_wkt=crs_from_text(LONLAT_CRS),
        transform=(max(east - west, side), 0.0, west, 0.0, -max(north - south, side), north),
        width=1,
        height=1,
    )


def claimed_crs(item: Item, asset: Asset) -> str | None:
    """Read the CRS of a file as WKT2, from `proj:code`, `proj:epsg`, `proj:wkt2` or `proj:projjson`; what the
    asset says counts before what the item says. None: neither names one that is known."""
    for fields in (asset.fields, item.properties):
        for name in ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson"):
            value = fields.get(name)
            text = None if value is None else _crs_text(name, value)
            wkt = None if text is None else _wkt(text)
            if wkt is not None:
                return wkt
    return None


def _claimed_shape(item: Item, asset: Asset) -> tuple[int, int] | None:
    """Read (rows, cols) of a file. None: they are not said, or impossible."""
    shape = _numbers(item.field_of(asset, "proj:shape"))
    if shape is None or len(shape) != 2:
        return None
    rows, cols = (int(side) for side in shape)
    possible = 0 < rows <= MAX_SIDE_PX and 0 < cols <= MAX_SIDE_PX and [rows, cols] == shape
    return (rows, cols) if possible else None


def _claimed_transform(item: Item, asset: Asset) -> AffineTuple | None:
    """Read the affine of a file, six numbers or the nine of its matrix. None: it is not said, or singular."""
    values = _numbers(item.field_of(asset, "proj:transform"))
    if values is None or len(values) not in (6, 9) or (len(values) == 9 and values[6:] != [0, 0, 1]):
        return None
    a, b, c, d, e, f = values[:6]
    return (a, b, c, d, e, f) if a * e - b * d else None


def lies_apart(items: Sequence[Item], places: Sequence[Projection]) -> NDArray[np.bool_]:
    """Tell for each item whether the place of its file contradicts its footprint, (n,).

    The middle of the footprint must lie in or near the file, and the footprint be a pixel or more wide and
    high. All items of one CRS are compared at once.
    """
    apart = np.zeros(len(items), dtype=np.bool_)
    if not items:
        return apart
    west, south, east, north = shapely.bounds(_largest_parts(items)).T
    lons = np.stack([(west + east) / 2, west, east, west, east], axis=1)
    lats = np.stack([(south + north) / 2, south, south, north, north], axis=1)
    crs = np.array([place.crs_wkt for place in places], dtype=object)
    for wkt in dict.fromkeys(crs.tolist()):
        own = np.flatnonzero(crs == wkt)
        try:
            move = Transformer.from_crs(LONLAT_CRS, CRS.from_wkt(wkt), always_xy=True)
        except ProjError:
            apart[own] = True
            continue
        xs, ys = move.transform(lons[own], lats[own])
        members = [places[index] for index in own.tolist()]
        a, b, c, d, e, f = np.array([place.transform for place in members]).T[:, :, None]
        cols = (e * (xs - c) - b * (ys - f)) / (a * e - b * d)
        rows = (a * (ys - f) - d * (xs - c)) / (a * e - b * d)
        width = np.array([place.width for place in members])
        height = np.array([place.height for place in members])
        apart[own] = ~(_fits(cols, width) & _fits(rows, height))
    return apart


def _fits(positions: NDArray[np.float64], side: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a footprint agrees with a file along one axis, (n,). `positions`: (n, 5) in pixels of the file,
    the middle first, then the corners; NaN and infinity do not fit."""
    middle = positions[:, 0]
    with np.errstate(invalid="ignore"):
        near = (middle >= -APART * side) & (middle <= (1 + APART) * side)
        extent = positions[:, 1:].max(axis=1) - positions[:, 1:].min(axis=1)
        return np.asarray(near & (extent >= 1), dtype=np.bool_)


def _largest_parts(items: Sequence[Item]) -> NDArray[np.object_]:
    """The largest polygon of each footprint: one that is cut at 180 degrees has its middle elsewhere."""
    found = np.array([item.geometry for item in items], dtype=object)
    for number in np.flatnonzero(shapely.get_num_geometries(found) > 1).tolist():
        found[number] = max(found[number].geoms, key=lambda part: part.area)
    return found


def _crs_text(name: str, value: Any) -> str | None:
    """What a field says, as text that names a CRS. None: nothing, or what nobody can mean."""
    if name == "proj:epsg":
        digits = str(value).strip().upper().removeprefix("EPSG:")
        return f"EPSG:{digits}" if digits.isdecimal() and not isinstance(value, bool) else None
    if name == "proj:projjson":
        return json.dumps(value, sort_keys=True) if isinstance(value, dict) and value else None
    if not isinstance(value, str) or not value.strip():
        return None
    if name == "proj:code":
        return value.strip() if _CODE.fullmatch(value.strip()) else None
    return value


@functools.lru_cache(maxsize=512)
def _wkt(text: str) -> str | None:
    try:
        return str(rasterio.crs.CRS.from_user_input(text).to_wkt(version="WKT2_2019"))
    except (rasterio.errors.CRSError, ValueError):
        return None


def _numbers(value: Any) -> list[float] | None:
    """Finite numbers of a list. None: it is none, or holds something else."""
    if not isinstance(value, list | tuple):
        return None
    if any(item.__class__ is not float and item.__class__ is not int for item in value):
        return None
    try:
        numbers = [float(item) for item in value]
    except OverflowError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _from_bounds(value: Any, shape: tuple[int, int]) -> AffineTuple | None:
    """The north-up affine of a file that fills `proj:bbox`: west, south, east, north in its CRS."""
    bounds = _numbers(value)
    if bounds is None or len(bounds) != 4:
        return None
    west, south, east, north = bounds
    if not (west < east and south < north):
        return None
    return ((east - west) / shape[1], 0.0, west, 0.0, -(north - south) / shape[0], north)
