"""Rows of the instance table, counted by hand on blocks that a painter made up."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.schema.tile_answers import Fragment
from pipeline.schema.tiling import TileLattice, Window
from pipeline.stitch.flat.flat_components import Components, Members
from pipeline.stitch.flat.flat_sources import TileFragments, fragment_table
from pipeline.stitch.flat.instance_table import Painted, Painter, instance_table, measure_painted
from pipeline.stitch.stitch_options import StitchOptions


@dataclass
class Drawn:
    """A `Painter` of one drawing; asserts that each block is painted once."""

    lattice: TileLattice
    image: np.ndarray
    stopped: dict[tuple[int, int], list[int]]

    def __post_init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def block(self, block_row: int, block_col: int) -> np.ndarray:
        assert (block_row, block_col) not in self.asked
        self.asked.append((block_row, block_col))
        return self.image[self.lattice.block_core(block_row, block_col).slices_in(self.lattice.grid.window)]

    def blocked(self, block_row: int, block_col: int) -> np.ndarray:
        return np.array(self.stopped.get((block_row, block_col), []), dtype=np.int32)


_CONFORMS: type[Painter] = Drawn


def test_counts_over_blocks(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((4, 8), 4, 1, 1)
    image = np.zeros((4, 8), dtype=np.int32)
    image[1, 2:6] = 1  # over the border between the two blocks
    image[3, 7] = 2
    painter = Drawn(lattice, image, {(0, 1): [3]})

    def right_of_column_3(window: Window) -> np.ndarray:
        return np.broadcast_to(np.arange(window.col0, window.col1) > 3, window.shape)

    painted = measure_painted(lattice, painter, 3, right_of_column_3)
    assert painter.asked == [(0, 0), (0, 1)]
    assert painted.area_px.tolist() == [0, 4, 1, 0]
    assert painted.aoi_px.tolist() == [0, 2, 1, 0]
    assert painted.window.tolist() == [[0] * 4, [1, 2, 2, 6], [3, 7, 4, 8], [0] * 4]
    assert painted.blocked.tolist() == [False, False, False, True]
    everywhere = measure_painted(lattice, Drawn(lattice, image, {}), 3, None)
    assert everywhere.aoi_px.tolist() == [0, 4, 1, 0]


def piece(local: int, anchor: int, score_q: int, full_px: int) -> Fragment:
    return Fragment(
        local=local,
        prompt_index=10 + local,
        score_q=score_q,
        full_px=full_px,
        core_px=full_px,
        anchor=anchor,
        window=Window(row0=0, col0=0, row1=1, col1=1),
        censored=0,
        margin=1,
    )


@pytest.mark.parametrize(("min_area_px", "kept"), [(0, [1, 3]), (5, [1]), (7, [])])
def test_rows_of_what_shows(worlds: SimpleNamespace, min_area_px: int, kept: list[int]) -> None:
    """Nodes 0, 2 of tiles 0 and 1 make up component 1, node 1 is component 2, node 3 is component 3."""
    lattice = worlds.make_lattice((4, 8), 4, 1, 1)
    records = [
        TileFragments(tile_row=0, tile_col=0, fragments=(piece(1, 0, 100, 6), piece(2, 3, 500, 2))),
        TileFragments(tile_row=0, tile_col=1, fragments=(piece(1, 4, 400, 3), piece(2, 7, 900, 4))),
    ]
    table = fragment_table(records, lattice)
    assert table.anchor.tolist() == [0, 3, 4, 7]
    none = np.zeros(4, dtype=np.bool_)
    components = Components(
        ids=np.array([0, 1, 4, 8], dtype=np.uint64),
        rep=np.array([-1, 2, 1, 3]),
        complete=np.array([False, False, False, True]),
        truncated=np.array([False, True, False, False]),
        one_sided=none,
        members=Members(
            component=np.array([1, 1, 2, 3]), node=np.array([0, 2, 1, 3]), px=np.array([6, 3, 2, 4])
        ),
    )
    painted = Painted(
        area_px=np.array([0, 6, 0, 4]),  # nothing of component 2 shows
        aoi_px=np.array([0, 5, 0, 4]),
        window=np.arange(16).reshape(4, 4),
        blocked=np.array([False, False, False, True]),
    )
    number, rows = instance_table(table, components, painted, StitchOptions(min_area_px=min_area_px))
    assert number.tolist() == kept
    whole = {
        1: (1, 6, 5, 6 * 100 + 3 * 400, 9, (0, 1), 1, 11, 2, True, [(0, 0), (0, 1)]),
        3: (8, 4, 4, 4 * 900, 4, (0, 1), 2, 12, 1, True, [(0, 1)]),
    }
    for i, component in enumerate(kept):
        got = (
            int(rows.instance_id[i]),
            int(rows.area_px[i]),
            int(rows.aoi_px[i]),
            int(rows.score_sum[i]),
            int(rows.score_px[i]),
            (int(rows.rep_tile_row[i]), int(rows.rep_tile_col[i])),
            int(rows.rep_local[i]),
            int(rows.rep_prompt[i]),
            int(rows.n_tiles[i]),
            bool(rows.truncated[i]),
            rows.tiles_of(i),
        )
        assert got == whole[component]
        assert rows.window[i].tolist() == list(range(4 * component, 4 * component + 4))
    if kept == [1, 3]:
        assert rows.member_start.tolist() == [0, 2, 3]
        assert rows.member_local.tolist() == [1, 1, 2]
        assert rows.member_prompt.tolist() == [11, 11, 12]
        assert rows.complete.tolist() == [False, True]
        np.testing.assert_allclose(rows.score, [200 / 65535, 900 / 65535])
