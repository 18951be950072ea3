"""Windows of masks.zarr, with a clear error where it cannot be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files.store.store_path import Place
from pipeline.files.store.stored_files import zarr_store
from pipeline.schema.tiling import Window


class MaskReader:
    """The rasters of one run, open for reading."""

    def __init__(self, masks: Place) -> None:
        """masks: the run's masks.zarr."""
        self._masks = masks
        self._group: Any = None

    def read(self, array: str, query_index: int, window: Window) -> NDArray[Any]:
        """(H, W) values of one array (`ARRAYS` of pipeline.write.masks_zarr) and query.

        Raises InputError when the store cannot be read.
        """
        rows = slice(window.row0, window.row1)
        cols = slice(window.col0, window.col1)
        try:
            if self._group is None:
                self._group = zarr.open_group(zarr_store(self._masks, read_only=True), mode="r")
            return np.asarray(self._group[array][query_index, rows, cols])
        except (OSError, KeyError, ValueError, RuntimeError, IndexError) as error:
            raise InputError(
                f"{self._masks} must be readable",
                came=str(error),
                remedy="merge the run again with jobs/restitch_region.py, which writes it anew",
            ) from error
