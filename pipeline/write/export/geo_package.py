"""Instances and ledger of a run as two layers of one GeoPackage.

`write_geo_package` streams each table from Parquet to GDAL in batches of `BATCH_ROWS` rows. GeoPackage knows
numbers, texts, times and one geometry, so lists become JSON texts, and the column `bbox` is left out.
Polygons become multipolygons, so that all features of a layer are of one type.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyogrio
import shapely

from pipeline.errors import InputError
from pipeline.files.store.store_path import StorePath
from pipeline.files.store.stored_files import open_parquet, row_count
from pipeline.schema.tiling import RunGrid
from pipeline.write.instances import part_files
from pipeline.write.run_dir import RunDir

BATCH_ROWS = 4096
"""Rows that are in memory at once."""


def write_geo_package(
    path: Path,
    run_dir: RunDir,
    *,
    grid: RunGrid,
    query_indexes: Sequence[int],
    progress: Callable[[float], None],
) -> None:
    """Write the layers `instances` and `coverage`, with the rows of the chosen queries and in the run's CRS.

    `progress` is told the share that is done. Raises InputError when a table is missing or damaged.
    """
    layers = {"instances": part_files(run_dir), "coverage": [run_dir.coverage]}
    try:
        total = max(sum(row_count(file) for files in layers.values() for file in files), 1)
        done = 0
        for layer, files in layers.items():
            if not files:
                raise FileNotFoundError(f"no part file in {run_dir.instances}")

            def told(n_rows: int, before: int = done) -> None:
                progress(0.99 * (before + n_rows) / total)

            done += _write_layer(path, layer, files, grid=grid, queries=query_indexes, told=told)
    except (pa.ArrowException, FileNotFoundError, KeyError) as error:
        raise InputError(
            f"the tables of {run_dir.path} must be whole",
            came=str(error),
            remedy="merge the run again with jobs/restitch_region.py, which writes them anew",
        ) from error
    progress(1.0)


def _write_layer(
    path: Path,
    layer: str,
    files: Sequence[StorePath],
    *,
    grid: RunGrid,
    queries: Sequence[int],
    told: Callable[[int], None],
) -> int:
    """Write one layer; returns the number of rows read. `told` hears how many were read so far."""
    with open_parquet(files[0]) as file:
        stored = file.schema_arrow
    schema = pa.schema([(field.name, _plain_type(field)) for field in stored if field.name != "bbox"])
    n_read = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal n_read
        for file in files:
            with open_parquet(file) as table:
                for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=schema.names):
                    n_read += batch.num_rows
                    chosen = batch.filter(pc.is_in(batch["query_index"], pa.array(queries, pa.int32())))
                    yield pa.RecordBatch.from_arrays(
                        [_plain(chosen[field.name], field) for field in schema], schema=schema
                    )
                    told(n_read)

    with warnings.catch_warnings():
        # a run in pixel space has no CRS to give
        warnings.filterwarnings("ignore", message="'crs' was not provided", category=UserWarning)
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(schema, batches()),
            path,
            layer=layer,
            driver="GPKG",
            geometry_name="geometry",
            geometry_type="MultiPolygon",
            crs=grid.crs_wkt,
        )
    return n_read


def _plain_type(field: pa.Field) -> pa.DataType:
    """The type of a column in a GeoPackage: its own, int64 for uint64, and text for everything nested."""
    if pa.types.is_uint64(field.type):
        return pa.int64()
    return pa.string() if pa.types.is_nested(field.type) else field.type


def _plain(column: pa.Array, field: pa.Field) -> pa.Array:
    if field.name == "geometry":
        return _multipolygons(column)
    if pa.types.is_nested(column.type):
        texts = [
            None if value is None else json.dumps(value, ensure_ascii=False) for value in column.to_pylist()
        ]
        return pa.array(texts, type=pa.string())
    return column.cast(field.type)


def _multipolygons(column: pa.Array) -> pa.Array:
    """WKB of polygons and multipolygons as WKB of multipolygons."""
    shapes: Any = shapely.from_wkb(np.asarray(column.to_pylist(), dtype=object))
    parts, owner = shapely.get_parts(shapes, return_index=True)
    whole = np.empty(len(shapes), dtype=object)
    shapely.multipolygons(parts, indices=owner, out=whole)
    return pa.array(shapely.to_wkb(whole, flavor="iso"), type=pa.binary())
