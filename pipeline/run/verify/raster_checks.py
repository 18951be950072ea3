"""masks.zarr against the rows of instances/ and the block records, block by block.

1. The polygons that reach into a block are burnt into an image of ids, which must be the raster's.
2. `score` must be that of the object at each pixel, and `mask` what ids and records say: 1 = object,
   0 = looked at, 255 = never judged, or beside the area of interest.
3. Pixels of every object are counted over all blocks, and must be as many as its rows say.

One block is in memory at a time, and the rows that reach into it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import rasterio.features
import shapely
import zarr
from affine import Affine
from numpy.typing import NDArray

from pipeline.errors import RecordError
from pipeline.files.store.store_path import StorePath
from pipeline.files.store.stored_files import zarr_store
from pipeline.run.verify.findings import Findings
from pipeline.run.verify.object_checks import ObjectTable, pixel_shapes
from pipeline.run.verify.record_checks import Records
from pipeline.schema.tile_answers import SCORE_SCALE
from pipeline.schema.tiling import Window, block_id
from pipeline.write.georeference import to_crs_coordinates, touched_pixels
from pipeline.write.instances import part_files
from pipeline.write.masks_zarr import ARRAYS, MASK_FILL
from pipeline.write.records.record_source import RecordSource
from pipeline.write.run_json import RunInfo

SCORE_SLACK = 0.5 + 1e-3
"""How far a published byte may lie from its score: it is rounded, and the row's score is a 32-bit number."""

Block = tuple[int, int]


class RasterChecker:
    """Compares one block after the other, and counts pixels as it goes."""

    def __init__(self, records: Records, info: RunInfo, objects: ObjectTable, found: Findings) -> None:
        """`objects`: what the table holds. Raises OSError, KeyError and ValueError for rasters that cannot be
        opened."""
        run_dir = records.run_dir
        self._info = info
        self._objects = objects
        self._found = found
        self._replaced = records.replaced
        self._counted = np.zeros(objects.id.size, dtype=np.int64)
        self._arrays = open_arrays(run_dir.masks, info)
        self._area = shapely.from_wkb(info.aoi_wkb) if info.aoi_wkb else None
        self._copies = tempfile.TemporaryDirectory(prefix="verify-")
        paths = [_on_disk(path, self._copies.name) for path in part_files(run_dir)]
        self._rows = ds.dataset(paths, format="parquet") if paths else None
        self._sources = [
            RecordSource(records.run_dir.block, info.lattice, keys=records.keys, query_index=query)
            for query in range(len(info.queries))
        ]

    def check_block(self, block: Block) -> None:
        """Compare a block's pixels of all queries with its rows and record; with its rows alone where its
        record was replaced.
        """
        window = self._info.lattice.block_core(*block)
        rows = slice(window.row0, window.row1)
        cols = slice(window.col0, window.col1)
        replaced = block_id(*block) in self._replaced
        for query, source in enumerate(self._sources):
            place = f"{block_id(*block)}, query {query}"
            try:
                ids, mask, score = (
                    np.asarray(self._arrays[name][query, rows, cols])
                    for name in ("instance_id", "mask", "score")
                )
                looked_at = None if replaced else source.looked_at(*block)
            except (OSError, ValueError, RuntimeError, RecordError) as error:
                self._found.add("rasters", place, f"it cannot be read: {error}")
                continue
            self._compare(f"{place}, instance_id", window, ids, self._burnt(window, query))
            ground = mask == 0 if looked_at is None else looked_at & self._inside(window)
            self._compare(
                f"{place}, mask", window, mask, np.where(ids > 0, 1, np.where(ground, 0, MASK_FILL))
            )
            self._check_scores(place, window, query, ids, score)

    def check_counts(self) -> None:
        """Compare the pixels of every object, over all blocks, with its rows; call it last."""
        objects = self._objects
        for k in np.flatnonzero(self._counted != objects.area_px):
            text = f"its rows have {objects.area_px[k]} px, the raster {self._counted[k]}"
            self._found.add("rasters", f"query {objects.query[k]}, id {objects.id[k]}", text)

    def _inside(self, window: Window) -> NDArray[np.bool_]:
        """Pixels (h, w) that touch the area of interest: beside it, an empty pixel says nothing."""
        if self._area is None:
            return np.ones(window.shape, dtype=np.bool_)
        return touched_pixels(self._area, self._info.lattice.grid, window)

    def _burnt(self, window: Window, query: int) -> NDArray[np.uint64]:
        """Ids (h, w) of the polygons over a window."""
        table = self._rows_near(window, query)
        image = np.zeros(window.shape, dtype=np.uint64)
        if table.num_rows == 0:
            return image
        numbers = rasterio.features.rasterize(
            zip(pixel_shapes(table, self._info), range(1, table.num_rows + 1), strict=True),
            out_shape=window.shape,
            transform=Affine.translation(window.col0, window.row0),
            dtype="int32",
        )
        ids = np.append(np.zeros(1, np.uint64), table["instance_id"].to_numpy())
        return np.asarray(ids[numbers], dtype=np.uint64)

    def _rows_near(self, window: Window, query: int) -> pa.Table:
        if self._rows is None:
            return pa.table({"instance_id": pa.array([], pa.uint64())})
        box = shapely.box(window.col0, window.row0, window.col1, window.row1)
        x0, y0, x1, y1 = shapely.bounds(to_crs_coordinates([box], self._info.lattice.grid))[0]
        near = (
            (ds.field("query_index") == query)
            & (ds.field("bbox", "xmin") <= x1)
            & (ds.field("bbox", "xmax") >= x0)
            & (ds.field("bbox", "ymin") <= y1)
            & (ds.field("bbox", "ymax") >= y0)
        )
        return self._rows.to_table(columns=["instance_id", "geometry"], filter=near)

    def _check_scores(
        self, place: str, window: Window, query: int, ids: NDArray[np.uint64], score: NDArray[np.uint8]
    ) -> None:
        """Compare the scores' bytes, and count the objects' pixels."""
        objects = self._objects
        low, high = np.searchsorted(objects.query, [query, query + 1])
        own_ids = objects.id[low:high]
        values, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
        at = np.searchsorted(own_ids, values)
        known = np.append(own_ids, np.uint64(0))[at] == values
        known &= values > 0
        self._counted[low + at[known]] += counts[known]
        wanted = np.full(values.size, float(MASK_FILL))
        wanted[known] = objects.score[low + at[known]] * SCORE_SCALE
        wrong = (np.abs(score - wanted[inverse].reshape(ids.shape)) > SCORE_SLACK) & (
            known[inverse].reshape(ids.shape) | (ids == 0)
        )
        if wrong.any():
            self._found.add("rasters", f"{place}, score", _first(wrong, window))

    def _compare(self, place: str, window: Window, came: NDArray[Any], wanted: NDArray[Any]) -> None:
        wrong = came != wanted
        if wrong.any():
            row, col = np.argwhere(wrong)[0]
            self._found.add(
                "rasters", place, f"{_first(wrong, window)}: {came[row, col]} instead of {wanted[row, col]}"
            )


def _on_disk(path: StorePath, folder: str) -> str:
    """The path of a file of this machine: the object itself, or a copy in `folder`."""
    if path.is_local:
        return str(path)
    copy = Path(folder) / path.name
    copy.write_bytes(path.read_bytes())
    return str(copy)


def open_arrays(path: StorePath, info: RunInfo) -> dict[str, zarr.Array]:
    """Open the three arrays. Raises ValueError when one has another shape or type than the run's."""
    group = zarr.open_group(
        store=zarr_store(path, read_only=True), mode="r", zarr_format=3, use_consolidated=False
    )
    grid = info.lattice.grid
    wanted = (len(info.queries), grid.height, grid.width)
    arrays: dict[str, zarr.Array] = {}
    for name, (dtype, _) in ARRAYS.items():
        array = group[name]
        if not isinstance(array, zarr.Array) or array.shape != wanted or str(array.dtype) != dtype:
            raise ValueError(f"{name} must be {dtype} of shape {wanted}, got {array!r}")
        arrays[name] = array
    return arrays


def all_blocks(info: RunInfo) -> Sequence[Block]:
    """List every block of the lattice: also where nothing was looked at, the rasters must say so."""
    lattice = info.lattice
    return [(row, col) for row in range(lattice.n_block_rows) for col in range(lattice.n_block_cols)]


def _first(wrong: NDArray[np.bool_], window: Window) -> str:
    row, col = np.argwhere(wrong)[0]
    return f"{int(wrong.sum())} px are wrong, first row {window.row0 + row}, column {window.col0 + col}"
