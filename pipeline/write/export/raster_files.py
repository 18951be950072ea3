"""One layer of masks.zarr as a Cloud-Optimized GeoTIFF, without the objects below a score.

The layer is read in squares of `SQUARE_PX`; `cog_file` writes them. Memory holds one square and GDAL's cache
of blocks, however large the run is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.files.store.store_path import Place
from pipeline.schema.tile_answers import SCORE_SCALE
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.export.cog_file import CLEAR, RasterLook, Rgba, write_squares
from pipeline.write.export.mask_reader import MaskReader
from pipeline.write.export.score_floor import KEEP_ALL, ScoreFloor
from pipeline.write.masks_zarr import ARRAYS, MASK_FILL

LayerName = Literal["mask", "ids", "score"]

SQUARE_PX = 2048
"""Side of the squares in pixels, a multiple of the GeoTIFF's blocks: 34 MB of ids."""

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
    return {value: (red, green, blue, 255) for value, (red, green, blue) in enumerate(rows)} | {255: CLEAR}


LAYERS: Mapping[LayerName, Layer] = {
    "mask": Layer(
        array="mask",
        legend="1 = object, 0 = looked at and nothing there, 255 = not judged",
        without=0,
        colours={0: (232, 232, 232, 255), 1: (255, 59, 48, 255), 255: CLEAR},
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
    write_squares(
        path,
        _squares(masks, layer, query_index, grid, floor),
        grid=grid,
        look=RasterLook(
            description=layer, legend=kind.legend, nodata=nodata, dtype=dtype.name, colours=kind.colours
        ),
        tags=tags,
        progress=progress,
    )


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
            del values  # before the next square is read
