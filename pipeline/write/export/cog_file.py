"""A Cloud-Optimized GeoTIFF from squares of pixels.

1. Squares are written to a plain tiled GeoTIFF as they come. Those without a value are left out of the file.
2. GDAL's COG driver copies that file, compresses it well and adds overviews. They take every second pixel, so
   that several rasters of one run still agree in them.

Memory holds one square and GDAL's cache of blocks, however large the raster is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
import rasterio.shutil
import rasterio.windows
from numpy.typing import NDArray

from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.georeference import affine_or_identity

Rgba = tuple[int, int, int, int]

BLOCK_PX = 512
"""Side of a GeoTIFF's internal tiles in pixels."""

_SMALLEST_OVERVIEW_PX = 256
"""Overviews halve the raster until its longer side is no longer than this."""

CLEAR: Rgba = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class RasterLook:
    """What the one band of a file holds."""

    description: str
    """Name of the band."""
    legend: str
    """What a pixel says."""
    nodata: int
    dtype: str
    """numpy's name of the pixels' type."""
    colours: Mapping[int, Rgba] | None = None
    """Colour table of 8-bit pixels; None: without."""


def write_squares(
    path: Path,
    squares: Iterable[tuple[Window, NDArray[Any], float]],
    *,
    grid: RunGrid,
    look: RasterLook,
    tags: Mapping[str, str],
    progress: Callable[[float], None],
) -> None:
    """Write a raster of the size, CRS and affine of `grid`.

    squares: windows that do not overlap, on multiples of `BLOCK_PX`, each with its (H, W) pixels and the
    share of the work that is done with it. tags: metadata of the file. `progress` is told that share.
    """
    plain = path.with_suffix(".plain.tif")
    profile = {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": 1,
        "dtype": look.dtype,
        "nodata": look.nodata,
        "crs": grid.crs_wkt,
        "transform": rasterio.Affine(*affine_or_identity(grid)),
    }
    storage = {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "sparse_ok": True}
    with rasterio.open(plain, "w", **profile, **storage, compress="lzw", bigtiff="if_safer") as file:
        file.update_tags(**tags, LEGEND=look.legend)
        file.set_band_description(1, look.description)
        if look.colours:
            file.write_colormap(1, dict(look.colours))
        for window, values, share in squares:
            if (values != look.nodata).any():
                place = rasterio.windows.Window(window.col0, window.row0, window.width, window.height)
                file.write(values.astype(look.dtype, copy=False), 1, window=place)
            progress(0.8 * share)
            del values  # before the next square is read
    rasterio.shutil.copy(
        plain,
        path,
        driver="COG",
        COMPRESS="DEFLATE",
        BLOCKSIZE=BLOCK_PX,
        OVERVIEWS="IGNORE_EXISTING",
        OVERVIEW_COUNT=_overview_count(grid),
        OVERVIEW_RESAMPLING="NEAREST",
        SPARSE_OK="YES",
        BIGTIFF="IF_SAFER",
    )
    plain.unlink()
    progress(1.0)


def _overview_count(grid: RunGrid) -> int:
    longer = max(grid.width, grid.height)
    return max((-(-longer // _SMALLEST_OVERVIEW_PX) - 1).bit_length(), 0)
