"""One layer of masks.zarr as a Cloud-Optimized GeoTIFF.

1. The layer is read in squares of `SQUARE_PX` and written to a plain tiled GeoTIFF. Squares without a value
   are left out of the file.
2. GDAL's COG driver copies that file, compresses it well and adds overviews. They take every second pixel, so
   that mask, ids and score still agree in them.

Memory holds one square and GDAL's cache of blocks, however large the run is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import rasterio.shutil
import rasterio.windows
from numpy.typing import NDArray

from pipeline.files.store.store_path import Place
from pipeline.schema.tile_answers import SCORE_SCALE
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.export.mask_reader import MaskReader
from pipeline.write.export.score_floor import KEEP_ALL, ScoreFloor
from pipeline.write.georeference import affine_or_identity
from pipeline.write.masks_zarr import ARRAYS, MASK_FILL

LayerName = Literal["mask", "ids", "score"]

Rgba = tuple[int, int, int, int]

SQUARE_PX = 2048
"""Side of the squares in pixels, a multiple of the GeoTIFF's blocks: 34 MB of ids."""

BLOCK_PX = 512
"""Side of a GeoTIFF's internal tiles in pixels."""

_SMALLEST_OVERVIEW_PX = 256
"""Overviews halve the raster until its longer side is no longer than this."""

_CLEAR: Rgba = (0, 0, 0, 0)

_RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Colours of scores from 0 to 1, evenly spaced (five of matplotlib's viridis)."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """How one array of masks.zarr becomes a GeoTIFF."""

    array: str
    """Name in masks.zarr. Its fill value is the nodata of the file."""
    legend: str
    """What a pixel says."""
    without: int
    """Its value where an object is left out for its score."""
    colours: Mapping[int, Rgba] | None = None
    """Colour table; None for ids, which have too many values."""


def _score_colours() -> dict[int, Rgba]:
    at = np.linspace(0, SCORE_SCALE, len(_RAMP))
    channels = [np.interp(np.arange(SCORE_SCALE + 1), at, channel) for channel in zip(*_RAMP, strict=True)]
    rows = np.stack(channels, axis=1).round().astype(int).tolist()
    return {value: (red, green, blue, 255) for value, (red, green, blue) in enumerate(rows)} | {255: _CLEAR}


LAYERS: Mapping[LayerName, Layer] = {
    "mask": Layer(
        array="mask",
        legend="1 = object, 0 = looked at and nothing there, 255 = not judged",
        without=0,
        colours={0: (232, 232, 232, 255), 1: (255, 59, 48, 255), 255: _CLEAR},
    ),
    "ids": Layer(array="instance_id", legend="instance_id of the object, 0 = no object", without=0),
    "score": Layer(
        array="score",
        legend="score of the object times 254, 255 = no object",
        without=MASK_FILL,
        colours=_score_colours(),
    ),
}


def write_cog(
    masks: Place,
    path: Path,
    *,
    layer: LayerName,
    query_index: int,
    grid: RunGrid,
    tags: Mapping[str, str],
    progress: Callable[[float], None],
    floor: ScoreFloor = KEEP_ALL,
) -> None:
    """Write one layer of one query as a Cloud-Optimized GeoTIFF, in the CRS and on the pixels of the run.

    Pixels are those of masks.zarr. Ids are uint32 where all ids of the run fit, else uint64. `tags` become
    metadata of the file, `floor` says which objects are left out, and `progress` is told the share that is
    done. Raises InputError when masks.zarr cannot be read.
    """
    kind = LAYERS[layer]
    _, nodata = ARRAYS[kind.array]
    dtype = np.dtype(np.uint8 if kind.colours else np.uint32 if grid.window.area_px < 2**32 else np.uint64)
    plain = path.with_suffix(".plain.tif")
    profile = {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": 1,
        "dtype": dtype.name,
        "nodata": nodata,
        "crs": grid.crs_wkt,
        "transform": rasterio.Affine(*affine_or_identity(grid)),
    }
    storage = {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "sparse_ok": True}
    with rasterio.open(plain, "w", **profile, **storage, compress="lzw", bigtiff="if_safer") as file:
        file.update_tags(**tags, LEGEND=kind.legend)
        file.set_band_description(1, layer)
        if kind.colours:
            file.write_colormap(1, dict(kind.colours))
        for window, values, share in _squares(masks, layer, query_index, grid, floor):
            if (values != nodata).any():
                place = rasterio.windows.Window(window.col0, window.row0, window.width, window.height)
                file.write(values.astype(dtype, copy=False), 1, window=place)
            progress(0.8 * share)
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


def _squares(
    masks: Place, layer: LayerName, query_index: int, grid: RunGrid, floor: ScoreFloor
) -> Iterator[tuple[Window, NDArray[Any], float]]:
    """Read a layer square by square, row-major; the last number is the share read so far."""
    rows = range(0, grid.height, SQUARE_PX)
    cols = range(0, grid.width, SQUARE_PX)
    reader = MaskReader(masks)
    for i, row0 in enumerate(rows):
        for j, col0 in enumerate(cols):
            row1 = min(row0 + SQUARE_PX, grid.height)
            col1 = min(col0 + SQUARE_PX, grid.width)
            window = Window(row0=row0, col0=col0, row1=row1, col1=col1)
            values = reader.read(LAYERS[layer].array, query_index, window)
            if floor.min_score > 0.0:
                ids = values if layer == "ids" else reader.read("instance_id", query_index, window)
                score = values if layer == "score" else reader.read("score", query_index, window)
                values = np.where(floor.left_out(query_index, ids, score), LAYERS[layer].without, values)
            yield window, values, (i * len(cols) + j + 1) / (len(rows) * len(cols))


def _overview_count(grid: RunGrid) -> int:
    longer = max(grid.width, grid.height)
    return max((-(-longer // _SMALLEST_OVERVIEW_PX) - 1).bit_length(), 0)
