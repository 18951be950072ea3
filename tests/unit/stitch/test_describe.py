from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from two_level import two_level

from pipeline.stitch.describe import CROSSING, mean_score, member_columns
from pipeline.stitch.stitch_options import StitchOptions


def test_only_objects_that_may_show_elsewhere_cross(worlds: SimpleNamespace) -> None:
    """Blocks of 2 x 2 tiles, core 10. Inside a block, over a tile seam, over a block border, and seen whole
    from next door.
    """
    truth = np.zeros((40, 40), dtype=np.int64)
    truth[2:5, 2:5] = 1  # one tile
    truth[8:12, 12:15] = 2  # two tiles of one block
    truth[4:8, 18:23] = 3  # two blocks
    truth[25:28, 21:24] = 4  # one core, and ghost of the block to its left
    lattice = worlds.make_lattice(truth.shape, 10, 4, 2)
    result = two_level(lattice, worlds.cut(truth, lattice, mode="whole"), StitchOptions(), side=4)
    by_value = {int(truth.flat[instance - 1]): instance for instance in result.rows}
    assert {value: result.local.get(instance) for value, instance in by_value.items()} == {
        1: 0,
        2: 0,
        3: None,
        4: 3,
    }


def test_members_are_distinct_and_sorted() -> None:
    home = np.array([1, CROSSING, 1, 1])
    ids = np.array([9, 4, 9, 9], dtype=np.uint64)
    got = member_columns(home, ids, np.array([5, 7, 3, 5]))
    assert (got.home.tolist(), got.id.tolist(), got.tile.tolist()) == ([-1, 1, 1], [4, 9, 9], [7, 3, 5])


def test_mean_scores_are_float32_of_the_exact_quotient() -> None:
    assert mean_score(np.array([65535 * 3, 0]), np.array([4, 0])).tolist() == [0.75, 0.0]
