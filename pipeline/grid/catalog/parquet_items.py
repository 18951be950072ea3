"""Items of a stac-geoparquet file, local or behind a URL: only what the search can want is decoded.

1. Row groups whose statistics lie outside of the AOI or the dates are not read.
2. Of the others, boxes and times are read first, as columns. They decide which rows are candidates.
3. `ItemRows` turns candidates into the items that they were written from (stac-geoparquet specification
   1.1): properties are columns, the geometry is WKB, and a null stands for a member that is missing.
4. The sieve decides about every candidate, as about items of any other catalogue.

pyarrow reads it: rustac 0.9.18 refuses files of older writers, loads whole files, and searches with DuckDB,
which fetches an extension from the network. Memory is that of one batch and the candidates.
"""

from __future__ import annotations

import io
import math
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.files.hrefs import public_href
from pipeline.files.raster_access import raster_environment
from pipeline.files.remote_error import RemoteError
from pipeline.files.remote_object import RemoteObject
from pipeline.grid.catalog.item_offers import RowOffer
from pipeline.grid.catalog.item_sieve import ItemSieve
from pipeline.grid.catalog.parquet_rows import ItemRows
from pipeline.grid.catalog.parquet_values import documents
from pipeline.grid.catalog.row_checks import TIMES
from pipeline.grid.catalog.time_range import TimeRange
from pipeline.grid.paused_collector import paused_collector

BATCH_ROWS = 4096
"""Rows that are decoded at a time."""

MOST_GROUP_BYTES = 4 * 1024**3
"""Unpacked bytes that one row group may claim."""

MOST_GROUP_ROWS = 5_000_000
"""Rows of one row group: boxes and times of all of them are held together. GeoParquet advises 150,000."""

_SIDES = ("xmin", "ymin", "xmax", "ymax")


@paused_collector()
def add_parquet_items(place: str, sieve: ItemSieve) -> None:
    """Offer all items of the file at `place`, a path, http(s) URL or s3 href, to the sieve.

    Raises InputError when it is no stac-geoparquet, and SourceError when its server does not answer.
    """
    name = public_href(place)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(pq.ParquetFile(_opened(place, stack)))
            _require_items(file, name)
            for group in range(file.num_row_groups):
                _add_group(file, group, name, sieve)
        except RemoteError as error:
            if error.retryable:
                raise
            raise InputError(
                "A stac-geoparquet file must be readable", came=str(error), remedy="check the URL"
            ) from None
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"A stac-geoparquet file must be readable: {name}",
                came=str(error)[:300],
                remedy="check path and permissions, or write the file again",
            ) from error


def _opened(place: str, stack: ExitStack) -> Any:
    """Give what pyarrow can read: a path, or a file of ranges."""
    if "://" not in place:
        if not Path(place).is_file():
            raise InputError("A stac-geoparquet file must exist", came=place, remedy="check the path")
        return place
    stack.enter_context(raster_environment(place))
    return pa.PythonFile(_RangeFile(RemoteObject(place)), mode="r")


class _RangeFile(io.RawIOBase):
    """A remote object as a binary file."""

    def __init__(self, content: RemoteObject) -> None:
        super().__init__()
        self._content = content
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._content.size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        stop = self._content.size if size is None or size < 0 else min(self._at + size, self._content.size)
        if stop <= self._at:
            return b""
        data = self._content.read(self._at, stop)
        self._at = stop
        return data


def _require_items(file: pq.ParquetFile, name: str) -> None:
    missing = {"id", "assets", "geometry"} - set(file.schema_arrow.names)
    if missing:
        raise InputError(
            f"A .parquet source must be stac-geoparquet: {name}",
            came=f"no column {', '.join(sorted(missing))}",
            remedy="write it with `rustac translate items.json items.parquet`; give an AOI with --aoi",
        )
    for group in range(file.num_row_groups):
        meta = file.metadata.row_group(group)
        if meta.total_byte_size > MOST_GROUP_BYTES or meta.num_rows > MOST_GROUP_ROWS:
            raise InputError(
                f"A row group of a stac-geoparquet file may hold at most {MOST_GROUP_ROWS:,} rows and "
                f"{MOST_GROUP_BYTES:,} bytes: {name}",
                came=f"{meta.num_rows:,} rows and {meta.total_byte_size:,} bytes",
                remedy="write it again with smaller row groups",
            )


def _add_group(file: pq.ParquetFile, group: int, name: str, sieve: ItemSieve) -> None:
    rows = file.metadata.row_group(group).num_rows
    if _group_is_outside(file, group, sieve):
        sieve.skip("outside", rows)
        return
    wanted = _candidates(file, group, sieve)
    if not wanted.any():
        return
    start = 0
    for batch in file.iter_batches(BATCH_ROWS, row_groups=[group]):
        chosen = np.flatnonzero(wanted[start : start + batch.num_rows])
        start += batch.num_rows
        if chosen.size:
            _offer_rows(batch.take(pa.array(chosen)), name, sieve)


def _offer_rows(batch: pa.RecordBatch, name: str, sieve: ItemSieve) -> None:
    """Offer rows in their order: usual ones as they are, others as documents."""
    rows = ItemRows(batch, name)
    keys = rows.keys() if rows.usual.any() else []
    met = sieve.met_before(keys)
    meets: list[bool] | None = None
    if sieve.area is not None and rows.usual.any():
        meets = shapely.intersects(sieve.area, rows.geometries()).tolist()
    for row, usual in enumerate(rows.usual.tolist()):
        if usual:
            touches = None if meets is None else meets[row]
            sieve.offer(RowOffer(rows, row, meets=touches, key=keys[row], met=met[row]))
        else:
            sieve.add(next(documents(rows.rest(row))), name)
    rows.close()


# --------------------------------------------------------------------------------- what is a candidate


def _group_is_outside(file: pq.ParquetFile, group: int, sieve: ItemSieve) -> bool:
    """Whether statistics say that no box of a row group touches the AOI."""
    if sieve.area is None:
        return False
    meta = file.metadata.row_group(group)
    limits: dict[str, tuple[float, float]] = {}
    for index in range(meta.num_columns):
        column = meta.column(index)
        path, _, side = column.path_in_schema.rpartition(".")
        if path == "bbox" and side in _SIDES and column.statistics is not None:
            found = column.statistics
            if found.has_min_max and not found.null_count:
                limits[side] = (float(found.min), float(found.max))
    if len(limits) < len(_SIDES) or not all(math.isfinite(v) for pair in limits.values() for v in pair):
        return False
    crossing = limits["xmin"][1] - limits["xmax"][0] > 180  # some box may cross the antimeridian
    west = -180.0 if crossing else limits["xmin"][0]
    east = 180.0 if crossing else limits["xmax"][1]
    if west < -180 or east > 180:
        return False  # longitudes count on past 180
    return not sieve.area.intersects(shapely.box(west, limits["ymin"][0], east, limits["ymax"][1]))


def _candidates(file: pq.ParquetFile, group: int, sieve: ItemSieve) -> NDArray[np.bool_]:
    """Find the rows of a group that the search may want, (rows,); what cannot be told counts as wanted."""
    names = set(file.schema_arrow.names)
    columns = [name for name in ("bbox", *TIMES) if name in names]
    table = file.read_row_group(group, columns=columns)
    wanted = np.ones(file.metadata.row_group(group).num_rows, dtype=bool)
    if sieve.area is not None and "bbox" in columns:
        wanted = _touching(table.column("bbox"), sieve.area)
        sieve.skip("outside", int((~wanted).sum()))
    if sieve.times is not None:
        timely = _timely(table, sieve.times)
        sieve.skip("other time", int((wanted & ~timely).sum()))
        wanted &= timely
    return wanted


def _touching(boxes: pa.ChunkedArray, area: BaseGeometry) -> NDArray[np.bool_]:
    """Tell which boxes overlap the area, (rows,); of those near 180 which overlap a box around a part of it.
    Unknown ones count.
    """
    sides = _sides(boxes)
    if sides is None:
        return np.ones(len(boxes), dtype=bool)
    west, south, east, north = sides
    found = ~np.isfinite(west + south + east + north)
    for part in shapely.get_parts(area):
        w, s, e, n = part.bounds
        beside = np.where(west <= east, (west <= e) & (east >= w), (west <= e) | (east >= w))
        beside |= (west - 360 <= e) & (east - 360 >= w)  # longitudes that count on past 180
        beside |= (west + 360 <= e) & (east + 360 >= w)
        found |= beside & (south <= n) & (north >= s)
    plain = found & (west >= -180) & (west <= east) & (east <= 180)
    found[plain] = shapely.intersects(area, shapely.box(west[plain], south[plain], east[plain], north[plain]))
    return found


def _sides(boxes: pa.ChunkedArray) -> tuple[NDArray[np.float64], ...] | None:
    """Read west, south, east, north of boxes, each (rows,); NaN where unknown. None: they are no boxes."""
    kind = boxes.type
    if pa.types.is_struct(kind) and all(kind.get_field_index(side) >= 0 for side in _SIDES):
        columns = [pc.struct_field(boxes, side) for side in _SIDES]
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = pc.fill_null(pc.list_value_length(boxes), 0).to_numpy()
        if not np.isin(lengths, (4,)).all():
            return None
        columns = [pc.list_element(boxes, side) for side in range(4)]
    else:
        return None
    return tuple(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False) for column in columns)


def _timely(table: pa.Table, times: TimeRange) -> NDArray[np.bool_]:
    """Tell which rows may be of the wanted dates, (rows,); those without a time count."""
    found = {name: _moments(table, name) for name in TIMES}
    moment, start, end = (found[name] for name in TIMES)
    start = np.where(np.isnat(moment), np.where(np.isnat(start), end, start), moment)
    end = np.where(np.isnat(moment), np.where(np.isnat(end), start, end), moment)
    wanted = np.ones(table.num_rows, dtype=bool)
    if times.first is not None:
        wanted &= ~(end < _microseconds(times.first))
    if times.after is not None:
        wanted &= ~(start >= _microseconds(times.after))
    return wanted


def _moments(table: pa.Table, name: str) -> NDArray[np.datetime64]:
    """Read a column of times, (rows,) datetime64[us] in UTC; NaT where there is no timestamp."""
    if name in table.column_names and pa.types.is_timestamp(table.schema.field(name).type):
        column = pc.cast(table.column(name), pa.timestamp("us"), safe=False)
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype="datetime64[us]")
    return np.full(table.num_rows, np.datetime64("NaT", "us"))


def _microseconds(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.replace(tzinfo=None), "us")
