"""Shifts that were made, and agreements counted shift by shift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.compare.registration import LEAST_PX, UNKNOWN, agreements, estimate_shift

Mask = np.ndarray  # type: ignore[type-arg]


def squares(seed: int, height: int, width: int) -> Mask:
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), dtype=bool)
    for _ in range(25):
        row, col = rng.integers(0, height), rng.integers(0, width)
        mask[row : row + rng.integers(3, 9), col : col + rng.integers(3, 9)] = True
    return mask


def by_hand(before: Mask, after: Mask, seen: Mask, seen_after: Mask, row: int, col: int) -> float:
    """Agreement for one shift, pixel by pixel."""
    both = either = 0
    height, width = before.shape
    for r in range(height):
        for c in range(width):
            y, x = r + row, c + col
            if not (0 <= y < height and 0 <= x < width) or not (seen[r, c] and seen_after[y, x]):
                continue
            both += bool(before[r, c] and after[y, x])
            either += bool(before[r, c] or after[y, x])
    return both / either if either else 0.0


@given(st.integers(0, 2**32 - 1), st.integers(-4, 4), st.integers(-4, 4))
@settings(max_examples=20, deadline=None)
def test_a_shift_that_was_made_is_found(seed: int, row: int, col: int) -> None:
    world = squares(seed, 80, 90)
    before = world[10:70, 10:80]
    after = world[10 - row : 70 - row, 10 - col : 80 - col]
    rng = np.random.default_rng(seed)
    judged = [rng.random(before.shape) > 0.05 for _ in range(2)]
    found = estimate_shift(before, after, judged[0], judged[1], most_px=6)
    assert (found.rows, found.cols, found.known) == (row, col, True)
    assert found.agreement == pytest.approx(1.0)
    assert found.px == pytest.approx(np.hypot(row, col))


def test_agreements_are_those_of_counting() -> None:
    before, after = squares(1, 17, 13), squares(2, 17, 13)
    rng = np.random.default_rng(3)
    judged = [rng.random(before.shape) > 0.2 for _ in range(2)]
    before &= judged[0]
    after &= judged[1]
    found = agreements(before, after, judged[0], judged[1], most_px=3)
    assert found.shape == (7, 7)
    for row in range(-3, 4):
        for col in range(-3, 4):
            want = by_hand(before, after, judged[0], judged[1], row, col)
            assert found[row + 3, col + 3] == pytest.approx(want)


def test_a_strip_that_is_narrower_than_the_search() -> None:
    """A few pixels that happen to agree at its end say nothing."""
    strip = np.zeros((60, 9), dtype=bool)
    strip[5:50, 2:7] = True
    strip[5:50, 0] = True
    everywhere = np.ones_like(strip)
    found = estimate_shift(strip, strip, everywhere, everywhere, most_px=12)
    assert (found.rows, found.cols, found.known) == (0, 0, True)
    assert agreements(strip, strip, everywhere, everywhere, most_px=12)[12, 0] == 0.0


def test_too_few_objects_and_other_objects_tell_nothing() -> None:
    empty = np.zeros((40, 40), dtype=bool)
    everywhere = ~empty
    few = empty.copy()
    few.flat[: LEAST_PX - 1] = True
    assert estimate_shift(few, few, everywhere, everywhere, most_px=4) == UNKNOWN
    assert UNKNOWN.px == 0.0
    one = empty.copy()
    one[:10, :10] = True
    other = empty.copy()
    other[-10:, -10:] = True
    found = estimate_shift(one, other, everywhere, everywhere, most_px=4)
    assert not found.known


def test_a_shift_that_gains_next_to_nothing_is_none() -> None:
    """One small thing that moved between two dates, beside large ones that stayed."""
    before = np.zeros((60, 60), dtype=bool)
    before[5:25, 5:25] = before[35:55, 5:15] = True
    after = before.copy()
    before[40:44, 40:44] = True
    after[41:45, 41:45] = True
    after[5:25, 25] = True
    everywhere = np.ones_like(before)
    found = estimate_shift(before, after, everywhere, everywhere, most_px=6)
    assert (found.rows, found.cols, found.known) == (0, 0, True)
    assert found.agreement == found.unmoved > 0.9


def test_of_equal_shifts_the_shortest_is_taken() -> None:
    """Stripes of five pixels look the same after every ten."""
    stripes = np.tile(np.arange(60) % 10 < 5, (60, 1))
    everywhere = np.ones_like(stripes)
    found = estimate_shift(stripes, stripes, everywhere, everywhere, most_px=12)
    assert (found.rows, found.cols) == (0, 0)
    assert found.unmoved == pytest.approx(1.0)
