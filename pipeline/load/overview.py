"""One small picture of the whole run grid, for people.

Every scene is read decimated (its overviews serve that, when it has some), through a WarpedVRT of the
picture's own size when it is not on the run's lattice, and painted in reverse order of priority, so that the
first scene wins as it does in the pixels the models see. A scene that cannot be read leaves its place black:
the picture informs, the coverage ledger decides.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import rasterio.crs
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterWindow

from pipeline.files.raster_access import raster_environment
from pipeline.load.prepare_scenes import SceneSource
from pipeline.load.reader import READ_ERRORS, open_planned
from pipeline.load.stretch import apply_stretch
from pipeline.load.validity import dataset_validity
from pipeline.schema import RunGrid, Window

_log = logging.getLogger(__name__)


def read_overview(sources: Sequence[SceneSource], grid: RunGrid, *, side_px: int) -> NDArray[np.uint8]:
    """(h, w, 3) RGB of the run grid, its longer side at most `side_px`; black where nothing is valid."""
    factor = max(1.0, max(grid.height, grid.width) / side_px)
    picture = np.zeros((math.ceil(grid.height / factor), math.ceil(grid.width / factor), 3), dtype=np.uint8)
    for source in reversed(sources):
        place = _scaled(source.window, factor, picture.shape)
        if place is None:
            continue
        try:
            rgb, valid = _read(source, grid, place.shape)
        except READ_ERRORS as error:
            _log.warning("%s is left out of the overview: %s", source.scene.scene_id, error)
            continue
        np.copyto(picture[place.row0 : place.row1, place.col0 : place.col1], rgb, where=valid[..., None])
    return picture


def _scaled(window: Window, factor: float, shape: tuple[int, ...]) -> Window | None:
    """Where a window of the run grid lies in the picture; None when nothing of it is left."""
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
    """(h, w, 3) stretched RGB and (h, w) validity of the scene's whole window at `out_shape`."""
    with raster_environment(source.scene.href), open_planned(source.scene) as dataset:
        if source.offset_rc is not None:
            return _decimate(
                dataset, source, source.window.shifted(-source.offset_rc[0], -source.offset_rc[1]), out_shape
            )
        settings: dict[str, Any] = {
            "src_crs": rasterio.crs.CRS.from_wkt(source.scene.crs_wkt),
            "crs": rasterio.crs.CRS.from_wkt(grid.crs_wkt),
            "transform": Affine(*grid.transform),
            "width": grid.width,
            "height": grid.height,
            "resampling": Resampling.bilinear,
            "add_alpha": dataset.nodata is None,
        }
        with WarpedVRT(dataset, **settings) as warped:
            return _decimate(warped, source, source.window, out_shape)


def _decimate(
    dataset: Any, source: SceneSource, window: Window, out_shape: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    where = RasterWindow(window.col0, window.row0, window.width, window.height)
    values = dataset.read(
        list(source.scene.rgb_bands), window=where, out_shape=(3, *out_shape), resampling=Resampling.average
    )
    valid = dataset_validity(dataset, values, window=where, out_shape=out_shape)
    return apply_stretch(values, source.stretch), valid
