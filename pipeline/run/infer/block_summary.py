"""What the driver is told of a block record: counts, and why tiles failed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import islice

from pipeline.run.infer.progress import BlockSummary
from pipeline.schema.tile_answers import BlockRecord, Reason, TileRecord, TileStatus
from pipeline.write.coverage import overall_row

_MOST_CHARS = 300
"""Longest error that is repeated."""

MOST_TOLD = 64
"""Failed tiles and queries of a block that are listed one by one; the record of the block has all."""


def summarise(record: BlockRecord) -> BlockSummary:
    """Sum up a block record for the driver."""
    by_tile: dict[str, list[TileRecord]] = {}
    for row in record.tiles:
        by_tile.setdefault(row.tile.tile_id, []).append(row)
    rows = [overall_row(rows) for rows in by_tile.values()]
    overall = [row.status for row in rows]
    return BlockSummary(
        block_id=record.block_id,
        found=overall.count(TileStatus.FOUND),
        empty=overall.count(TileStatus.EMPTY),
        nodata=sum(row.reason in (Reason.NODATA, Reason.CLOUD) for row in rows),
        failed=overall.count(TileStatus.FAILED),
        n_embeddings=record.n_embeddings,
        n_calls=sum(row.n_calls for row in record.tiles),
        elapsed_s=record.elapsed_s,
        failures=failures_text(record.tiles),
        failed_tiles=failed_text(record.tiles),
    )


def failed_text(records: Iterable[TileRecord]) -> str:
    """List failed tiles as JSON: [tile_id, query index, reason, error]."""
    failed = (record for record in records if record.status is TileStatus.FAILED)
    return json.dumps(
        [
            [record.tile.tile_id, record.query_index, record.reason.value, record.error[:_MOST_CHARS]]
            for record in islice(failed, MOST_TOLD)
        ]
    )


def failures_text(records: Iterable[TileRecord]) -> str:
    """Sum up the failed tiles of a block as JSON: [reason, scene, number of tiles, an error] for each reason
    and scene. A scene is named where it is known.
    """
    first: dict[str, TileRecord] = {}
    for record in records:
        if record.status is TileStatus.FAILED:
            first.setdefault(record.tile.tile_id, record)
    counts = Counter[tuple[str, str]]()
    errors: dict[tuple[str, str], str] = {}
    for record in first.values():
        scene = record.error.partition(": ")[0] if record.reason is Reason.UNREADABLE else ""
        key = (record.reason.value, scene)
        counts[key] += 1
        errors[key] = record.error[:_MOST_CHARS]
    return json.dumps([[reason, scene, n, errors[reason, scene]] for (reason, scene), n in counts.items()])
