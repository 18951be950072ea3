"""Which pixels are imagery. True = valid, everywhere.

1. `dataset_validity` is what the file says: an internal mask, an alpha band or the nodata value.
2. `find_collar` looks once, decimated, for a black border that nothing declares.
3. `collar_on_window` and `collar_warped` find its pixels: near-black AND in or next to a collar cell.

Collars of other colours, or of 16-bit scenes, are not found: give such files a nodata value or an alpha band.
"""

from __future__ import annotations

import logging
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioIOError
from rasterio.transform import Affine
from rasterio.windows import Window as RasterWindow
from scipy import ndimage

from pipeline.files.raster_access import gdal_message, open_raster, raster_environment
from pipeline.load.warped_scene import warp_cells
from pipeline.schema import RunGrid, Scene, Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_log = logging.getLogger(__name__)

NEAR_BLACK = 8
"""Grey level up to which a collar pixel may stray from 0, in every band (JPEG ringing)."""

COLLAR_SIDE_PX = 2048
"""Longest side of the decimated look at a scene."""

COLLAR_MIN_SHARE = 0.002
"""Share of the scene that a connected dark region at the border must cover; a smaller one is a shadow or a
dark roof.
"""

COLLAR_FULL_READ_PX = 256_000_000
"""Pixels up to which a scene without overviews is read once for its collar; larger ones are not."""


def dataset_validity(
    dataset: DatasetReader,
    values: NDArray[Any],
    *,
    window: RasterWindow | None = None,
    out_shape: tuple[int, int] | None = None,
) -> NDArray[np.bool_]:
    """Validity (H, W) of `window` as the dataset declares it; NaN and infinity in `values` (3, H, W) are not.

    A pixel is nodata only when ALL bands are, because masks per band punch holes into bright roofs.
    `window`: None: the whole dataset. `out_shape`: (H, W) of a decimated read; None: full resolution.
    """
    valid: NDArray[np.bool_] = np.asarray(dataset.dataset_mask(window=window, out_shape=out_shape)) > 0
    alpha = alpha_band(dataset)
    if alpha is not None:
        valid &= dataset.read(alpha, window=window, out_shape=out_shape) > 0
    if np.issubdtype(values.dtype, np.floating):
        valid &= np.isfinite(values).all(axis=0)
    return valid


def alpha_band(dataset: DatasetReader) -> int | None:
    """1-based index of the alpha band. None: there is none.

    It is found by its name: GDAL's mask flags know it only in files of two or four bands.
    """
    return next(
        (index for index, kind in enumerate(dataset.colorinterp, start=1) if kind == ColorInterp.alpha), None
    )


def declares_validity(dataset: DatasetReader) -> bool:
    """Whether the file has a nodata value, an alpha band or a mask."""
    return alpha_band(dataset) is not None or any(
        flags != [MaskFlags.all_valid] for flags in dataset.mask_flag_enums
    )


@dataclass(frozen=True, kw_only=True)
class Collar:
    """The undeclared black border of one scene as a coarse bitmap, grown by one cell.

    Whether a pixel belongs to it depends on its place and value alone, so all tiles that see it agree.
    """

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

    def cells(self) -> NDArray[np.bool_]:
        """Unpack the bitmap (rows, cols); True: collar may be here."""
        bits = np.unpackbits(
            np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8), count=self.rows * self.cols
        )
        return bits.reshape(self.rows, self.cols).astype(np.bool_)


def find_collar(scene: Scene) -> Collar | None:
    """Look for a collar in a decimated read. None: the scene has none, or declares its validity itself."""
    if scene.dtype != "uint8":
        return None
    with raster_environment(scene.href), open_raster(scene.href) as dataset:
        if declares_validity(dataset):
            return None
        cell_px = max(1, math.ceil(max(scene.height, scene.width) / COLLAR_SIDE_PX))
        if cell_px > 1 and not dataset.overviews(1) and scene.height * scene.width > COLLAR_FULL_READ_PX:
            _log.warning("%s: no overviews, so it is not searched for a black collar", scene.href)
            return None
        rows = math.ceil(scene.height / cell_px)
        cols = math.ceil(scene.width / cell_px)
        try:
            values = dataset.read(list(scene.rgb_bands), out_shape=(3, rows, cols))
        except RasterioIOError as error:
            _log.warning(
                "%s: not searched for a black collar, the overview is unreadable: %s",
                scene.href,
                gdal_message(error),
            )
            return None
    cells = border_regions(
        near_black(np.moveaxis(values, 0, -1)), min_cells=max(1, math.ceil(COLLAR_MIN_SHARE * rows * cols))
    )
    if not cells.any():
        return None
    grown = ndimage.binary_dilation(cells, structure=np.ones((3, 3), dtype=np.bool_))
    return Collar(
        packed=zlib.compress(np.packbits(grown).tobytes()),
        rows=rows,
        cols=cols,
        cell_px=cell_px,
        share=float(cells.mean()),
    )


def near_black(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find the pixels (H, W) of an image (H, W, 3) that no band makes brighter than NEAR_BLACK."""
    dark: NDArray[np.bool_] = rgb.max(axis=-1) <= NEAR_BLACK
    return dark


def border_regions(dark: NDArray[np.bool_], *, min_cells: int) -> NDArray[np.bool_]:
    """Keep the 4-connected regions of `dark` (H, W) that touch the border and have `min_cells` or more."""
    labels, count = ndimage.label(dark)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    wanted = np.zeros(count + 1, dtype=np.bool_)
    wanted[border] = sizes[border] >= min_cells
    wanted[0] = False
    found: NDArray[np.bool_] = wanted[labels]
    return found


def collar_on_window(collar: Collar, window: Window, rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find the collar pixels (H, W) of a window in pixels of the SCENE; `rgb` (H, W, 3) are stored values."""
    rows = np.minimum(np.arange(window.row0, window.row1) // collar.cell_px, collar.rows - 1)
    cols = np.minimum(np.arange(window.col0, window.col1) // collar.cell_px, collar.cols - 1)
    return collar.cells()[np.ix_(rows, cols)] & near_black(rgb)


def collar_warped(
    collar: Collar, scene: Scene, grid: RunGrid, window: Window, rgb: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Find the collar pixels (H, W) of a window of the RUN GRID, for a scene that was warped onto it.

    Each pixel takes its nearest cell. `rgb` (H, W, 3) are warped stored values.
    """
    transform = Affine(*scene.transform) @ Affine.scale(collar.cell_px)
    assert scene.crs_wkt is not None
    here = warp_cells(collar.cells(), transform, scene.crs_wkt, grid, window)
    return here & near_black(rgb)
