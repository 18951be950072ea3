"""The reference's view of a region: every block once, every tile once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.errors import RecordError
from pipeline.schema.tile_answers import Fragment
from pipeline.schema.tiling import Window
from pipeline.stitch.flat.flat_sources import TileFragments, blocks_of, fragment_table

SPOT = Fragment(
    local=1,
    prompt_index=3,
    score_q=500,
    full_px=2,
    core_px=1,
    anchor=31,
    window=Window(row0=1, col0=1, row1=2, col1=3),
    censored=2,
    margin=0,
)


def test_blocks_come_row_by_row(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((30, 50), 10, 2, 2)  # 3 x 5 tiles, 2 x 3 blocks
    assert list(blocks_of(lattice)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_a_fragment_becomes_a_row(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((20, 30), 10, 2)
    table = fragment_table([TileFragments(tile_row=1, tile_col=2, fragments=(SPOT,))], lattice)
    assert table.place.tolist() == [(1 * 3 + 2) << 16 | 1]
    assert (table.key.tolist(), table.prompt_index.tolist(), table.score_q.tolist()) == ([31], [3], [500])
    assert (table.full_px.tolist(), table.core_px.tolist(), table.censored.tolist()) == ([2], [1], [2])
    assert table.window.tolist() == [[1, 1, 2, 3]]


def test_two_records_of_one_tile_are_refused(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((20, 30), 10, 2)
    record = TileFragments(tile_row=1, tile_col=2, fragments=(SPOT,))
    with pytest.raises(RecordError, match=r"tile \(1, 2\) has two records"):
        fragment_table([record, record], lattice)
