"""Columns of fragments: ranks, look-up, refusals."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import RecordError
from pipeline.schema.tile_answers import Fragment
from pipeline.schema.tiling import Window
from pipeline.stitch.flat.flat_sources import TileFragments, fragment_table
from pipeline.stitch.flatten import EAST, NORTH, SOUTH, WEST
from pipeline.stitch.fragment_table import rank_fragments, rows_of, sides_reached, table_of_columns
from pipeline.stitch.supertiles import GHOST


def fragment(local: int, anchor: int, core_px: int = 1) -> Fragment:
    window = Window(row0=1, col0=2, row1=3, col1=4)
    return Fragment(
        local=local,
        prompt_index=local,
        score_q=local,
        full_px=9,
        core_px=core_px,
        anchor=anchor,
        window=window,
        censored=0,
        margin=5,
    )


def test_rank_by_anchor_with_ghosts_last(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((20, 30), 10, 2)
    records = [
        TileFragments(
            tile_row=1, tile_col=2, fragments=(fragment(2, 7), fragment(1, -1, 0), fragment(3, 400))
        ),
        TileFragments(tile_row=0, tile_col=1, fragments=(fragment(1, 10), fragment(2, -1, 0))),
        TileFragments(tile_row=0, tile_col=0, fragments=()),
    ]
    for order in ((0, 1, 2), (2, 1, 0)):
        table = fragment_table([records[i] for i in order], lattice)
        assert table.anchor.tolist() == [7, 10, 400, -1, -1]
        assert table.tile.tolist() == [5, 1, 5, 1, 5]
        assert table.local.tolist() == [2, 1, 3, 2, 1]
        assert table.nodes(lattice.tile(1, 2)).tolist() == [4, 0, 2]
        assert table.nodes(lattice.tile(0, 1)).tolist() == [1, 3]
        assert table.nodes(lattice.tile(0, 0)).size == 0
        assert table.nodes(lattice.tile(0, 2)).size == 0
        assert table.window.tolist() == [[1, 2, 3, 4]] * 5


def test_no_records() -> None:
    table = fragment_table([], SimpleNamespace(n_tile_cols=3))  # type: ignore[arg-type]
    assert len(table) == 0
    assert table.tile_start.tolist() == [0]


@pytest.mark.parametrize("locals_", [(2,), (1, 3), (1, 1), (0, 1)])
def test_local_ids_without_gaps(worlds: SimpleNamespace, locals_: tuple[int, ...]) -> None:
    lattice = worlds.make_lattice((20, 30), 10, 2)
    record = TileFragments(
        tile_row=0, tile_col=1, fragments=tuple(fragment(local, local) for local in locals_)
    )
    with pytest.raises(RecordError, match="without gaps"):
        fragment_table([record], lattice)


def test_columns_keep_what_the_fragment_says(worlds: SimpleNamespace) -> None:
    truth = np.kron(np.arange(1, 13).reshape(3, 4), np.ones((7, 7), dtype=np.int64))
    lattice = worlds.make_lattice(truth.shape, 10, 2)
    source = worlds.cut(truth, lattice, mode="whole", seed=3)
    table = fragment_table(source.records(), lattice)
    for record in source.records():
        nodes = table.nodes(lattice.tile(record.tile_row, record.tile_col))
        for f in record.fragments:
            node = nodes[f.local - 1]
            got = [
                getattr(table, name)[node]
                for name in ("local", "anchor", "core_px", "full_px", "score_q", "censored", "margin")
            ]
            assert got == [f.local, f.anchor, f.core_px, f.full_px, f.score_q, f.censored, f.margin]


NAMES = ("local", "anchor", "core_px", "full_px", "score_q", "censored", "margin", "prompt_index")


def block_columns(*rows: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Columns of (tile_row, tile_col, local, anchor, row0, col0, row1, col1); the other integers follow from
    local.
    """
    table = np.array(rows, dtype=np.int64).reshape(-1, 8)
    columns = {name: table[:, 2] * 100 + i for i, name in enumerate(NAMES)}
    names = ("tile_row", "tile_col", "local", "anchor", "row0", "col0", "row1", "col1")
    return columns | {name: table[:, i] for i, name in enumerate(names)}


def test_a_table_of_several_blocks_and_back(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((20, 30), 10, 2)
    blocks = [
        block_columns((0, 1, 2, -1, 0, 0, 1, 1), (0, 1, 1, 40, 2, 3, 4, 5)),
        block_columns(),
        block_columns((1, 0, 1, 9, 6, 7, 8, 9)),
    ]
    table = table_of_columns(blocks, lattice)
    assert table.anchor.tolist() == [9, 40, -1]
    assert table.place.tolist() == [3 << 16 | 1, 1 << 16 | 1, 1 << 16 | 2]
    assert table.key.tolist() == [9, 40, GHOST + (1 << 16 | 2)]
    assert table.prompt_index.tolist() == [107, 107, 207]
    assert table.window.tolist() == [[6, 7, 8, 9], [2, 3, 4, 5], [0, 0, 1, 1]]
    rows = rows_of(table)
    assert rows[0].tolist() == [3, 1, 9, 102, 103, 104, 105, 106, 107, 6, 7, 8, 9]
    again = rank_fragments(rows[[2, 0, 1]], lattice)
    np.testing.assert_array_equal(rows_of(again), rows)
    assert again.nodes(lattice.tile(0, 1)).tolist() == [1, 2]


def test_sides_beyond_the_core(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((30, 30), 10, 3)
    core = (10, 10, 20, 20)  # of tile (1, 1)
    windows = {core: 0, (9, 12, 14, 14): NORTH, (12, 12, 14, 21): EAST, (12, 12, 21, 14): SOUTH}
    windows |= {(12, 9, 14, 14): WEST, (9, 9, 21, 21): NORTH | EAST | SOUTH | WEST}
    rows = [(1, 1, i + 1, i, *window) for i, window in enumerate(windows)]
    table = table_of_columns([block_columns(*rows)], lattice)
    assert sides_reached(lattice, table).tolist() == list(windows.values())
