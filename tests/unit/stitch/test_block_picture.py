from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import RecordError
from pipeline.stitch.block_picture import BlockPainter, concatenate_paint, near_blocks
from pipeline.stitch.describe import PaintColumns
from pipeline.stitch.sources import TileCache


def fragment(
    tile: int,
    local: int,
    instance: int,
    *,
    shown: bool = True,
    claims: bool = False,
    window: tuple[int, ...] = (0, 0, 9, 9),
) -> PaintColumns:
    return PaintColumns(
        block=np.array([tile]),
        tile=np.array([tile]),
        local=np.array([local]),
        id=np.array([instance], dtype=np.uint64),
        shown=np.array([shown]),
        claims=np.array([claims]),
        score=np.array([instance / 100], dtype=np.float32),
        window=np.array([window]),
    )


def test_near_blocks_reach_as_far_as_halos(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((40, 40), 10, 2, 2)  # 2 x 2 blocks
    assert near_blocks(lattice, 0, 0) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    wide = worlds.make_lattice((10, 60), 5, 12, 1)  # halos reach 3 tiles
    assert near_blocks(wide, 0, 5) == [(r, c) for r in (0, 1) for c in range(2, 9)]


def test_owner_claim_erasure_and_stop_by_hand(worlds: SimpleNamespace) -> None:
    """Three tiles in a row, core 4, halo 2: tile 0 claims into tile 1, tile 1's own view of it is erased,
    tile 2 failed.
    """
    lattice = worlds.make_lattice((4, 12), 4, 2, 1)
    left = np.zeros((4, 6), dtype=np.uint16)
    middle = np.zeros((4, 8), dtype=np.uint16)
    left[1, 3:6] = 1  # columns 3 to 5
    left[2, 5] = 2
    middle[1, 2:4] = 1  # columns 4 and 5: the same object
    middle[2, 3] = 2  # column 5: somebody else's pixel for its owner
    middle[3, 6:8] = 3  # columns 8 and 9: reaches into the failed tile
    source = worlds.ArraySource(
        lattice=lattice, tiles={(0, 0): left, (0, 1): middle}, closed=frozenset({(0, 2)})
    )
    fragments = concatenate_paint(
        [
            fragment(0, 1, 8, claims=True, window=(1, 3, 2, 6)),
            fragment(0, 2, 70, claims=True, window=(2, 5, 3, 6)),
            fragment(1, 1, 8, shown=False),
            fragment(1, 2, 30),
            fragment(1, 3, 45, claims=True, window=(3, 8, 4, 10)),
        ]
    )
    painter = BlockPainter(lattice, TileCache(source, lattice), fragments, 0.97)
    whole = np.concatenate([painter.ids[painter.picture(0, col).image] for col in range(3)], axis=1)
    want = np.zeros((4, 12), dtype=np.uint64)
    want[1, 3:6], want[2, 5] = 8, 30
    np.testing.assert_array_equal(whole, want)
    assert painter.picture(0, 2).blocked.tolist() == [45]
    assert painter.picture(0, 1).blocked.tolist() == []
    np.testing.assert_allclose(painter.score, [0, 0.08, 0.3, 0.45, 0.7])


def test_ghosts_nobody_owns_are_background_and_unknown_ids_are_refused(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((4, 8), 4, 2, 1)
    seen = np.zeros((4, 6), dtype=np.uint16)
    seen[0, 0], seen[1, 5] = 1, 2
    source = worlds.ArraySource(lattice=lattice, tiles={(0, 0): seen})
    fragments = concatenate_paint([fragment(0, 1, 1), fragment(0, 2, 0)])
    painter = BlockPainter(lattice, TileCache(source, lattice), fragments, 0.97)
    assert painter.ids.tolist() == [0, 1]
    assert painter.ids[painter.picture(0, 0).image].sum() == 1
    with pytest.raises(RecordError, match="hold id 2, but it has 1 fragments"):
        BlockPainter(lattice, TileCache(source, lattice), fragment(0, 1, 1), 0.97).picture(0, 0)
