"""Holes and specks against a flood fill by scipy, and window by window against the whole raster."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.stitch import clean_pixels as module
from pipeline.stitch.clean_pixels import CleaningRules, clean_pixels

NONE = np.zeros(0, dtype=np.uint64)


def picture(rows: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Ids and what was looked at, from digits; `.` is background, `?` was not judged."""
    ids = np.array([[int(mark) if mark.isdigit() else 0 for mark in row] for row in rows], dtype=np.uint64)
    return ids, np.array([[mark != "?" for mark in row] for row in rows])


def cleaned(rows: list[str], hole_px: int, speck_px: int, exempt: NDArray[np.uint64] = NONE) -> list[str]:
    ids, looked_at = picture(rows)
    found = clean_pixels(ids, looked_at, CleaningRules(hole_px=hole_px, speck_px=speck_px), exempt=exempt)
    marks = [[str(value) if value else "." for value in row] for row in found.tolist()]
    return ["".join(row) for row in marks]


def by_flood(
    ids: NDArray[np.uint64], looked_at: NDArray[np.bool_], rules: CleaningRules
) -> NDArray[np.uint64]:
    """The same by one component after the other."""
    found = ids.copy()
    free, n = ndimage.label((ids == 0) & looked_at)
    for number in range(1, n + 1):
        piece = free == number
        around = ndimage.binary_dilation(np.pad(piece, 1)) & ~np.pad(piece, 1)
        beside = set(np.pad(ids, 1)[around].tolist())
        if piece.sum() <= rules.hole_px and len(beside) == 1 and beside != {0}:
            found[piece] = beside.pop()
    for value in np.unique(found[found > 0]):
        parts, n = ndimage.label(found == value)
        for number in range(1, n + 1):
            if (parts == number).sum() <= rules.speck_px:
                found[parts == number] = 0
    return found


def random_world(seed: int, height: int, width: int) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(height, width)), rng.uniform(0.4, 1.5))
    ids = np.digitize(field, np.quantile(field, [0.4, 0.8])).astype(np.uint64) * np.uint64(2**40 + 7)
    return ids, rng.random((height, width)) > 0.02


def test_a_small_hole_is_filled_and_others_stay() -> None:
    rows = [
        "1111111111",
        "1.11..1?12",
        "1111..1112",
        "11111111..",
        "1131111111",
        "13.3111.11",
        "1131111112",
    ]
    assert cleaned(rows, 1, 0) == [
        "1111111111",
        "1111..1.12",  # one pixel is filled; four are too many; what nobody judged stays
        "1111..1112",
        "11111111..",  # at the raster's border nothing encloses it
        "1131111111",
        "1333111111",  # around this one is object 3 alone
        "1131111112",
    ]
    assert cleaned(rows, 4, 0)[1:3] == ["1111111.12", "1111111112"]


def test_a_hole_with_another_object_in_it_is_none() -> None:
    rows = ["11111", "1...1", "1.2.1", "1...1", "11111"]
    assert cleaned(rows, 20, 0) == rows


def test_specks_are_dropped_unless_their_object_has_nothing_else() -> None:
    rows = ["11..2.3", "11.1..3", "....2.3"]
    assert cleaned(rows, 0, 1) == ["11....3", "11....3", "......3"]
    assert cleaned(rows, 0, 1, np.array([2], dtype=np.uint64)) == ["11..2.3", "11....3", "....2.3"]


def test_a_speck_in_a_hole_becomes_part_of_what_fills_it() -> None:
    assert cleaned(["11111", "1...1", "1.1.1", "1...1", "11111"], 8, 1) == ["11111"] * 5


def test_what_is_too_long_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_PX", 3)
    rows = ["1111111", "1...111", "1111111", "1....11", "1111111"]
    assert cleaned(rows, 9, 0) == ["1111111", "1111111", "1111111", "1....11", "1111111"]
    assert CleaningRules(hole_px=9, speck_px=2).reach_px == 5


def test_a_world_of_one_object_and_one_of_none() -> None:
    assert cleaned(["111", "111"], 3, 3, np.array([1], dtype=np.uint64)) == ["111", "111"]
    assert cleaned(["...", "..."], 3, 3) == ["...", "..."]


@given(st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_equal_to_a_flood_fill(seed: int, hole_px: int, speck_px: int) -> None:
    ids, looked_at = random_world(seed, 23, 31)
    rules = CleaningRules(hole_px=hole_px, speck_px=speck_px)
    found = clean_pixels(ids, looked_at, rules, exempt=NONE)
    np.testing.assert_array_equal(found, by_flood(ids, looked_at, rules))


@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(0, 4), st.integers(3, 12))
@settings(max_examples=60, deadline=None)
def test_a_window_that_reaches_far_enough_decides_like_the_whole(
    seed: int, hole_px: int, speck_px: int, side: int
) -> None:
    ids, looked_at = random_world(seed, 30, 34)
    rules = CleaningRules(hole_px=hole_px, speck_px=speck_px)
    whole = clean_pixels(ids, looked_at, rules, exempt=NONE)
    reach = rules.reach_px
    for row in range(0, 30, side):
        for col in range(0, 34, side):
            top = max(row - reach, 0)
            left = max(col - reach, 0)
            window = np.s_[top : row + side + reach, left : col + side + reach]
            part = clean_pixels(ids[window], looked_at[window], rules, exempt=NONE)
            core = part[row - top : row - top + side, col - left : col - left + side]
            np.testing.assert_array_equal(core, whole[row : row + side, col : col + side])
