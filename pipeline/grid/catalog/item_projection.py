"""Where an item says that a file of it lies: CRS, transform and shape, without opening the file.

The STAC projection extension (v1 and v2) lets an asset repeat what its item says, and then the asset counts.
`claimed_places` looks the fields up in that order, each for itself. Whatever is missing, null or nonsense
("EPSG:None" occurs) makes the metadata incomplete, and the header has to be read before the plan.

Nothing here is believed for good. The schema allows six or nine numbers in any order, so a transform in
GDAL's order passes it. `lies_apart` finds those: the place that they name is not the item's footprint.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import rasterio.crs
import rasterio.errors
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from pipeline.geo.globe import LONLAT_CRS
from pipeline.grid.catalog.item_groups import ItemGroup
from pipeline.grid.lattice import crs_from_text
from pipeline.grid.scene_list import are_none, objects
from pipeline.schema.tiling import AffineTuple

APART = 0.25
"""Share of its sides by which the middle of a footprint may lie outside a file before the two contradict each
other. Footprints are drawn roughly, and leave out what has no imagery."""

MAX_SIDE_PX = 2**31 - 1

_CRS_FIELDS = ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson")
_NUMBERS = frozenset((int, float))
_CODE = re.compile(r"[A-Za-z][\w.-]*:[\w.:-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
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
    affine: AffineTuple | None
    """The transform, or that of a file that fills `proj:bbox`."""

    @property
    def projection(self) -> Projection | None:
        """Where the file lies. None: the item does not say all of it."""
        if self.crs_wkt is None or self.shape is None or self.affine is None:
            return None
        rows, cols = self.shape
        return Projection(crs_wkt=self.crs_wkt, transform=self.affine, width=cols, height=rows)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class ClaimedPlaces:
    """The same of n files, as columns: None and NaN where an item does not say."""

    crs: NDArray[np.object_]
    """(n,)"""
    shapes: NDArray[np.float64]
    """(n, 2): rows and columns."""
    transforms: NDArray[np.float64]
    """(n, 6)"""
    affines: NDArray[np.float64]
    """(n, 6)"""

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Whether an item says all of it, (n,)."""
        said = np.isfinite(self.shapes[:, 0]) & np.isfinite(self.affines[:, 0])
        return np.asarray(said & ~are_none(self.crs), dtype=np.bool_)

    def each(self) -> Iterator[ClaimedPlace]:
        """Yield them one by one."""
        columns = (self.crs, self.shapes, self.transforms, self.affines)
        for wkt, shape, transform, affine in zip(*(column.tolist() for column in columns), strict=True):
            yield ClaimedPlace(
                crs_wkt=wkt,
                shape=None if math.isnan(shape[0]) else (int(shape[0]), int(shape[1])),
                transform=None if math.isnan(transform[0]) else tuple(transform),
                affine=None if math.isnan(affine[0]) else tuple(affine),
            )


def claimed_places(group: ItemGroup, key: str) -> ClaimedPlaces:
    """Read what each item of a group says of the place of an asset, each part for itself."""
    shapes = _claimed_shapes(_values(group, key, "proj:shape"))
    transforms = _claimed_transforms(_values(group, key, "proj:transform"))
    affines = transforms
    without = np.flatnonzero(np.isnan(transforms[:, 0]) & np.isfinite(shapes[:, 0])).tolist()
    if without:
        affines = transforms.copy()
        bounds = _values(group, key, "proj:bbox")
        for number in without:
            affines[number] = _from_bounds(bounds[number], shapes[number].tolist()) or math.nan
    return ClaimedPlaces(
        crs=objects(claimed_crs(group, key)), shapes=shapes, transforms=transforms, affines=affines
    )


def _values(group: ItemGroup, key: str, name: str) -> Sequence[Any]:
    return group.said(key, name) or (None,) * len(group)


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


def claimed_crs(group: ItemGroup, key: str) -> list[str | None]:
    """Read the CRS of a file of each item as WKT2, from `proj:code`, `proj:epsg`, `proj:wkt2` or
    `proj:projjson`; what the asset says counts before what the item says. None: neither names one that is
    known."""
    found: list[str | None] = [None] * len(group)
    for name, of_assets in ((name, own) for own in (True, False) for name in _CRS_FIELDS):
        if None not in found:
            break
        values = group.of_assets(key, name) if of_assets else group.of_items(name)
        for number, value in enumerate(values or ()):
            if value is not None and found[number] is None:
                read = _known_crs if type(value) is int or type(value) is str else _named_crs
                found[number] = read(name, value)
    return found


def _claimed_shapes(values: Sequence[Any]) -> NDArray[np.float64]:
    """Read rows and columns of files, (n, 2). NaN: they are not said, or impossible."""
    found = _number_rows(values, 2)
    with np.errstate(invalid="ignore"):
        possible = ((found > 0) & (found <= MAX_SIDE_PX) & (found % 1 == 0)).all(axis=1)
    found[~possible] = math.nan
    return found


def _claimed_transforms(values: Sequence[Any]) -> NDArray[np.float64]:
    """Read the affines of files, six numbers or the nine of a matrix, (n, 6). NaN: it is not said, or
    singular."""
    found = _number_rows(values, 6, 9)
    a, b, _, d, e, _ = found[:, :6].T
    no_affine = np.isfinite(found[:, 6]) & (found[:, 6:] != (0, 0, 1)).any(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        found[no_affine | (a * e - b * d == 0)] = math.nan
    return found[:, :6].copy()


def _number_rows(values: Sequence[Any], *widths: int) -> NDArray[np.float64]:
    """Read lists of finite numbers, (n, largest of `widths`). NaN: there is none, or it has another length;
    and behind the numbers of shorter ones."""
    rows = [
        value
        if isinstance(value, list | tuple) and len(value) in widths and _NUMBERS.issuperset(map(type, value))
        else ()
        for value in values
    ]
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    found = np.full((len(rows), max(widths)), math.nan)
    for width in widths:
        own = np.flatnonzero(lengths == width)
        flat = chain.from_iterable(rows[number] for number in own.tolist())
        found[own, :width] = np.fromiter(map(_float, flat), dtype=np.float64).reshape(-1, width)
        found[own[~np.isfinite(found[own, :width]).all(axis=1)]] = math.nan
    return found


def _float(value: float) -> float:
    """The number as a float; infinite: none is large enough."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def lies_apart(
    footprints: NDArray[np.object_],
    crs: NDArray[np.object_],
    affines: NDArray[np.float64],
    shapes: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Tell of each file whether its place contradicts the footprint of its item, (n,).

    `crs`, `affines` and `shapes`: as in `ClaimedPlaces`, all of them said. The middle of the footprint must
    lie in or near the file, and the footprint be a pixel or more wide and high. All files of one CRS are
    compared at once.
    """
    apart = np.zeros(len(crs), dtype=np.bool_)
    if not len(crs):
        return apart
    west, south, east, north = shapely.bounds(_largest_parts(footprints)).T
    lons = np.stack([(west + east) / 2, west, east, west, east], axis=1)
    lats = np.stack([(south + north) / 2, south, south, north, north], axis=1)
    for wkt in dict.fromkeys(crs.tolist()):
        own = np.flatnonzero(crs == wkt)
        move = _from_lonlat(wkt)
        if move is None:
            apart[own] = True
            continue
        xs, ys = move.transform(lons[own], lats[own])
        a, b, c, d, e, f = affines[own].T[:, :, None]
        cols = (e * (xs - c) - b * (ys - f)) / (a * e - b * d)
        rows = (a * (ys - f) - d * (xs - c)) / (a * e - b * d)
        height, width = shapes[own].T
        apart[own] = ~(_fits(cols, width) & _fits(rows, height))
    return apart


@functools.lru_cache(maxsize=256)
def _from_lonlat(wkt: str) -> Transformer | None:
    try:
        return Transformer.from_crs(LONLAT_CRS, CRS.from_wkt(wkt), always_xy=True)
    except ProjError:
        return None


def _fits(positions: NDArray[np.float64], side: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a footprint agrees with a file along one axis, (n,). `positions`: (n, 5) in pixels of the file,
    the middle first, then the corners; NaN and infinity do not fit."""
    middle = positions[:, 0]
    with np.errstate(invalid="ignore"):
        near = (middle >= -APART * side) & (middle <= (1 + APART) * side)
        extent = positions[:, 1:].max(axis=1) - positions[:, 1:].min(axis=1)
        return np.asarray(near & (extent >= 1), dtype=np.bool_)


def _largest_parts(footprints: NDArray[np.object_]) -> NDArray[np.object_]:
    """The largest polygon of each footprint: one that is cut at 180 degrees has its middle elsewhere."""
    found = footprints.copy()
    for number in np.flatnonzero(shapely.get_num_geometries(found) > 1).tolist():
        found[number] = max(found[number].geoms, key=lambda part: part.area)
    return found


def _named_crs(name: str, value: Any) -> str | None:
    """Read the CRS that a field names as WKT2. None: none that is known."""
    text = _crs_text(name, value)
    return None if text is None else _wkt(text)


@functools.lru_cache(maxsize=512, typed=True)
def _known_crs(name: str, value: int | str) -> str | None:
    """The same, of values that many items share."""
    return _named_crs(name, value)


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


def _from_bounds(value: Any, shape: Sequence[float]) -> AffineTuple | None:
    """The north-up affine of a file that fills `proj:bbox`: west, south, east, north in its CRS."""
    west, south, east, north = _number_rows([value], 4)[0].tolist()
    if not (west < east and south < north):
        return None
    return ((east - west) / shape[1], 0.0, west, 0.0, -(north - south) / shape[0], north)
