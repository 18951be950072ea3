"""What one block shows in semantic mode: evidence, labels and witnesses on pictures small enough to count."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from pipeline.errors import RecordError
from pipeline.stitch.block_regions import (
    closed_sides,
    evidence,
    first_pixels,
    label_regions,
    tiles_on,
    touching,
    witnesses,
)
from pipeline.stitch.flat.flat_sources import fragment_table
from pipeline.stitch.flatten import EAST, WEST
from pipeline.stitch.sources import TileCache


def three_tiles(worlds: SimpleNamespace) -> tuple[SimpleNamespace, object]:
    """Three tiles of 4 x 4 px in a row, one block each, halo 1."""
    lattice = worlds.make_lattice((4, 12), 4, 1, 1)
    left = np.zeros((4, 5), dtype=np.uint16)
    left[1, 2:5] = 1  # columns 2..4: the last one lies in the middle core
    middle = np.zeros((4, 6), dtype=np.uint16)
    middle[3, 2] = 1  # column 5
    return worlds.ArraySource(lattice=lattice, tiles={(0, 0): left, (0, 1): middle}), lattice


def test_a_pixel_counts_when_any_tile_saw_it(worlds: SimpleNamespace) -> None:
    source, lattice = three_tiles(worlds)
    found = evidence(lattice, TileCache(source, lattice), 0, 1)
    assert np.argwhere(found).tolist() == [[1, 0], [3, 1]]


def test_nothing_shows_in_a_core_that_is_closed(worlds: SimpleNamespace) -> None:
    source, lattice = three_tiles(worlds)
    source.closed = frozenset({(0, 1)})
    cache = TileCache(source, lattice)
    assert not evidence(lattice, cache, 0, 1).any()
    assert np.argwhere(evidence(lattice, cache, 0, 0)).tolist() == [[1, 2], [1, 3]]
    table = fragment_table(source.records(), lattice)
    assert table.tile.tolist() == [0, 1]
    assert closed_sides(lattice, cache, table).tolist() == [EAST, 0]
    source.closed = frozenset({(0, 0), (0, 2)})
    assert closed_sides(lattice, TileCache(source, lattice), table).tolist() == [0, EAST | WEST]


def test_tiles_reach_a_block_by_their_halo(worlds: SimpleNamespace) -> None:
    _, lattice = three_tiles(worlds)
    reach = [(tile.tile_col, shared.col0, shared.col1) for tile, shared in tiles_on(lattice, 0, 1)]
    assert reach == [(0, 4, 5), (1, 4, 8), (2, 7, 8)]


def test_witnesses_count_the_pixels_they_saw(worlds: SimpleNamespace) -> None:
    source, lattice = three_tiles(worlds)
    cache = TileCache(source, lattice)
    table = fragment_table(source.records(), lattice)
    labels = np.zeros((4, 4), dtype=np.int64)
    labels[1, 0], labels[3, 1] = 7, 9
    seen = np.concatenate(list(witnesses(lattice, cache, table, block=(0, 1), labels=labels)), axis=1)
    assert seen.T.tolist() == [[7, 0, 1], [9, 1, 1]], "region, node, pixels"
    source.tiles[0, 1][0, 0] = 2
    with pytest.raises(RecordError, match="hold id 2, but it has 1 fragments"):
        list(witnesses(lattice, TileCache(source, lattice), table, block=(0, 1), labels=labels))


@pytest.mark.parametrize("seed", range(5))
def test_regions_are_those_of_scipy(seed: int) -> None:
    found = np.random.default_rng(seed).random((9, 11)) < 0.5
    labels, n = label_regions(found)
    expected, n_expected = ndimage.label(found)
    assert n == n_expected
    assert len({*zip(labels[found].tolist(), expected[found].tolist(), strict=True)}) == n
    assert not labels[~found].any()
    first = first_pixels(labels, n, 100, 50, 1000)
    for k in range(1, n + 1):
        row, col = np.argwhere(labels == k)[0]
        assert first[k - 1] == (100 + row) * 1000 + 50 + col


def test_lines_touch_where_both_show_something() -> None:
    pairs = touching(np.array([1, 1, 0, 2, 2]), np.array([5, 5, 5, 0, 6]))
    assert pairs.T.tolist() == [[1, 5], [2, 6]]
