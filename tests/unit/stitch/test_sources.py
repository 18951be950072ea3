"""The tile cache: bounded, and strict about what it is given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import RecordError
from pipeline.stitch.sources import TileCache, block_tile_ranges, reach_tiles, tiles_near


def test_a_tile_in_use_is_read_once(worlds: SimpleNamespace) -> None:
    truth = np.ones((30, 30), dtype=np.int64)
    lattice = worlds.make_lattice(truth.shape, 10, 2, 1)
    source = worlds.cut(truth, lattice, mode="whole")
    cache = TileCache(source, lattice)  # (1 + 2)^2 = 9 tiles
    for _ in range(3):
        for key in worlds.all_tiles(lattice):
            np.testing.assert_array_equal(cache.labels(lattice.tile(*key)), source.tiles[key])
    assert source.reads == 9


def test_the_oldest_tile_goes_first(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((10, 200), 10, 2, 1)
    source = worlds.ArraySource(lattice=lattice, tiles={})
    cache = TileCache(source, lattice)
    for col in (*range(9), 0, 9, 0, 1):  # 1 is the oldest when 9 comes
        assert cache.labels(lattice.tile(0, col)) is None
    assert source.reads == 11


@pytest.mark.parametrize("labels", [np.zeros((12, 11), np.uint16), np.zeros((12, 12), np.int64)])
def test_foreign_labels_are_refused(worlds: SimpleNamespace, labels: np.ndarray) -> None:
    lattice = worlds.make_lattice((30, 30), 10, 2)
    cache = TileCache(worlds.ArraySource(lattice=lattice, tiles={(0, 0): labels}), lattice)
    with pytest.raises(RecordError, match="r00000c00000 must be uint16"):
        cache.labels(lattice.tile(0, 0))


def test_neighbourhoods(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((30, 50), 10, 2, 2)  # 3 x 5 tiles, 2 x 3 blocks
    assert block_tile_ranges(lattice, 1, 2) == (range(2, 3), range(4, 5))
    near = [(t.tile_row, t.tile_col) for t in tiles_near(lattice, *block_tile_ranges(lattice, 1, 2))]
    assert near == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert [
        reach_tiles(worlds.make_lattice((30, 30), core, halo))
        for core, halo in ((10, 2), (10, 10), (10, 11), (1, 5))
    ] == [1, 1, 2, 5]
