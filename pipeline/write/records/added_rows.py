"""The record of a block to which queries are added: its rows as they were, and the rows of the new queries.

1. Rows stand tile by tile, and queries in their order within a tile. So the record is the one that a run gets
   which asks all queries at once, but for the number of image encodings, which counts both times.
2. Both records must be of the same pixels. Where a tile could not be read in one of the two, the other one
   knows its validity. Where both could read it and their validity differs, the imagery is another one: the
   new rows of that tile fail, and the old ones stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.errors import RecordError
from pipeline.schema.imagery import ScenePixels
from pipeline.schema.tile_answers import BlockRecord, Reason, TileRecord, TileStatus

_NOT_READ = frozenset({Reason.UNREADABLE, Reason.TIMEOUT, Reason.CRASHED})
"""Reasons of a tile whose pixels may not be known."""


def with_added_rows(before: BlockRecord, added: BlockRecord, n_before: int) -> BlockRecord:
    """Join the record of a block's earlier queries and that of the new ones.

    `n_before`: number of earlier queries. `added` numbers its own from 0, and gives the result its inputs.
    Raises RecordError where the two are not of the same tiles.
    """
    old = _by_tile(before.tiles)
    new = _by_tile(added.tiles)
    if list(old) != list(new):
        raise RecordError(
            f"the record of block {before.block_id} must be of the tiles that new queries are asked about, "
            f"got {len(old)} tiles for {len(new)}. To fix: delete it and start the same command again; it "
            "does this block again"
        )
    rows: list[TileRecord] = []
    valid = {}
    scenes: dict[str, ScenePixels] = {}
    for name, earlier in old.items():
        later = [replace(row, query_index=row.query_index + n_before) for row in new[name]]
        same = np.array_equal(before.valid[name], added.valid[name])
        of_new = not same and _not_read(earlier)
        if not same and not of_new and not _not_read(later):
            n_px = int(np.count_nonzero(before.valid[name] != added.valid[name]))
            later = [_of_other_imagery(row, n_px) for row in later]
        rows += [*earlier, *later]
        source = added if of_new else before
        valid[name] = source.valid[name]
        if name in source.scenes:
            scenes[name] = source.scenes[name]
    return replace(
        added,
        tiles=tuple(rows),
        valid=valid,
        scenes=scenes,
        n_embeddings=before.n_embeddings + added.n_embeddings,
    )


def _by_tile(rows: Sequence[TileRecord]) -> dict[str, list[TileRecord]]:
    """Rows of each tile, in the order of the record."""
    found: dict[str, list[TileRecord]] = {}
    for row in rows:
        found.setdefault(row.tile.tile_id, []).append(row)
    return found


def _not_read(rows: Sequence[TileRecord]) -> bool:
    """Whether the tile failed for every query, for a reason that may mean that it was not read."""
    return all(row.status is TileStatus.FAILED and row.reason in _NOT_READ for row in rows)


def _of_other_imagery(row: TileRecord, n_px: int) -> TileRecord:
    return replace(
        row,
        status=TileStatus.FAILED,
        reason=Reason.UNREADABLE,
        error=f"the imagery is not the one that earlier queries were asked about: {n_px} pixels of the "
        "tile's core are imagery in one of the two alone",
        prompts=(),
        labels=None,
        fragments=(),
        verified=(),
    )
