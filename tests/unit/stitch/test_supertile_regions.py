"""Semantic mode over super-tile borders (against the flat merge: test_join); here the border lines and flags
by hand.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from two_level import BlockWise, two_level

from pipeline.stitch.flatten import EAST, SOUTH
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.supertile_regions import resolve_regions
from pipeline.stitch.supertiles import SuperLattice


def test_border_lines_hold_keys_and_join_what_touches(worlds: SimpleNamespace) -> None:
    truth = np.zeros((10, 20), dtype=np.int64)
    truth[2:4, 8:12], truth[6, 9], truth[7, 10] = 1, 2, 3  # 2 and 3 touch only diagonally over the border
    lattice = worlds.make_lattice(truth.shape, 10, 2, 1)
    supers = SuperLattice(lattice, 1)
    source = BlockWise(worlds.cut(truth, lattice, mode="whole"), lattice)
    left, right = (resolve_regions(supers, tile, source, StitchOptions()) for tile in supers.all())
    assert left.border.east.tolist() == [0, 0, 49, 49, 0, 0, 130, 0, 0, 0]
    assert left.border.pairs(right.border, EAST).tolist() == [[48], [50]]
    assert left.border.pairs(right.border, SOUTH).shape == (2, 0)
    assert left.roots.key.tolist() == [48, 129]
    result = two_level(lattice, source.source, StitchOptions(), side=1, mode="semantic")
    assert {instance: row["n_px"] for instance, row in result.rows.items()} == {49: 8, 130: 1, 151: 1}


def test_a_region_cut_by_a_failed_tile_is_truncated(worlds: SimpleNamespace) -> None:
    truth = np.zeros((10, 30), dtype=np.int64)
    truth[4, 3:25] = 1
    lattice = worlds.make_lattice(truth.shape, 10, 3, 1)
    source = worlds.cut(truth, lattice, mode="whole")
    del source.tiles[0, 1]
    source.closed = frozenset({(0, 1)})
    result = two_level(lattice, source, StitchOptions(), side=1, mode="semantic")
    assert [row["truncated"] for row in result.rows.values()] == [True, True]
    assert {instance: row["n_px"] for instance, row in result.rows.items()} == {124: 7, 141: 5}
