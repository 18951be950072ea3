"""Equation 7, case by case, on boxes of 10 x 20 px: gamma 0.01 is two pixels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.segment.dual_route.fusion import fused, fused_as_released

Mask = NDArray[np.bool_]


def first(n_px: int) -> Mask:
    mask = np.zeros(200, np.bool_)
    mask[:n_px] = True
    return mask.reshape(10, 20)


def last(n_px: int) -> Mask:
    return first(n_px)[::-1, ::-1]


NOTHING = first(0)


@pytest.mark.parametrize(
    ("points", "text", "has_points", "expected"),
    [
        (first(40), first(25), True, first(25)),  # both valid: what both mark
        (first(40), last(40), True, NOTHING),  # both valid and apart: nothing
        (first(40), first(1), True, first(40)),  # B below gamma: A alone
        (first(40), NOTHING, True, first(40)),
        (first(1), last(40), True, last(40)),  # A below gamma: B alone
        (first(40), last(40), False, last(40)),  # no point: A is not valid, whatever its mask
        (first(40), NOTHING, False, NOTHING),
        (first(1), last(1), True, NOTHING),  # none valid
        (first(2), first(2), True, first(2)),  # two pixels are exactly gamma
    ],
)
def test_the_paper(points: Mask, text: Mask, has_points: bool, expected: Mask) -> None:
    assert np.array_equal(fused(points, text, has_points=has_points, gamma=0.01), expected)


@pytest.mark.parametrize(
    ("points", "text", "expected"),
    [
        (first(40), first(25), first(25)),
        (first(40), last(40), NOTHING),
        (first(40), first(1), first(1)),  # one pixel is valid there
        (first(40), NOTHING, first(40)),
        (NOTHING, last(1), last(1)),
        (NOTHING, NOTHING, NOTHING),
    ],
)
def test_the_released_code(points: Mask, text: Mask, expected: Mask) -> None:
    assert np.array_equal(fused_as_released(points, text), expected)
