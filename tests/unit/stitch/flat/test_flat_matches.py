"""Seams of a lattice counted by hand, strips of known pixels, and labels that no fragment explains."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import RecordError
from pipeline.stitch.flat.flat_matches import match_seams, seam_strips, seams_of
from pipeline.stitch.flat.flat_sources import fragment_table
from pipeline.stitch.sources import TileCache
from pipeline.stitch.stitch_options import StitchOptions


@pytest.mark.parametrize("k", [1, 2, 5])
def test_every_seam_comes_once(worlds: SimpleNamespace, k: int) -> None:
    lattice = worlds.make_lattice((31, 42), 10, 3, k)  # 4 x 5 tiles
    seen = [((a.tile_row, a.tile_col), (b.tile_row, b.tile_col)) for a, b, _ in seams_of(lattice)]
    expected = [((r, c), (r, c + 1)) for r in range(4) for c in range(4)] + [
        ((r, c), (r + 1, c)) for r in range(3) for c in range(5)
    ]
    assert sorted(seen) == sorted(expected)


def test_strips_are_the_intersection_of_read_windows_along_the_seam(worlds: SimpleNamespace) -> None:
    truth = np.arange(1, 31 * 42 + 1).reshape(31, 42)
    lattice = worlds.make_lattice(truth.shape, 10, 3)
    tiles = {
        key: truth[lattice.tile(*key).read.slices_in(lattice.grid.window)].astype(np.uint16)
        for key in worlds.all_tiles(lattice)
    }
    cache = TileCache(worlds.ArraySource(lattice=lattice, tiles=tiles), lattice)
    for tile, other, side in seams_of(lattice):
        strips = seam_strips(tile, other, side, cache)
        assert strips is not None
        np.testing.assert_array_equal(strips[0], strips[1])
        along, across = strips[0].shape
        limit = min(13 + 3, 31) if other.tile_row == 3 or tile.tile_row == 3 else 16
        assert across == 6 or (other.tile_row == 3 and across == 4) or (other.tile_col == 4 and across == 5)
        assert along <= max(limit, 16)


def test_labels_without_a_fragment_are_refused(worlds: SimpleNamespace) -> None:
    truth = np.ones((10, 20), dtype=np.int64)
    lattice = worlds.make_lattice(truth.shape, 10, 3)
    source = worlds.cut(truth, lattice, mode="whole")
    table = fragment_table(source.records(), lattice)
    source.tiles[0, 1] = source.tiles[0, 1] * np.uint16(2)
    with pytest.raises(RecordError, match="hold id 2"):
        match_seams(lattice, TileCache(source, lattice), table, StitchOptions())
