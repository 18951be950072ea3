"""One small picture of the whole run grid, for people.

Every scene is read decimated, from its overviews when it has some, and through a WarpedVRT when it is not on
the run's lattice. Scenes are painted in reverse order of priority, so the first one wins, as it does in the
pixels that the models see. A scene that cannot be read leaves its place black, and is named: the picture
informs, the coverage ledger decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import rasterio.crs
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterWindow

from pipeline.files.gdal_text import plain_message
from pipeline.files.raster_access import raster_environment
from pipeline.load.prepare_scenes import SceneSource
from pipeline.load.reader import READ_ERRORS, open_planned
from pipeline.load.stretch import apply_stretch
from pipeline.load.validity import alpha_band, dataset_validity
from pipeline.schema.tiling import RunGrid, Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader


@dataclass(frozen=True)
class Overview:
    """A picture of the run grid, and what it lacks."""

    rgb: NDArray[np.uint8]
    """(h, w, 3); black where nothing is valid."""
    left_out: dict[str, str]
    """Scene id -> why it could not be read."""


def read_overview(sources: Sequence[SceneSource], grid: RunGrid, *, side_px: int) -> Overview:
    """Read the whole run grid. The picture's longer side has at most `side_px` pixels, and no more than the
    grid's.
    """
    left_out = dict[str, str]()
    factor = max(1.0, max(grid.height, grid.width) / side_px)
    picture = np.zeros((math.ceil(grid.height / factor), math.ceil(grid.width / factor), 3), dtype=np.uint8)
    for source in reversed(sources):
        place = _scaled(source.window, factor, picture.shape)
        if place is None:
            continue
        try:
            rgb, valid = _read(source, grid, place.shape)
        except READ_ERRORS as error:
            left_out[source.scene.scene_id] = plain_message(error)
            continue
        np.copyto(picture[place.row0 : place.row1, place.col0 : place.col1], rgb, where=valid[..., None])
    return Overview(rgb=picture, left_out=left_out)


def _scaled(window: Window, factor: float, shape: tuple[int, ...]) -> Window | None:
    """Place a window of the run grid in the picture. None: nothing of it is left."""
    row0 = math.floor(window.row0 / factor)
    col0 = math.floor(window.col0 / factor)
    row1 = min(math.ceil(window.row1 / factor), shape[0])
    col1 = min(math.ceil(window.col1 / factor), shape[1])
    if row1 <= row0 or col1 <= col0:
        return None
    return Window(row0=row0, col0=col0, row1=row1, col1=col1)


def _read(
    source: SceneSource, grid: RunGrid, out_shape: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read stretched RGB (h, w, 3) and validity (h, w) of the scene's whole window at `out_shape`."""
    with raster_environment(source.scene), open_planned(source) as dataset:
        if source.offset_rc is not None:
            return _decimate(
                dataset, source, source.window.shifted(-source.offset_rc[0], -source.offset_rc[1]), out_shape
            )
        with WarpedVRT(
            dataset,
            src_crs=rasterio.crs.CRS.from_wkt(source.scene.crs_wkt),
            crs=rasterio.crs.CRS.from_wkt(grid.crs_wkt),
            transform=Affine(*grid.transform),
            width=grid.width,
            height=grid.height,
            resampling=Resampling.bilinear,
            add_alpha=alpha_band(dataset) is None and dataset.nodata is None,
        ) as warped:
            return _decimate(warped, source, source.window, out_shape)


def _decimate(
    dataset: DatasetReader, source: SceneSource, window: Window, out_shape: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    where = RasterWindow(window.col0, window.row0, window.width, window.height)
    values = dataset.read(
        list(source.scene.rgb_bands), window=where, out_shape=(3, *out_shape), resampling=Resampling.average
    )
    valid = dataset_validity(dataset, values, window=where, out_shape=out_shape)
    return apply_stretch(values, source.stretch), valid
