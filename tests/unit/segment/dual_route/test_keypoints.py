"""Peaks of maps that were drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.segment.dual_route.keypoints import peaks, released_points


def drawn(shape: tuple[int, int], **at: float) -> np.ndarray:
    """A map of zeros with values at rRcC."""
    found = np.zeros(shape, np.float32)
    for name, value in at.items():
        row, _, col = name.removeprefix("r").partition("c")
        found[int(row), int(col)] = value
    return found


def test_best_first_at_centres_of_cells() -> None:
    similarity = drawn((10, 20), r1c1=0.6, r8c17=1.0, r5c9=0.4)
    assert peaks(similarity, k=5, tau=0.3) == [
        (17.5 / 20, 8.5 / 10),
        (1.5 / 20, 1.5 / 10),
        (9.5 / 20, 5.5 / 10),
    ]
    assert len(peaks(similarity, k=2, tau=0.3)) == 2
    assert len(peaks(similarity, k=5, tau=0.5)) == 2


def test_a_peak_suppresses_what_is_near() -> None:
    """Two cells to each side: the second peak lies two columns off and goes, the third three and stays."""
    similarity = drawn((9, 12), r4c4=1.0, r4c6=0.9, r4c9=0.8)
    assert [round(x * 12 - 0.5) for x, _ in peaks(similarity, k=5, tau=0.3)] == [4, 9]


def test_slopes_are_no_peaks() -> None:
    slope = np.tile(np.linspace(0, 1, 12, dtype=np.float32), (3, 1))
    found = peaks(slope, k=5, tau=0.3)
    assert len(found) == 1
    assert found[0][0] == pytest.approx(11.5 / 12)


def test_a_map_of_one_value_has_none() -> None:
    assert peaks(np.zeros((4, 4), np.float32), k=5, tau=0.0) == []
    assert peaks(np.ones((4, 4), np.float32), k=5, tau=0.3) == []


def test_released_points_are_all_high_cells_without_suppression() -> None:
    similarity = drawn((2, 4), r0c0=1.0, r0c1=0.85, r1c3=0.79)
    assert released_points(similarity) == [(0.5 / 4, 0.25), (1.5 / 4, 0.25)]


def test_released_points_are_at_most_half_of_the_cells() -> None:
    assert len(released_points(np.ones((4, 4), np.float32))) == 8


def test_released_points_without_any_are_nine_around_the_centre() -> None:
    found = released_points(np.zeros((4, 4), np.float32))
    assert len(found) == 9
    assert found[4] == (0.5, 0.5)
