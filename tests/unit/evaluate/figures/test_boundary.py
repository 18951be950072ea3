"""Outlines and their agreement, by hand and against all pairs of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate.figures.boundary import boundary_agreement, outline, tolerance_px


def square(row: int, col: int, side: int, size: int = 20) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[row : row + side, col : col + side] = True
    return mask


def test_the_outline_of_a_square_and_no_outline_along_the_frame() -> None:
    assert outline(square(5, 5, 4)).sum() == 12
    assert not outline(np.ones((6, 6), bool)).any()
    corner = outline(square(0, 0, 4))
    assert corner.sum() == 7  # one row and one column of four, sharing a pixel
    assert not corner[0, 0]


def test_a_shift_within_the_tolerance_is_agreement_and_one_beyond_is_not() -> None:
    true = square(5, 5, 6)
    moved = square(5, 7, 6)
    loose = boundary_agreement(true, moved, 2.0)
    strict = boundary_agreement(true, moved, 1.9)
    assert (loose.true_px, loose.true_near) == (20, 20)
    assert (loose.predicted_px, loose.predicted_near) == (20, 20)
    # within less than two pixels: the left column of four inner rows is too far away, the corners still see a
    # neighbour's line
    assert strict.true_near < 20
    assert strict.true_near == strict.predicted_near


def test_nothing_against_something() -> None:
    agreement = boundary_agreement(square(5, 5, 4), np.zeros((20, 20), bool), 3.0)
    assert (agreement.true_px, agreement.true_near, agreement.predicted_px, agreement.predicted_near) == (
        12,
        0,
        0,
        0,
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 1.5, 2.9]))
def test_distances_agree_with_all_pairs(seed: int, tolerance: float) -> None:
    rng = np.random.default_rng(seed)
    true = rng.random((9, 11)) < 0.4
    predicted = rng.random((9, 11)) < 0.3
    got = boundary_agreement(true, predicted, tolerance)
    edges = [edge_by_hand(true), edge_by_hand(predicted)]
    for one, other, near, total in (
        (edges[0], edges[1], got.true_near, got.true_px),
        (edges[1], edges[0], got.predicted_near, got.predicted_px),
    ):
        assert total == len(one)
        assert near == sum(any((r - q) ** 2 + (c - d) ** 2 <= tolerance**2 for q, d in other) for r, c in one)


def edge_by_hand(mask: np.ndarray) -> list[tuple[int, int]]:
    rows, cols = mask.shape
    found = []
    for r in range(rows):
        for c in range(cols):
            around = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            inside = [(q, d) for q, d in around if 0 <= q < rows and 0 <= d < cols]
            if mask[r, c] and not all(mask[q, d] for q, d in inside):
                found.append((r, c))
    return found


def test_the_default_tolerance_and_unequal_images() -> None:
    assert tolerance_px((300, 400)) == pytest.approx(3.75)
    with pytest.raises(ValueError, match="same image"):
        boundary_agreement(np.zeros((3, 3), bool), np.zeros((3, 4), bool), 1.0)
