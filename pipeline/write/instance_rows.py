"""Make the rows of instances/*.parquet from arrays, without a Python object per instance.

1. `PromptBook` looks up what a fragment's prompt was and why. It reads one block record at a time and keeps
   the last few.
2. `instance_rows` joins these answers with the merge's ids, scores and flags, and with tiles, scenes, area
   and geometry. It works column by column, in the schema of `instances`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import RecordError
from pipeline.files.store.store_path import StorePath
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import TileLattice, block_id, tile_id
from pipeline.write.geo_parquet import with_geometry
from pipeline.write.georeference import Geometries, to_crs_coordinates
from pipeline.write.instances import InstanceMeta, timestamp_of
from pipeline.write.records.block_records import REMEDY, read_columns
from pipeline.write.records.record_columns import POINT
from pipeline.write.records.record_keys import RecordKeys, key_of

_BOOK_BLOCKS = 16
"""Block records whose prompts are kept: neighbouring objects share them."""


@dataclass(frozen=True, kw_only=True)
class MergedColumns:
    """What the merge says about some instances of one query; columns (n,), in one order."""

    instance_id: NDArray[np.uint64]
    score: NDArray[np.float32]
    """The object's score, 0..1."""
    area_px: NDArray[np.int64]
    area_m2: NDArray[np.float64]
    """Geodesic area in square metres; NaN without CRS."""
    polygons: Geometries
    """Polygons in pixel-edge coordinates of the run grid."""
    truncated: NDArray[np.bool_]
    one_sided: NDArray[np.bool_]
    part_no: NDArray[np.int32]
    n_parts: NDArray[np.int32]
    rep_place: NDArray[np.int64]
    """Tile number << 16 | local id of the representative fragment."""
    rep_prompt: NDArray[np.int64]
    """Index of its prompt in its tile's list."""
    tile_start: NDArray[np.int64]
    """(n + 1,): the tiles of row i are tiles[tile_start[i]:tile_start[i + 1]]."""
    tiles: NDArray[np.int64]
    """Tile numbers, ascending within a row."""
    scene_start: NDArray[np.int64]
    """(n + 1,): the scenes of row i are scenes[scene_start[i]:scene_start[i + 1]]."""
    scenes: NDArray[np.int64]
    """Places, in the run's list of scenes, of those that gave the pixels under the object, ascending within a
    row."""

    def __len__(self) -> int:
        return int(self.instance_id.size)


class PromptBook:
    """Prompts and rationales of one query, looked up by tile and index."""

    def __init__(
        self,
        lattice: TileLattice,
        query_index: int,
        record_path: Callable[[str], StorePath],
        keys: RecordKeys,
    ) -> None:
        """`record_path` gives the file of a block_id."""
        self._lattice = lattice
        self._query = query_index
        self._path = record_path
        self._keys = keys
        self._held: OrderedDict[int, pa.Table] = OrderedDict()

    def look_up(self, tile: NDArray[np.int64], prompt: NDArray[np.int64]) -> pa.Table:
        """Look up n prompts: a table of n rows with label, rationale, box_px, points, verified,
        feature_id and feature_attributes.

        `tile`: (n,) tile numbers. `prompt`: (n,) places in the tile's list of prompts. Boxes and points are
        in pixels of the run grid. Raises RecordError for a prompt that is not there.
        """
        lattice = self._lattice
        row = tile // lattice.n_tile_cols
        col = tile % lattice.n_tile_cols
        block = row // lattice.block_tiles * lattice.n_block_cols + col // lattice.block_tiles
        order = np.argsort(block, kind="stable")
        parts = []
        ranked = block[order]
        for number in np.unique(block).tolist():
            here = order[np.searchsorted(ranked, number) : np.searchsorted(ranked, number, side="right")]
            parts.append(self._block_rows(number, tile[here], prompt[here]))
        if not parts:
            return _DETAILS.empty_table()
        back = np.empty(order.size, dtype=np.int64)
        back[order] = np.arange(order.size)
        return pa.concat_tables(parts).combine_chunks().take(pa.array(back))

    def _block_rows(self, number: int, tile: NDArray[np.int64], prompt: NDArray[np.int64]) -> pa.Table:
        table = self._record(number)
        numbers = table["tile"].to_numpy()
        lists = table["prompts"].combine_chunks()
        starts = np.concatenate(
            [
                np.zeros(1, dtype=np.int64),
                np.cumsum(pc.list_value_length(lists).to_numpy(zero_copy_only=False)),
            ]
        )
        at = np.searchsorted(numbers, tile)
        known = np.append(numbers, -1)[at] == tile
        if not known.all() or (starts[at] + prompt >= starts[at + 1]).any():
            raise RecordError(
                f"block record {self._record_path(number)} lacks prompts that its fragments refer to. "
                f"To fix: {REMEDY}"
            )
        entry = pa.array(starts[at] + prompt)
        values = lists.flatten()
        shift = np.stack([table["read_col0"].to_numpy()[at], table["read_row0"].to_numpy()[at]], axis=1)
        return pa.table(
            [
                values.field("label").take(entry),
                table["rationale"].combine_chunks().take(pa.array(at)),
                _shifted_boxes(values.field("box_xyxy").take(entry), shift),
                _shifted_points(values.field("points").take(entry), shift),
                _verified(table, at, prompt),
                *_feature(table, entry),
            ],
            schema=_DETAILS,
        )

    def _record(self, number: int) -> pa.Table:
        if number in self._held:
            self._held.move_to_end(number)
            return self._held[number]
        columns = [
            "tile_row",
            "tile_col",
            "read_row0",
            "read_col0",
            "query_index",
            "rationale",
            "prompts",
            "features",
            "verified",
        ]
        path = self._record_path(number)
        key = key_of(self._keys, path.stem)
        table = read_columns(path, key.fingerprint, key.seal, columns=columns)
        table = table.filter(pc.field("query_index") == self._query)
        tile = (
            table["tile_row"].to_numpy().astype(np.int64) * self._lattice.n_tile_cols
            + table["tile_col"].to_numpy()
        )
        table = (
            table.append_column("tile", pa.array(tile))
            .take(pa.array(np.argsort(tile, kind="stable")))
            .combine_chunks()
        )
        self._held[number] = table
        if len(self._held) > _BOOK_BLOCKS:
            self._held.popitem(last=False)
        return table

    def _record_path(self, number: int) -> StorePath:
        return self._path(block_id(*divmod(number, self._lattice.n_block_cols)))


_DETAILS = pa.schema(
    [
        ("label", pa.string()),
        ("rationale", pa.string()),
        ("box_px", pa.list_(pa.float64())),
        ("points", pa.list_(POINT)),
        ("verified", pa.float32()),
        ("feature_id", pa.string()),
        ("feature_attributes", pa.string()),
    ]
)


def instance_rows(
    rows: MergedColumns,
    book: PromptBook,
    *,
    query_index: int,
    lattice: TileLattice,
    scenes: Sequence[Scene],
    meta: InstanceMeta,
) -> pa.Table:
    """Make the published rows, bbox and geometry included, in the order of `rows`."""
    n = len(rows)
    grid = lattice.grid
    details = book.look_up(rows.rep_place >> 16, rows.rep_prompt)
    scene_ids, times = scene_lists(rows.scene_start, rows.scenes, scenes)
    columns: dict[str, object] = {
        "instance_id": rows.instance_id,
        "query_index": np.full(n, query_index, dtype=np.int32),
        "query": _repeated(meta.queries[query_index], n),
        "label": details["label"].combine_chunks(),
        "score": rows.score,
        "area_px": rows.area_px,
        "area_m2": pa.array(rows.area_m2, from_pandas=True),
        "rationale": details["rationale"].combine_chunks(),
        "box_px": details["box_px"].combine_chunks(),
        "points": details["points"].combine_chunks(),
        "tile_ids": _tile_lists(rows.tile_start, rows.tiles, lattice),
        "n_tiles": np.diff(rows.tile_start).astype(np.int32),
        "truncated": rows.truncated,
        "one_sided": rows.one_sided,
        "part_no": rows.part_no,
        "n_parts": rows.n_parts,
        "scene_ids": scene_ids,
        "datetime": times,
        "prompter_id": _repeated(meta.prompter_id, n),
        "segmenter_id": _repeated(meta.segmenter_id, n),
        "run_id": _repeated(meta.run_id, n),
        "verified": details["verified"].combine_chunks(),
        "feature_id": details["feature_id"].combine_chunks(),
        "feature_attributes": details["feature_attributes"].combine_chunks(),
    }
    table = pa.table([_typed(columns[field.name], field.type) for field in meta.schema], schema=meta.schema)
    return with_geometry(table, to_crs_coordinates(rows.polygons, grid))


def scene_lists(
    start: NDArray[np.int64], scene: NDArray[np.int64], scenes: Sequence[Scene]
) -> tuple[pa.Array, pa.Array]:
    """Make the columns scene_ids and datetime, (n,) each.

    The scenes of row i are scene[start[i]:start[i + 1]], as places in `scenes`. The time of a row is the
    earliest of theirs, or null when none of them has a time.
    """
    met, place = np.unique(scene, return_inverse=True)
    near = [scenes[i] for i in met.tolist()]
    names = pa.array([item.scene_id for item in near], type=pa.string())
    ids = pa.ListArray.from_arrays(pa.array(start.astype(np.int32)), names.take(pa.array(place)))
    none = np.iinfo(np.int64).max
    known = np.array(
        [none if item.datetime is None else _milliseconds(item.datetime) for item in near], dtype=np.int64
    )
    n = start.size - 1
    first = np.full(n, none, dtype=np.int64)
    np.minimum.at(first, np.repeat(np.arange(n), np.diff(start)), known[place])
    return ids, pa.array(first, mask=first == none).cast(pa.timestamp("ms", tz="UTC"))


def _milliseconds(text: str) -> int:
    return int((timestamp_of(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))


def _repeated(text: str, n: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, type=pa.string()), n)


def _typed(values: Any, kind: pa.DataType) -> pa.Array:
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, type=kind)


def _tile_lists(start: NDArray[np.int64], tiles: NDArray[np.int64], lattice: TileLattice) -> pa.Array:
    known, where = np.unique(tiles, return_inverse=True)
    names = [tile_id(row, col) for row, col in (divmod(tile, lattice.n_tile_cols) for tile in known.tolist())]
    values = pa.array(names, type=pa.string()).take(pa.array(where.reshape(-1)))
    return pa.ListArray.from_arrays(pa.array(start.astype(np.int32)), values)


def _feature(table: pa.Table, entry: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Look up id and attributes of the known locations of prompts, by their place among all of the table's
    prompts; null where the record has none."""
    if "features" not in table.column_names:
        return pa.nulls(len(entry), pa.string()), pa.nulls(len(entry), pa.string())
    values = table["features"].combine_chunks().flatten()
    return values.field("id").take(entry), values.field("attributes").take(entry)


def _verified(table: pa.Table, at: NDArray[np.int64], prompt: NDArray[np.int64]) -> pa.Array:
    """Look up the verifier's probability of prompt `prompt[i]` of row `at[i]`; null where the record has
    none."""
    if "verified" not in table.column_names:
        return pa.nulls(at.size, pa.float32())
    lists = table["verified"].combine_chunks()
    lengths = np.asarray(
        pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False), dtype=np.int64
    )
    starts = np.cumsum(lengths) - lengths
    known = prompt < lengths[at]
    return lists.flatten().take(pa.array(starts[at] + prompt, mask=~known)).cast(pa.float32())


def _shifted_boxes(boxes: pa.ListArray, shift: NDArray[np.int64]) -> pa.ListArray:
    """Move boxes x0, y0, x1, y1 from tile to grid; null stays null."""
    given = boxes.is_valid().to_numpy(zero_copy_only=False)
    xy = np.asarray(boxes.flatten().to_numpy(zero_copy_only=False), dtype=np.float64).reshape(
        -1, 4
    ) + np.tile(shift[given], 2)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(4 * given)])
    starts = pa.array(offsets.astype(np.int32), mask=np.append(~given, False))
    return pa.ListArray.from_arrays(starts, pa.array(xy.reshape(-1)))


def _shifted_points(points: pa.ListArray, shift: NDArray[np.int64]) -> pa.ListArray:
    counts = np.asarray(pc.list_value_length(points).to_numpy(zero_copy_only=False), dtype=np.int64)
    values = points.flatten()
    by = np.repeat(shift, counts, axis=0)
    x, y = (
        np.asarray(values.field(name).to_numpy(zero_copy_only=False), dtype=np.float64) for name in ("x", "y")
    )
    moved = pa.StructArray.from_arrays(
        [pa.array(x + by[:, 0]), pa.array(y + by[:, 1]), values.field("label")], fields=list(POINT)
    )
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), moved)
