"""Keep a record of every answered query, in part files.

A part file holds the records of a few images. It is written whole or not at all; once it is there, its images
are done. It carries the evaluation's fingerprint, so that parts of another one are never counted. The
predicted mask is a 1-bit PNG. Only parts where a verifier looked at masks have VERIFIER_COLUMNS.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import RecordError
from pipeline.evaluate.figures.boundary import BoundaryAgreement
from pipeline.evaluate.figures.metrics import SampleCounts
from pipeline.files.atomic_file import atomic_path
from pipeline.schema.tile_answers import Prompt, Reason, TileStatus

RECORDS_VERSION = "1"
"""Version of the part files' columns."""


@dataclass(frozen=True, kw_only=True)
class SampleRecord:
    """One query, its answer, and how this compares with the truth."""

    sample_id: str
    image_id: str
    query: str
    strata: Mapping[str, str]
    status: TileStatus
    reason: Reason
    error: str = ""
    reply: str = ""
    """The model's text, verbatim."""
    rationale: str = ""
    prompts: tuple[Prompt, ...] = ()
    """Coordinates are pixel edges of the scored image."""
    n_dropped: int = 0
    truncated_reply: bool = False
    n_calls: int = 0
    height: int
    """Height of the scored image, in pixels; `width` likewise."""
    width: int
    true_px: int
    predicted_px: int = 0
    common_px: int = 0
    outline: BoundaryAgreement
    mask_scores: tuple[float, ...] = ()
    """The segmenter's own estimate, 0..1, for each mask of the answer."""
    mask_png: bytes = b""
    """Predicted mask; empty when it has no pixel."""
    verified: tuple[float | None, ...] = ()
    """For each prompt, the verifier's probability that its mask is right. None: no mask, or not judged.

    Empty where the verifier had nothing to look at.
    """
    n_rejected: int = 0
    """Masks that the verifier took away; `mask_png` and `mask_scores` do not contain them."""

    @property
    def abstained(self) -> bool:
        """Whether the answer is "nothing here": an empty list, or a verifier that rejected every mask."""
        return self.status is TileStatus.EMPTY and (not self.prompts or self.reason is Reason.VERIFIER)

    @property
    def n_drawn(self) -> int:
        """Number of masks that the segmenter made."""
        return len(self.mask_scores) + self.n_rejected

    @property
    def failed(self) -> bool:
        return self.status is TileStatus.FAILED


_TEXTS = ("sample_id", "image_id", "query", "status", "reason", "error", "reply", "rationale")
_NUMBERS = ("n_dropped", "n_calls", "height", "width", "true_px", "predicted_px", "common_px")
_OUTLINE = {f"outline_{item.name}": item.name for item in fields(BoundaryAgreement)}

SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in _TEXTS),
        pa.field("strata", pa.string(), nullable=False),  # JSON object
        pa.field(
            "prompts", pa.string(), nullable=False
        ),  # JSON list of {box_xyxy, points_xy, point_labels, label}
        pa.field("truncated_reply", pa.bool_(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in (*_NUMBERS, *_OUTLINE)),
        pa.field("mask_scores", pa.list_(pa.float64()), nullable=False),
        pa.field("mask_png", pa.binary(), nullable=False),
    ]
)
"""Columns of a part file."""

VERIFIER_COLUMNS = (
    pa.field("verified", pa.list_(pa.float64()), nullable=False),
    pa.field("n_rejected", pa.int64(), nullable=False),
)
"""Columns only of files in which a verifier looked at some mask."""


def write_part(path: Path, records: Sequence[SampleRecord], fingerprint: str) -> None:
    """Write a part, whole or not at all."""
    with atomic_path(path) as temporary:
        pq.write_table(records_table(records, fingerprint), temporary, compression="zstd")


def records_table(records: Iterable[SampleRecord], fingerprint: str) -> pa.Table:
    """Turn records into a table of `SCHEMA`, marked with version and fingerprint.

    VERIFIER_COLUMNS are added when a verifier looked at any mask.
    """
    rows = [_row(record) for record in records]
    columns = [*SCHEMA, *(VERIFIER_COLUMNS if any(row["verified"] for row in rows) else ())]
    marked = pa.schema(columns, metadata={"records_version": RECORDS_VERSION, "fingerprint": fingerprint})
    return pa.Table.from_pylist(rows, schema=marked)


def read_part(path: Path, fingerprint: str) -> list[SampleRecord]:
    """Read the records of a part. Raises RecordError for a damaged file, another version or evaluation."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{path} must be a readable part of an evaluation: {error}") from error
    marks = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if marks.get("records_version") != RECORDS_VERSION or marks.get("fingerprint") != fingerprint:
        raise RecordError(f"{path} belongs to another evaluation or another version of the program")
    return [_record(row) for row in table.to_pylist()]


def pack_mask(mask: NDArray[np.bool_]) -> bytes:
    """Encode a mask (H, W) as a 1-bit PNG; empty bytes when it has no pixel."""
    from PIL import Image

    if not mask.any():
        return b""
    sink = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).convert("1", dither=Image.Dither.NONE).save(
        sink, format="PNG", optimize=True
    )
    return sink.getvalue()


def unpack_mask(data: bytes, shape_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode what `pack_mask` encoded, to a mask of this shape."""
    from PIL import Image

    if not data:
        return np.zeros(shape_hw, dtype=np.bool_)
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image).astype(np.bool_)


def counts_of(records: Sequence[SampleRecord]) -> SampleCounts:
    """Collect the counts from which figures are computed."""
    return SampleCounts(
        true_px=_column(records, "true_px"),
        predicted_px=_column(records, "predicted_px"),
        common_px=_column(records, "common_px"),
        total_px=np.array([record.height * record.width for record in records], dtype=np.int64),
        abstained=np.array([record.abstained for record in records], dtype=np.bool_),
        failed=np.array([record.failed for record in records], dtype=np.bool_),
    )


def outlines_of(records: Sequence[SampleRecord]) -> dict[str, NDArray[np.int64]]:
    """Collect the boundary counts as columns (n,)."""
    outlines = [record.outline for record in records]
    return {item.name: _column(outlines, item.name) for item in fields(BoundaryAgreement)}


def _column(rows: Sequence[SampleRecord | BoundaryAgreement], name: str) -> NDArray[np.int64]:
    """Collect one field of every row, as (n,)."""
    return np.array([getattr(row, name) for row in rows], dtype=np.int64)


def _row(record: SampleRecord) -> dict[str, object]:
    row: dict[str, object] = {name: str(getattr(record, name)) for name in _TEXTS}
    row |= {name: getattr(record, name) for name in (*_NUMBERS, "truncated_reply", "mask_png")}
    row |= {column: getattr(record.outline, name) for column, name in _OUTLINE.items()}
    prompts = [
        {name: getattr(prompt, name) for name in ("box_xyxy", "points_xy", "point_labels", "label")}
        for prompt in record.prompts
    ]
    row["strata"] = json.dumps(dict(record.strata), ensure_ascii=False, sort_keys=True)
    row["prompts"] = json.dumps(prompts, ensure_ascii=False)
    row["mask_scores"] = list(record.mask_scores)
    row |= {"verified": list(record.verified), "n_rejected": record.n_rejected}
    return row


def _record(row: Mapping[str, Any]) -> SampleRecord:
    given = {name: row[name] for name in (*_TEXTS, *_NUMBERS, "truncated_reply", "mask_png")}
    given |= {
        "status": TileStatus(row["status"]),
        "reason": Reason(row["reason"]),
        "strata": json.loads(row["strata"]),
    }
    outline = BoundaryAgreement(**{name: row[column] for column, name in _OUTLINE.items()})
    prompts = tuple(
        Prompt(
            box_xyxy=None if item["box_xyxy"] is None else tuple(item["box_xyxy"]),
            points_xy=tuple((x, y) for x, y in item["points_xy"]),
            point_labels=tuple(item["point_labels"]),
            label=item["label"],
        )
        for item in json.loads(row["prompts"])
    )
    looks = {"verified": tuple(row.get("verified", ())), "n_rejected": row.get("n_rejected", 0)}
    return SampleRecord(
        **given, **looks, outline=outline, prompts=prompts, mask_scores=tuple(row["mask_scores"])
    )
