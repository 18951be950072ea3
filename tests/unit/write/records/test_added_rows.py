"""Rows of added queries behind those of the earlier ones, on a record of two tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import RecordError
from pipeline.schema.tile_answers import BlockRecord, Reason, TileRecord, TileStatus
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.records.added_rows import with_added_rows

LATTICE = TileLattice(
    grid=RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=20, height=10),
    tile_px=12,
    halo_px=1,
    block_tiles=2,
)
TILES = tuple(LATTICE.tiles_of_block(0, 0))
FULL = np.ones(TILES[0].core.shape, dtype=np.bool_)
PART = FULL.copy()
PART[0, :3] = False


def record(
    texts: tuple[str, ...], *, valid: NDArray[np.bool_] = FULL, reason: Reason = Reason.NONE, inputs: str = ""
) -> BlockRecord:
    """Each query, by its reply, about both tiles. `valid`, `reason`: of the first tile."""
    rows = tuple(
        TileRecord(
            tile=tile,
            query_index=index,
            status=TileStatus.FAILED if reason and tile is TILES[0] else TileStatus.EMPTY,
            reason=reason if reason and tile is TILES[0] else Reason.PROMPTER,
            reply=text,
        )
        for tile in TILES
        for index, text in enumerate(texts)
    )
    return BlockRecord(
        block_id="b00000_00000",
        fingerprint=f"of {inputs}",
        inputs=inputs,
        tiles=rows,
        valid={TILES[0].tile_id: valid, TILES[1].tile_id: FULL},
        n_embeddings=2,
    )


def test_rows_stand_tile_by_tile_and_queries_in_their_order() -> None:
    joined = with_added_rows(record(("a", "b"), inputs="old"), record(("c",), inputs="new"), 2)
    told = [(row.tile.tile_id, row.query_index, row.reply) for row in joined.tiles]
    first, second = (tile.tile_id for tile in TILES)
    assert told == [
        *((first, 0, "a"), (first, 1, "b"), (first, 2, "c")),
        *((second, 0, "a"), (second, 1, "b"), (second, 2, "c")),
    ]
    assert (joined.inputs, joined.fingerprint, joined.n_embeddings) == ("new", "of new", 4)


@pytest.mark.parametrize(
    ("old", "new", "shown", "status"),
    [
        ((PART, Reason.NONE), (PART, Reason.NONE), PART, TileStatus.EMPTY),
        ((~FULL, Reason.UNREADABLE), (PART, Reason.NONE), PART, TileStatus.EMPTY),
        ((PART, Reason.NONE), (~FULL, Reason.TIMEOUT), PART, TileStatus.FAILED),
        ((FULL, Reason.NONE), (PART, Reason.NONE), FULL, TileStatus.FAILED),
        ((FULL, Reason.MODEL_ERROR), (PART, Reason.NONE), FULL, TileStatus.FAILED),
    ],
    ids=["same", "not read before", "not read now", "other imagery", "a failed model has seen it"],
)
def test_validity_is_that_of_who_could_read(
    old: tuple[NDArray[np.bool_], Reason],
    new: tuple[NDArray[np.bool_], Reason],
    shown: NDArray[np.bool_],
    status: TileStatus,
) -> None:
    before = record(("a",), valid=old[0], reason=old[1])
    joined = with_added_rows(before, record(("c",), valid=new[0], reason=new[1]), 1)
    np.testing.assert_array_equal(joined.valid[TILES[0].tile_id], shown)
    rows = [row for row in joined.tiles if row.tile == TILES[0]]
    assert rows[0] == before.tiles[0], "what was answered stays"
    assert rows[1].status is status
    if not np.array_equal(old[0], new[0]) and new[1] is Reason.NONE and old[1] is not Reason.UNREADABLE:
        assert rows[1].error.endswith("3 pixels of the tile's core are imagery in one of the two alone")


def test_records_of_other_tiles_are_not_joined() -> None:
    new = record(("c",))
    with pytest.raises(RecordError, match="must be of the tiles"):
        with_added_rows(record(("a",)), replace(new, tiles=new.tiles[:1]), 1)
