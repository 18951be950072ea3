"""The black border that no file declares: found once per scene, and only where it is certain.

A mosaic written without a nodata value is black around its footprint. Such a border is called a collar. But
rivers, lakes and shadows are nearly black too, and they are imagery. So `find_collar` looks once at the whole
scene, decimated, and takes a dark region for a collar only if all of this holds:

1. It has one value: nearly black in 8 bits, else the smallest of the scene. Water has noise. Compression
   makes noise as well, but only beside imagery, so what counts are squares of `SOLID_PX`.
2. It touches the border of the scene and covers `MIN_SHARE` of it.
3. It has no specks. Ships and waves are specks; a whole footprint that it surrounds is none.
4. It lies outside the footprint, which is nearly convex: at most `MAX_INSIDE` of the region is within the
   convex hull of the imagery.

Any other dark region at the border is imagery. `dark_border_share` measures it, for a warning.

`collar_on_window` and `collar_warped` find the pixels: they have the collar's value, in or beside one of its
cells. A pixel's place and value alone decide, so all tiles that see it agree.

Measured on real scenes (the last test of tests/unit/load/test_collar.py reads them): three collars cover 18,
32 and 98 % of their scenes. Farther than 16 px from imagery all of their 2.3 million pixels are exactly 0,
under JPEG too. In four scenes without a collar, 13 million pixels, the largest dark region of one value has
309 px, which is 0.007 % of its scene.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import Affine
from scipy import ndimage

from pipeline.load.warped_scene import warp_cells
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import RunGrid, Window

NEAR_BLACK = 8
"""Grey level of 8-bit scenes up to which a pixel is nearly black, in every band."""

NOISE_PX = 16
"""Pixels from imagery up to which lossy compression disturbs a collar: the largest block of JPEG."""

SOLID_PX = 17
"""Side of the square that must have one value around a pixel of a collar, in pixels of the scene. Dark water
has noise: no such square is constant there.
"""

SOLID_CELLS = 3
"""The same in cells of the decimated look, where these are larger."""

MIN_SHARE = 0.002
"""Share of the scene that a collar covers at least: 27 times the largest dark region of one value that was
seen in imagery.
"""

MAX_SPECKS = 0.001
"""Share of specks in a collar. Water that is 0 almost everywhere has more."""

SPECK_PX = 256
"""Pixels up to which something enclosed in a dark region is a speck: a ship or noise, and no imagery."""

MAX_INSIDE = 0.25
"""Share of a collar that may lie within the convex hull of the imagery. A footprint is nearly convex; a lake
at the border lies within the hull, and a round one over a corner to 36 %.
"""

PROBES = 8
"""Places at which a collar is looked at in full resolution."""

PROBE_PX = 128
"""Side of these windows, at most."""

LOSSY = ("JPEG", "WEBP", "JPEG2000", "JXL", "LERC")
"""Compressions that may disturb values, as GDAL names them."""


@dataclass(frozen=True, kw_only=True)
class Collar:
    """The undeclared black border of one scene as a coarse bitmap, grown by what compression disturbs."""

    packed: bytes
    """Packed bits of the cells, row-major, compressed with zlib."""
    rows: int
    """Rows of cells."""
    cols: int
    """Columns of cells."""
    cell_px: int
    """Side of a cell in pixels of the scene."""
    share: float
    """Share of the scene's area that is collar, 0..1."""
    value: float = 0.0
    """Stored value of its pixels, in all bands."""
    noise: float = 0.0
    """By how much a pixel's value may be larger."""

    def cells(self) -> NDArray[np.bool_]:
        """Unpack the bitmap (rows, cols); True: collar may be here."""
        bits = np.unpackbits(
            np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8), count=self.rows * self.cols
        )
        return bits.reshape(self.rows, self.cols).astype(np.bool_)

    def has_value(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Find the pixels (H, W) of stored values (3, H, W) that a collar pixel may have."""
        return np.asarray((values <= self.value + self.noise).all(axis=0))


def find_collar(values: NDArray[Any], *, cell_px: int, lossy: bool, any_dark: bool = False) -> Collar | None:
    """Find the collar of a scene of which nothing declares the validity.

    None: it has none that is certain, or no imagery of which it could be the border.

    `values` (3, h, w): every `cell_px`-th pixel of the whole scene, as stored. `lossy`: whether the file is
    compressed with loss. `any_dark`: take every dark region at the border that covers MIN_SHARE.
    """
    dark = _dark(values)
    value = _border_value(values, dark)
    if value is None or dark.all():
        return None
    if any_dark:
        regions = border_regions(dark, min_share=MIN_SHARE)
        noise = NEAR_BLACK - value if values.dtype == np.uint8 else 0.0
    else:
        regions = certain_regions((values == value).all(axis=0), dark, cell_px=cell_px)
        noise = NEAR_BLACK - value if lossy and values.dtype == np.uint8 else 0.0
    if not regions.any():
        return None
    reach = max(1, math.ceil(NOISE_PX / cell_px)) if noise else 1
    grown = grow(regions, reach)
    here = grown & ((values <= value + noise).all(axis=0))
    return Collar(
        packed=zlib.compress(np.packbits(grown).tobytes()),
        rows=grown.shape[0],
        cols=grown.shape[1],
        cell_px=cell_px,
        share=float(here.mean()),
        value=float(value),
        noise=float(noise),
    )


def certain_regions(
    constant: NDArray[np.bool_], dark: NDArray[np.bool_], *, cell_px: int
) -> NDArray[np.bool_]:
    """Keep the regions of `constant` (h, w) that are a collar beyond doubt, by the four rules above.

    `constant`: pixels with the collar's value. `dark` (h, w): pixels that are no brighter than a collar with
    its noise; all others are imagery. `cell_px`: pixels of the scene per cell.
    """
    radius = max(SOLID_PX // cell_px, SOLID_CELLS) // 2
    inner = ndimage.minimum_filter(constant, size=2 * radius + 1, mode="constant", cval=1)
    solid = border_regions(grow(inner, radius) & constant, min_share=MIN_SHARE)
    if not solid.any():
        return solid
    footprint = _large(~dark, max(1, SPECK_PX // cell_px**2))
    hull = _hull(footprint)
    labels, count = ndimage.label(solid)
    found = np.zeros_like(solid)
    for index in range(1, count + 1):
        region = labels == index
        holes = ndimage.binary_fill_holes(region) & ~region
        specks = holes & ~_large(holes, max(1, SPECK_PX // cell_px**2) + 1)
        size = int(region.sum())
        if specks.sum() <= MAX_SPECKS * size and (region & hull).sum() <= MAX_INSIDE * size:
            found |= region
    return found


def is_constant(collar: Collar, scene: Scene, read: Callable[[Window], NDArray[Any]]) -> bool:
    """Check in full resolution that a collar from a decimated look has one value.

    The middle of each region and up to `PROBES` other places are read. `read` gives the stored values
    (3, h, w) of a window in pixels of the scene.
    """
    depth = ndimage.distance_transform_cdt(np.pad(collar.cells(), 1, constant_values=True))[1:-1, 1:-1]
    labels, count = ndimage.label(collar.cells())
    deepest = [ndimage.maximum_position(depth, labels, index) for index in range(1, min(count, PROBES) + 1)]
    inner = np.argwhere(depth >= max(2, depth.max() / 2))
    chosen = inner[np.linspace(0, len(inner) - 1, min(PROBES, len(inner))).astype(int)].tolist()
    for row, col in [*deepest, *chosen]:
        top = int(row) * collar.cell_px + collar.cell_px // 2
        left = int(col) * collar.cell_px + collar.cell_px // 2
        half = max(1, min(PROBE_PX // 2, (int(depth[row, col]) - 2) * collar.cell_px - NOISE_PX))
        window = Window(
            row0=max(0, top - half),
            col0=max(0, left - half),
            row1=min(scene.height, top + half),
            col1=min(scene.width, left + half),
        )
        if window.area_px and (read(window) != collar.value).mean() > MAX_SPECKS:
            return False
    return True


def dark_border_share(values: NDArray[Any]) -> float:
    """Measure the share of a scene that is nearly black and reaches the border in a large region.

    A scene that is dark all over has no border: 0.
    """
    dark = _dark(values)
    return 0.0 if dark.all() else float(border_regions(dark, min_share=MIN_SHARE).mean())


def _dark(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Find the pixels (h, w) that are nearly black; beyond 8 bits those of the smallest value."""
    if values.dtype == np.uint8:
        return np.asarray((values <= NEAR_BLACK).all(axis=0))
    finite = values[np.isfinite(values)]
    return np.asarray((values == (finite.min() if finite.size else 0)).all(axis=0))


def _border_value(values: NDArray[Any], dark: NDArray[np.bool_]) -> float | None:
    """Find the commonest value of dark border pixels that are the same in all bands. None: there is none."""
    edge = np.concatenate([values[:, 0], values[:, -1], values[:, :, 0], values[:, :, -1]], axis=1)
    seen = edge[0, np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]]) & (edge == edge[0]).all(0)]
    if seen.size == 0:
        return None
    found, counts = np.unique(seen, return_counts=True)
    return float(found[counts.argmax()])


def grow(cells: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Widen True cells by `radius` cells on all sides, corners included."""
    grown: NDArray[np.bool_] = ndimage.maximum_filter(cells, size=2 * radius + 1, mode="constant", cval=0)
    return grown


def border_regions(dark: NDArray[np.bool_], *, min_share: float) -> NDArray[np.bool_]:
    """Keep the 4-connected regions of `dark` (H, W) that touch the border and cover `min_share` of it all."""
    labels, count = ndimage.label(dark)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    wanted = np.zeros(count + 1, dtype=np.bool_)
    wanted[border] = sizes[border] >= max(1, math.ceil(min_share * dark.size))
    wanted[0] = False
    found: NDArray[np.bool_] = wanted[labels]
    return found


def _large(cells: NDArray[np.bool_], min_cells: int) -> NDArray[np.bool_]:
    """Keep the 4-connected regions that have `min_cells` or more."""
    labels, count = ndimage.label(cells)
    wanted = np.bincount(labels.ravel(), minlength=count + 1) >= min_cells
    wanted[0] = False
    found: NDArray[np.bool_] = wanted[labels]
    return found


def _hull(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the convex hull of the True cells; a scene without any has none."""
    rows = np.flatnonzero(cells.any(axis=1))
    if rows.size == 0:
        return np.zeros_like(cells)
    first = cells[rows].argmax(axis=1)
    last = cells.shape[1] - cells[rows, ::-1].argmax(axis=1)
    corners = [(x, y) for row in (0, 1) for x, y in zip(first, rows + row, strict=True)]
    corners += [(x, y) for row in (0, 1) for x, y in zip(last, rows + row, strict=True)]
    hull = shapely.MultiPoint(corners).convex_hull
    return np.asarray(rasterize([hull], out_shape=cells.shape, dtype="uint8")).astype(np.bool_)


def collar_on_window(collar: Collar, window: Window, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Find the collar pixels (H, W) of a window in pixels of the SCENE; `values` (3, H, W) are as stored."""
    rows = np.minimum(np.arange(window.row0, window.row1) // collar.cell_px, collar.rows - 1)
    cols = np.minimum(np.arange(window.col0, window.col1) // collar.cell_px, collar.cols - 1)
    return collar.cells()[np.ix_(rows, cols)] & collar.has_value(values)


def collar_warped(
    collar: Collar, scene: Scene, grid: RunGrid, window: Window, values: NDArray[Any]
) -> NDArray[np.bool_]:
    """Find the collar pixels (H, W) of a window of the RUN GRID, for a scene that was warped onto it.

    Each pixel takes its nearest cell. `values` (3, H, W) are warped stored values.
    """
    transform = Affine(*scene.transform) @ Affine.scale(collar.cell_px)
    assert scene.crs_wkt is not None
    here = warp_cells(collar.cells(), transform, scene.crs_wkt, grid, window)
    return here & collar.has_value(values)
