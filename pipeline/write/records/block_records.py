"""Block records: the committed result of inference, one Parquet file per block.

1. `write_block_record` creates `blocks/{block_id}.parquet`, whole, one row per (tile, query). A whole file
   means that the block is done.
2. Pixels are stored three times: as a label image, as the four strips of it that neighbours see too, and as
   the core's validity. So a seam is matched from two strips, and not from two tiles.
3. Every reader checks the hash of the whole file (`record_seal`), and then decodes only the columns it needs.
4. A damaged, foreign or older file raises RecordError. `done_records` does not count it, so the next start of
   the run does its block again.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import MissingRecordError, OtherInputsError, RecordError
from pipeline.files.fail_point import reach
from pipeline.files.public_text import public_text
from pipeline.files.store.store import StoreError
from pipeline.files.store.store_path import Place, StorePath, store_path
from pipeline.schema.tile_answers import BlockRecord, Reason, TileRecord, TileStatus
from pipeline.schema.tiling import TileLattice, TileSpec, Window, tile_id
from pipeline.write.records.label_codec import decode_bits, decode_labels, encode_bits, encode_labels
from pipeline.write.records.record_columns import (
    SCHEMA,
    SECOND_LOOKS,
    features_column,
    fragments_column,
    prompts_column,
    record_schema,
    tile_records,
    tile_specs,
)
from pipeline.write.records.record_seal import SEAL_METADATA, require_sealed, seal, seal_of
from pipeline.write.records.scene_columns import scene_columns, scene_pixels
from pipeline.write.run_dir import RunDir

RECORD_VERSION = b"1"
"""Version of the columns' meaning; readers refuse any other."""

Side = Literal["n", "e", "s", "w"]
SIDES: tuple[Side, ...] = ("n", "e", "s", "w")
_STEPS: Mapping[Side, tuple[int, int]] = {"n": (-1, 0), "e": (0, 1), "s": (1, 0), "w": (0, -1)}

_PREFIX = b"terraquery:"
_BLOBS = ("labels", "seam_n", "seam_e", "seam_s", "seam_w", "valid")
_SUMMARY = (*(name for name in SCHEMA.names if name not in _BLOBS), "features", "cloud_px", *SECOND_LOOKS)

MOST_ERROR_CHARS = 2000
MOST_RATIONALE_CHARS = 2000
MOST_REPLY_CHARS = 20_000
"""Longest texts that a record keeps of a tile, in characters. A longer one is cut and ends with `…`."""

_AGAIN = "start segment_region.py again with the run's own command; it does this block again"
"""Remedy for a record that does not count as done."""

REMEDY = f"delete the file and {_AGAIN}"
"""Remedy for a whole record of this run whose content makes no sense."""


@dataclass(frozen=True, kw_only=True)
class BlockSummaries:
    """A block record without its pixels."""

    block_id: str
    tiles: tuple[TileRecord, ...]
    """The rows. `labels` is None in all of them, also where something was found."""
    n_embeddings: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TileCounts:
    """One tile and query in numbers: no Python object per prompt or fragment."""

    tile: TileSpec
    query_index: int
    status: TileStatus
    reason: Reason
    error: str
    n_prompts: int
    n_fragments: int
    n_dropped: int
    truncated_reply: bool
    n_calls: int
    valid_px: int
    cloud_px: int = 0
    gate_p: float | None = None
    audited: bool = False
    verified: tuple[float | None, ...] = ()
    """This and the three fields before it: as in `TileRecord`."""
    scene_numbers: tuple[int, ...] = ()
    """Scenes that gave valid pixels to the core, by their places in the run's list; with the tile's first
    query only. Empty also where the record does not know them."""


@dataclass(frozen=True, kw_only=True)
class BlockCounts:
    """A block record in numbers."""

    block_id: str
    tiles: tuple[TileCounts, ...]
    n_embeddings: int


def seam_window(lattice: TileLattice, tile: TileSpec, side: Side) -> Window | None:
    """The seam with the neighbour on `side`: the pixels in both read windows. None: the grid ends there."""
    row = tile.tile_row + _STEPS[side][0]
    col = tile.tile_col + _STEPS[side][1]
    if not (0 <= row < lattice.n_tile_rows and 0 <= col < lattice.n_tile_cols):
        return None
    return tile.read.intersect(lattice.tile(row, col).read)


def write_block_record(
    run_dir: RunDir, record: BlockRecord, *, lattice: TileLattice, replaced: str = ""
) -> StorePath:
    """Commit one block: encode, then create `run_dir.block(record.block_id)`; returns the path.

    A record is written once. Of several writers the first wins, and what the others have is discarded.
    One that is damaged or of other inputs is written over, and so is the one whose seal is `replaced`: the
    run does it again. Raises ValueError when the record contradicts itself: a tile of another lattice, labels
    of another shape, a repeated (tile, query), or a tile without validity.
    """
    _require_consistent(record, lattice)
    path = run_dir.block(record.block_id)
    data = record_to_bytes(record, lattice=lattice)
    reach("before_block_record")
    while path.create(data) is None:
        try:
            stored = path.read_stored()
        except FileNotFoundError:
            continue
        try:
            if check_bytes(stored.data, path, record.fingerprint) != replaced:
                return path
        except RecordError:
            pass
        if path.swap(data, stored.version) is not None:
            break
    reach("after_block_record")
    return path


def record_to_bytes(record: BlockRecord, *, lattice: TileLattice) -> bytes:
    """Encode a record as a sealed Parquet file; equal records give equal bytes.

    All rows are one row group; the core's validity stands with the tile's first query only. Clouds, a
    gate and a verifier add columns at the end (`record_columns.record_schema`). Only standard Arrow types are
    used, so nothing is unpickled. Texts go through `public_text`, and long ones are cut.
    """
    rows = record.tiles
    first_row = {row.tile.tile_id: index for index, row in reversed(list(enumerate(rows)))}
    windows = {
        f"{kind}_{edge}": [getattr(getattr(row.tile, kind), edge) for row in rows]
        for kind in ("core", "read")
        for edge in ("row0", "col0", "row1", "col1")
    }
    columns: dict[str, object] = {
        "tile_id": [row.tile.tile_id for row in rows],
        "tile_row": [row.tile.tile_row for row in rows],
        "tile_col": [row.tile.tile_col for row in rows],
        **windows,
        "query_index": [row.query_index for row in rows],
        "status": [row.status.value for row in rows],
        "reason": [row.reason.value for row in rows],
        "error": [public_text(row.error, most_chars=MOST_ERROR_CHARS) for row in rows],
        "reply": [public_text(row.reply, most_chars=MOST_REPLY_CHARS) for row in rows],
        "rationale": [public_text(row.rationale, most_chars=MOST_RATIONALE_CHARS) for row in rows],
        "prompts": prompts_column(rows),
        "features": features_column(rows),
        "n_dropped": [row.n_dropped for row in rows],
        "truncated_reply": [row.truncated_reply for row in rows],
        "n_calls": [row.n_calls for row in rows],
        "valid_px": [row.valid_px for row in rows],
        "fragments": fragments_column(rows),
        "labels": [None if row.labels is None else encode_labels(row.labels) for row in rows],
        **{f"seam_{side}": [_strip(row, lattice, side) for row in rows] for side in SIDES},
        "valid": [
            encode_bits(record.valid[row.tile.tile_id]) if first_row[row.tile.tile_id] == i else None
            for i, row in enumerate(rows)
        ],
        **scene_columns(record, first_row),
        **{name: [getattr(row, name) for row in rows] for name in ("cloud_px", *SECOND_LOOKS)},
    }
    schema = record_schema(rows, scenes=bool(record.scenes))
    table = pa.table([pa.array(columns[field.name], type=field.type) for field in schema], schema=schema)
    return _to_parquet(table.replace_schema_metadata(_metadata(record)))


def read_block_record(path: Place, fingerprint: str) -> BlockRecord:
    """Read the whole record. Raises RecordError for a missing, damaged, foreign or older file."""
    with _open(path, fingerprint) as (file, metadata):
        table = file.read()
        blobs = table["labels"].to_pylist()
        tiles = tile_records(table, labels=[None if blob is None else decode_labels(blob) for blob in blobs])
        ids = table["tile_id"].to_pylist()
        bits = table["valid"].to_pylist()
        return BlockRecord(
            block_id=metadata["block_id"],
            fingerprint=fingerprint,
            inputs=metadata.get("inputs", ""),
            tiles=tiles,
            valid={name: decode_bits(blob) for name, blob in zip(ids, bits, strict=True) if blob is not None},
            scenes={tile_id(*place): scenes for place, scenes in scene_pixels(table).items()},
            n_embeddings=int(metadata["n_embeddings"]),
        )


def read_summaries(path: Place, fingerprint: str, seal: str = "") -> BlockSummaries:
    """Read statuses, prompts and fragments, no pixels. Raises RecordError as `read_block_record`."""
    with _open(path, fingerprint, seal) as (file, metadata):
        table = file.read(columns=list(_SUMMARY))
        return BlockSummaries(
            block_id=metadata["block_id"],
            tiles=tile_records(table, labels=[None] * table.num_rows),
            n_embeddings=int(metadata["n_embeddings"]),
        )


def read_counts(path: Place, fingerprint: str, seal: str = "") -> BlockCounts:
    """Read statuses and counts, without the content of lists. Raises RecordError as `read_block_record`."""
    lists = ("reply", "rationale", "prompts", "features", "fragments")
    plain = [*(name for name in _SUMMARY if name not in lists), "scene_numbers"]
    with _open(path, fingerprint, seal) as (file, metadata):
        table = file.read(columns=[*plain, "prompts.list.element.label", "fragments.list.element.local"])
        column = {name: table[name].to_pylist() for name in plain if name in table.column_names}
        counts = {name: pc.list_value_length(table[name]).to_pylist() for name in ("prompts", "fragments")}
        windows = tile_specs(column)
        absent = [None] * table.num_rows
        gate_p, audited, verified = (column.get(name, absent) for name in SECOND_LOOKS)
    tiles = tuple(
        TileCounts(
            tile=windows[i],
            status=TileStatus(column["status"][i]),
            reason=Reason(column["reason"][i]),
            n_prompts=counts["prompts"][i],
            n_fragments=counts["fragments"][i],
            cloud_px=column.get("cloud_px", absent)[i] or 0,
            gate_p=gate_p[i],
            audited=bool(audited[i]),
            verified=tuple(verified[i] or ()),
            scene_numbers=tuple(column.get("scene_numbers", absent)[i] or ()),
            **{
                name: column[name][i]
                for name in ("query_index", "error", "n_dropped", "truncated_reply", "n_calls", "valid_px")
            },
        )
        for i in range(table.num_rows)
    )
    return BlockCounts(block_id=metadata["block_id"], tiles=tiles, n_embeddings=int(metadata["n_embeddings"]))


def read_columns(path: Place, fingerprint: str, seal: str = "", *, columns: Sequence[str]) -> pa.Table:
    """Read some columns of a record as they are stored. Raises RecordError as `read_block_record`."""
    with _open(path, fingerprint, seal) as (file, _):
        return file.read(columns=list(columns))


def read_label_blobs(
    path: Place, fingerprint: str, seal: str = "", *, query_index: int
) -> dict[tuple[int, int], bytes]:
    """Read (tile_row, tile_col) -> label image for `decode_labels`, where this query found something."""
    table = read_columns(path, fingerprint, seal, columns=["tile_row", "tile_col", "query_index", "labels"])
    rows, cols, queries, blobs = (table[name].to_pylist() for name in table.column_names)
    return {
        (r, c): blob
        for r, c, q, blob in zip(rows, cols, queries, blobs, strict=True)
        if q == query_index and blob is not None
    }


def read_valid_blobs(path: Place, fingerprint: str, seal: str = "") -> dict[tuple[int, int], bytes]:
    """Read (tile_row, tile_col) -> encoded validity (`decode_bits`) of the tile's core, True = imagery."""
    table = read_columns(path, fingerprint, seal, columns=["tile_row", "tile_col", "valid"])
    rows, cols, blobs = (table[name].to_pylist() for name in table.column_names)
    return {(r, c): blob for r, c, blob in zip(rows, cols, blobs, strict=True) if blob is not None}


def check_record(path: Place, fingerprint: str, seal: str = "") -> str:
    """Check that a file is a whole record with this fingerprint; returns its seal. Raises RecordError as
    `read_block_record`.
    """
    with _open(path, fingerprint, seal) as (file, _):
        return seal_of(file.metadata.metadata)


def check_bytes(data: bytes, path: StorePath, fingerprint: str) -> str:
    """Check bytes as `check_record` checks a file; `path`: where they were read."""
    with _parsed(data, path, fingerprint) as (file, _):
        return seal_of(file.metadata.metadata)


@contextmanager
def _open(place: Place, fingerprint: str, seal: str = "") -> Iterator[tuple[pq.ParquetFile, dict[str, str]]]:
    """Open a record and check seal and metadata. Whatever goes wrong in the body becomes a RecordError.

    `seal`: of the record that it must be. Empty: any.
    """
    path = store_path(place)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingRecordError(f"block record {path} is missing. To fix: {_AGAIN}") from error
    except StoreError:  # it says nothing of the record
        raise
    except OSError as error:
        raise RecordError(f"block record {path} is damaged ({error}). To fix: {_AGAIN}") from error
    with _parsed(data, path, fingerprint) as (file, metadata):
        if seal and seal_of(file.metadata.metadata) != seal:
            raise RecordError(f"block record {path} was replaced while it was being merged. To fix: {_AGAIN}")
        yield file, metadata


@contextmanager
def _parsed(
    data: bytes, path: StorePath, fingerprint: str
) -> Iterator[tuple[pq.ParquetFile, dict[str, str]]]:
    """Parse a record and check seal and metadata, as `_open`."""
    try:
        require_sealed(data)
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            yield file, _checked_metadata(path, file, fingerprint)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise RecordError(f"block record {path} is damaged ({error}). To fix: {_AGAIN}") from error


def _checked_metadata(path: StorePath, file: pq.ParquetFile, fingerprint: str) -> dict[str, str]:
    stored = file.metadata.metadata or {}
    found = {
        key.removeprefix(_PREFIX).decode(): value.decode()
        for key, value in stored.items()
        if key.startswith(_PREFIX)
    }
    if found.get("schema_version") != RECORD_VERSION.decode():
        came = found.get("schema_version", "none")
        raise RecordError(
            f"block record {path} must have schema version {RECORD_VERSION.decode()}, got {came}. "
            f"To fix: {_AGAIN}"
        )
    if found["fingerprint"] != fingerprint:
        came = f"fingerprint {found['fingerprint'][:12]}, wanted {fingerprint[:12]}"
        raise OtherInputsError(
            f"block record {path} belongs to another run, or to other tiles or scenes ({came}). "
            f"To fix: {_AGAIN}",
            inputs=found.get("inputs", ""),
        )
    if found["block_id"] != path.stem or int(found["n_rows"]) != file.metadata.num_rows:
        raise RecordError(
            f"block record {path} holds {file.metadata.num_rows} rows of block {found['block_id']}. "
            f"To fix: {_AGAIN}"
        )
    return found


def _metadata(record: BlockRecord) -> dict[bytes, bytes]:
    values = {
        "schema_version": RECORD_VERSION.decode(),
        "fingerprint": record.fingerprint,
        "block_id": record.block_id,
        "n_rows": str(len(record.tiles)),
        "n_embeddings": str(record.n_embeddings),
        **({"inputs": record.inputs} if record.inputs else {}),
    }
    return {_PREFIX + key.encode(): value.encode() for key, value in values.items()}


def _to_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    options = {"use_dictionary": False, "write_page_checksum": True, "write_statistics": False}
    with pq.ParquetWriter(sink, table.schema, compression="zstd", **options) as writer:
        writer.write_table(table, row_group_size=max(table.num_rows, 1))
        writer.add_key_value_metadata(dict(SEAL_METADATA))
    return seal(sink.getvalue())


def _strip(row: TileRecord, lattice: TileLattice, side: Side) -> bytes | None:
    window = None if row.labels is None else seam_window(lattice, row.tile, side)
    if window is None or row.labels is None:
        return None
    return encode_labels(np.ascontiguousarray(row.labels[window.slices_in(row.tile.read)]))


def _require_consistent(record: BlockRecord, lattice: TileLattice) -> None:
    seen: set[tuple[str, int]] = set()
    for row in record.tiles:
        tile = row.tile
        if tile != lattice.tile(tile.tile_row, tile.tile_col):
            raise ValueError(
                f"{tile.tile_id} of record {record.block_id} must be a tile of the run's lattice, got {tile}"
            )
        if (tile.tile_id, row.query_index) in seen:
            raise ValueError(
                f"record {record.block_id} must hold each tile and query once, "
                f"got {tile.tile_id}, {row.query_index} twice"
            )
        seen.add((tile.tile_id, row.query_index))
        _require_shape(f"labels of {tile.tile_id}", row.labels, tile.read)
        if tile.tile_id not in record.valid:
            raise ValueError(f"record {record.block_id} must hold the validity of {tile.tile_id}")
        _require_shape(f"validity of {tile.tile_id}", record.valid[tile.tile_id], tile.core)


def _require_shape(name: str, array: NDArray[Any] | None, window: Window) -> None:
    if array is not None and array.shape != window.shape:
        raise ValueError(f"{name} must have shape {window.shape}, got {array.shape}")
