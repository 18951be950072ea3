"""The columns of a block record: their Arrow schema, and TileRecords to columns and back.

Prompts and fragments are lists of structs, built and read column by column. A tile may have thousands of
fragments, and a Python dict for each would cost more than the rest of the bookkeeping.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.files.public_text import public_text
from pipeline.schema.tile_answers import Fragment, Prompt, Reason, TileRecord, TileStatus
from pipeline.schema.tiling import TileSpec, Window
from pipeline.write.records.scene_columns import SCENE_COLUMNS

_FRAGMENT_INTS = ("local", "prompt_index", "score_q", "full_px", "core_px", "anchor", "censored", "margin")
_WINDOW_INTS = ("row0", "col0", "row1", "col1")

POINT = pa.struct([("x", pa.float64()), ("y", pa.float64()), ("label", pa.int8())])
"""A point prompt: pixel-edge coordinates of the read window; label 1 = inside, 0 = outside."""

PROMPT = pa.struct(
    [("box_xyxy", pa.list_(pa.float64())), ("points", pa.list_(POINT)), ("label", pa.string())]
)
"""A prompt; box_xyxy holds four numbers or is null."""

FRAGMENT = pa.struct([(name, pa.int64()) for name in (*_FRAGMENT_INTS, *_WINDOW_INTS)])
"""A fragment; row0..col1 is its bounding window on the run grid."""

SCHEMA = pa.schema(
    [
        ("tile_id", pa.string()),
        ("tile_row", pa.int32()),
        ("tile_col", pa.int32()),
        *((f"{kind}_{edge}", pa.int64()) for kind in ("core", "read") for edge in _WINDOW_INTS),
        ("query_index", pa.int32()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("error", pa.string()),
        ("reply", pa.string()),
        ("rationale", pa.string()),
        ("prompts", pa.list_(PROMPT)),
        ("n_dropped", pa.int32()),
        ("truncated_reply", pa.bool_()),
        ("n_calls", pa.int32()),
        ("valid_px", pa.int64()),
        ("fragments", pa.list_(FRAGMENT)),
        ("labels", pa.binary()),
        ("seam_n", pa.binary()),
        ("seam_e", pa.binary()),
        ("seam_s", pa.binary()),
        ("seam_w", pa.binary()),
        ("valid", pa.binary()),
    ]
)
"""One row per (tile, query)."""

GATE_COLUMNS = (("gate_p", pa.float64()), ("audited", pa.bool_()))
"""Only in records of a run with a gate: its probability (null: not judged), and whether the tile is in the
audit's sample.
"""

VERIFIER_COLUMNS = (("verified", pa.list_(pa.float64())),)
"""Only in records of a run with a verifier: per prompt its probability (null: no mask, or not judged)."""

FEATURE = pa.struct([("id", pa.string()), ("attributes", pa.string())])
"""The known location that a prompt was made from: its id, and its attributes as a JSON object."""

FEATURE_COLUMNS = (("features", pa.list_(FEATURE)),)
"""Only in records of a run with known locations: one per prompt."""

CLOUD_COLUMNS = (("cloud_px", pa.int64()),)
"""Only in records with clouds: pixels of the core that no scene shows. Without the column there are none."""

SECOND_LOOKS = tuple(name for name, _ in (*GATE_COLUMNS, *VERIFIER_COLUMNS))
"""Columns that a record may lack. A record without them has the same bytes as before they existed."""


def record_schema(rows: Sequence[TileRecord], *, scenes: bool = False) -> pa.Schema:
    """Extend `SCHEMA` by what these rows have: known locations, clouds, the looks of a gate or verifier, and
    known `scenes`."""
    schema = SCHEMA
    for columns, used in (
        (FEATURE_COLUMNS, any(prompt.feature_id for row in rows for prompt in row.prompts)),
        (SCENE_COLUMNS, scenes),
        (CLOUD_COLUMNS, any(row.cloud_px for row in rows)),
        (GATE_COLUMNS, any(row.gate_p is not None for row in rows)),
        (VERIFIER_COLUMNS, any(row.verified for row in rows)),
    ):
        for name, kind in columns if used else ():
            schema = schema.append(pa.field(name, kind))
    return schema


def prompts_column(rows: Sequence[TileRecord]) -> pa.Array:
    """Make list<PROMPT>, one list per row."""
    return pa.array(
        [[_prompt_entry(prompt) for prompt in row.prompts] for row in rows], type=SCHEMA.field("prompts").type
    )


def features_column(rows: Sequence[TileRecord]) -> pa.Array:
    """Make list<FEATURE>, one per prompt, one list per row."""
    texts = [
        [
            {"id": public_text(prompt.feature_id), "attributes": public_text(prompt.attributes)}
            for prompt in row.prompts
        ]
        for row in rows
    ]
    return pa.array(texts, type=pa.list_(FEATURE))


def fragments_column(rows: Sequence[TileRecord]) -> pa.Array:
    """Make list<FRAGMENT>, one list per row."""
    flat = [fragment for row in rows for fragment in row.fragments]
    columns = [[getattr(fragment, name) for fragment in flat] for name in _FRAGMENT_INTS]
    columns += [[getattr(fragment.window, name) for fragment in flat] for name in _WINDOW_INTS]
    values = pa.StructArray.from_arrays(
        [pa.array(column, type=pa.int64()) for column in columns], fields=list(FRAGMENT)
    )
    offsets = np.concatenate([[0], np.cumsum([len(row.fragments) for row in rows])]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def tile_records(table: pa.Table, *, labels: Sequence[NDArray[np.uint16] | None]) -> tuple[TileRecord, ...]:
    """Turn a record's table into TileRecords, with `labels` given row by row."""
    table = table.combine_chunks()
    column = {
        name: table[name].to_pylist()
        for name in table.column_names
        if name not in {"fragments", "labels", "valid"}
    }
    fragments = fragment_lists(table["fragments"])
    specs = tile_specs(column)
    absent = [None] * table.num_rows
    gate_p, audited, verified = (column.get(name, absent) for name in SECOND_LOOKS)
    return tuple(
        TileRecord(
            tile=specs[i],
            query_index=column["query_index"][i],
            status=TileStatus(column["status"][i]),
            reason=Reason(column["reason"][i]),
            error=column["error"][i],
            reply=column["reply"][i],
            rationale=column["rationale"][i],
            prompts=_prompts(column["prompts"][i], column.get("features", absent)[i]),
            n_dropped=column["n_dropped"][i],
            truncated_reply=column["truncated_reply"][i],
            n_calls=column["n_calls"][i],
            valid_px=column["valid_px"][i],
            cloud_px=column.get("cloud_px", absent)[i] or 0,
            labels=labels[i],
            fragments=fragments[i],
            gate_p=gate_p[i],
            audited=bool(audited[i]),
            verified=tuple(verified[i] or ()),
        )
        for i in range(table.num_rows)
    )


def tile_specs(column: dict[str, list[Any]]) -> list[TileSpec]:
    """Make the tile of every row, from the columns as lists."""
    return [
        TileSpec(tile_row=row, tile_col=col, core=_window(column, "core", i), read=_window(column, "read", i))
        for i, (row, col) in enumerate(zip(column["tile_row"], column["tile_col"], strict=True))
    ]


def fragment_lists(column: pa.ChunkedArray) -> list[tuple[Fragment, ...]]:
    """Read the fragments column back as tuples of Fragment, row by row."""
    lists: list[tuple[Fragment, ...]] = []
    for chunk in column.chunks:
        values = chunk.flatten()
        ints = [values.field(name).to_pylist() for name in (*_FRAGMENT_INTS, *_WINDOW_INTS)]
        flat = [_fragment(entry) for entry in zip(*ints, strict=True)]
        ends = np.cumsum(chunk.value_lengths().to_numpy(zero_copy_only=False)).tolist()
        lists.extend(tuple(flat[start:end]) for start, end in pairwise([0, *ends]))
    return lists


def _fragment(entry: Iterable[int]) -> Fragment:
    local, prompt_index, score_q, full_px, core_px, anchor, censored, margin, row0, col0, row1, col1 = entry
    return Fragment(
        local=local,
        prompt_index=prompt_index,
        score_q=score_q,
        full_px=full_px,
        core_px=core_px,
        anchor=anchor,
        window=Window(row0=row0, col0=col0, row1=row1, col1=col1),
        censored=censored,
        margin=margin,
    )


def _prompt_entry(prompt: Prompt) -> dict[str, object]:
    points = [
        {"x": x, "y": y, "label": label}
        for (x, y), label in zip(prompt.points_xy, prompt.point_labels, strict=True)
    ]
    box = None if prompt.box_xyxy is None else list(prompt.box_xyxy)
    return {"box_xyxy": box, "points": points, "label": public_text(prompt.label)}


def _prompts(entries: list[dict[str, Any]], features: list[dict[str, str]] | None) -> tuple[Prompt, ...]:
    known = features or [{"id": "", "attributes": ""}] * len(entries)
    return tuple(_prompt(entry, feature) for entry, feature in zip(entries, known, strict=True))


def _prompt(entry: dict[str, Any], feature: dict[str, str]) -> Prompt:
    box = entry["box_xyxy"]
    return Prompt(
        box_xyxy=None if box is None else (box[0], box[1], box[2], box[3]),
        points_xy=tuple((point["x"], point["y"]) for point in entry["points"]),
        point_labels=tuple(point["label"] for point in entry["points"]),
        label=entry["label"],
        feature_id=feature["id"],
        attributes=feature["attributes"],
    )


def _window(column: dict[str, list[Any]], kind: str, row: int) -> Window:
    return Window(
        row0=column[f"{kind}_row0"][row],
        col0=column[f"{kind}_col0"][row],
        row1=column[f"{kind}_row1"][row],
        col1=column[f"{kind}_col1"][row],
    )
