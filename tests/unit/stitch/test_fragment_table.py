"""Columns of fragments: ranks, look-up, refusals."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import RecordError
from pipeline.schema import Fragment, Window
from pipeline.stitch.flat.flat_sources import TileFragments, fragment_table


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
