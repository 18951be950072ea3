"""Painting one core: the rules on a picture small enough to check by eye."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from pipeline.schema.tiling import Window
from pipeline.stitch.paint_core import ClaimingTile, OwnTile, paint_core


def drawn(*lines: str) -> np.ndarray:
    return np.array([[0 if c == "." else int(c) for c in line] for line in lines], dtype=np.uint16)


def table(*values: int) -> np.ndarray:
    return np.array((0, *values), dtype=np.int32)


CORE = Window(row0=10, col0=20, row1=13, col1=26)
OWN = OwnTile(
    read=CORE,
    labels=drawn("11..22", "11..22", "....22"),
    owner=table(7, 4),
    paint=table(0, 4),  # component 7 gives way to another tile's view
)


def test_claims_fill_background_and_their_own_component_only() -> None:
    claim = ClaimingTile(read=CORE, labels=drawn("33333.", ".3333.", "......"), claim=table(0, 0, 7))
    assert paint_core(CORE, OWN, [claim], 0.7).tolist() == [
        [7, 7, 7, 7, 4, 4],
        [0, 7, 7, 7, 4, 4],
        [0, 0, 0, 0, 4, 4],
    ]


def test_a_pixel_given_up_by_its_owner_is_not_up_for_grabs() -> None:
    claim = ClaimingTile(read=CORE, labels=drawn("1.....", "1.....", "1....."), claim=table(9))
    assert paint_core(CORE, OWN, [claim], 0.0)[:, 0].tolist() == [0, 0, 9]


@pytest.mark.parametrize(("keep_share", "kept"), [(0.0, False), (0.75, False), (0.76, True), (1.0, True)])
def test_what_a_whole_view_leaves_uncovered_stays(keep_share: float, kept: bool) -> None:
    """The view covers 3 of the 4 pixels that the owner saw."""
    claim = ClaimingTile(read=CORE, labels=drawn(".3333.", "3333..", "......"), claim=table(0, 0, 7))
    assert paint_core(CORE, OWN, [claim], keep_share).tolist() == [
        [7 if kept else 0, 7, 7, 7, 4, 4],
        [7, 7, 7, 7, 4, 4],
        [0, 0, 0, 0, 4, 4],
    ]


def test_a_fragment_far_from_the_view_that_stands_for_it_stays_as_it_is() -> None:
    claim = ClaimingTile(read=CORE, labels=drawn("......", "......", "333..."), claim=table(0, 0, 7))
    assert paint_core(CORE, OWN, [claim], 0.97).tolist() == [
        [7, 7, 0, 0, 4, 4],
        [7, 7, 0, 0, 4, 4],
        [7, 7, 7, 0, 4, 4],
    ]


def test_the_smaller_id_wins_background_whatever_the_order() -> None:
    claims = [
        ClaimingTile(read=CORE, labels=drawn("......", "......", "11111."), claim=table(12)),
        ClaimingTile(read=CORE.shifted(0, 2), labels=drawn("......", "......", "11...."), claim=table(5)),
        ClaimingTile(read=CORE.shifted(1, -1), labels=drawn("......", ".111..", "......"), claim=table(8)),
        ClaimingTile(read=CORE.shifted(100, 0), labels=drawn("111111", "111111", "111111"), claim=table(1)),
    ]
    for order in permutations(claims):
        assert paint_core(CORE, OWN, list(order), 0.97)[2].tolist() == [8, 8, 5, 5, 4, 4]


def test_a_core_without_labels_shows_claims_alone() -> None:
    claim = ClaimingTile(read=CORE, labels=drawn("1.....", "......", "......"), claim=table(9))
    assert paint_core(CORE, None, [claim], 0.97).sum() == 9
    assert not paint_core(CORE, None, [], 0.97).any()
