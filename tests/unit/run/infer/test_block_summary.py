"""Counts of a committed block, and why its tiles failed."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.run.infer.block_summary import failures_text, summarise
from pipeline.schema.tile_answers import BlockRecord, Reason, TileRecord, TileStatus
from pipeline.schema.tiling import TileSpec, Window

FOUND, EMPTY, FAILED = TileStatus.FOUND, TileStatus.EMPTY, TileStatus.FAILED


def record(col: int, status: TileStatus, reason: Reason, error: str = "", query: int = 0) -> TileRecord:
    window = Window(row0=0, col0=col, row1=1, col1=col + 1)
    tile = TileSpec(tile_row=0, tile_col=col, core=window, read=window)
    return TileRecord(tile=tile, query_index=query, status=status, reason=reason, error=error)


def block(records: Sequence[TileRecord]) -> BlockRecord:
    return BlockRecord(
        block_id="b00000_00000",
        fingerprint="f" * 64,
        tiles=tuple(records),
        valid={},
        n_embeddings=2,
        elapsed_s=0.5,
    )


def test_a_tiles_status_never_hides_a_failure() -> None:
    pairs = [(EMPTY, FOUND), (FOUND, FAILED), (EMPTY, EMPTY), (FAILED, EMPTY)]
    reasons = {FOUND: Reason.NONE, EMPTY: Reason.PROMPTER, FAILED: Reason.MALFORMED}
    rows = [
        record(col, status, reasons[status], query=query)
        for col, pair in enumerate(pairs)
        for query, status in enumerate(pair)
    ]
    summary = summarise(block(rows))
    assert (summary.found, summary.empty, summary.failed, summary.nodata) == (1, 1, 2, 0)
    assert (summary.block_id, summary.n_embeddings, summary.elapsed_s) == ("b00000_00000", 2, 0.5)
    assert json.loads(summary.failures) == [["malformed", "", 2, ""]]


def test_tiles_without_imagery_are_empty_and_told_apart() -> None:
    rows = [record(0, EMPTY, Reason.NODATA), record(1, EMPTY, Reason.CLOUD), record(2, EMPTY, Reason.GATE)]
    summary = summarise(block(rows))
    assert (summary.empty, summary.nodata, summary.failures) == (3, 2, "[]")


def test_failures_are_summed_up_by_reason_and_scene() -> None:
    unread = "https://one.org/a.tif: SourceError: the server is busy"
    records = [
        record(0, FOUND, Reason.NONE),
        record(0, FAILED, Reason.MALFORMED, "no JSON: at all", query=1),
        record(1, FAILED, Reason.UNREADABLE, unread),
        record(1, FAILED, Reason.UNREADABLE, unread, query=1),
        record(2, FAILED, Reason.UNREADABLE, unread),
        record(3, EMPTY, Reason.PROMPTER),
    ]
    assert json.loads(failures_text(records)) == [
        ["malformed", "", 1, "no JSON: at all"],
        ["unreadable", "https://one.org/a.tif", 2, unread],
    ]
