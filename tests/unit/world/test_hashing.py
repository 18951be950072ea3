from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.world.hashing import between, derive, direction, hash_cell, mix64, unit


@pytest.mark.parametrize(
    ("state", "output"),
    [(0, 0xE220A8397B1DCDAF), (0x9E3779B97F4A7C15, 0x6E789E6AA1B965F4), (1, 0x910A2DEC89025CC1)],
)
def test_mixer_is_splitmix64(state: int, output: int) -> None:
    """Published first outputs of SplitMix64 for these states."""
    assert int(mix64(np.uint64(state))) == output


def test_cells_differ_and_negative_cells_are_cells_of_their_own() -> None:
    seen = {int(hash_cell(np.uint64(5), 1, i, j)) for i in range(-20, 20) for j in range(-20, 20)}
    assert len(seen) == 1600
    assert int(hash_cell(np.uint64(5), 1, 2, 3)) != int(hash_cell(np.uint64(5), 1, 3, 2))
    assert int(hash_cell(np.uint64(5), 1, 2, 3)) != int(hash_cell(np.uint64(5), 2, 2, 3))
    assert int(hash_cell(np.uint64(5), 1, 2, 3)) != int(hash_cell(np.uint64(6), 1, 2, 3))


def test_unit_is_uniform() -> None:
    h = np.uint64(hash_cell(np.uint64(1), 1, 0, 0))
    draws = np.array([unit(h, k) for k in range(4000)])
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    counts = np.histogram(draws, bins=10, range=(0, 1))[0]
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi-square, 9 degrees of freedom, p = 0.001


def test_between_and_derive() -> None:
    h = np.uint64(hash_cell(np.uint64(1), 1, 0, 0))
    draws = [between(h, k, -3.0, 5.0) for k in range(200)]
    assert min(draws) >= -3.0
    assert max(draws) < 5.0
    assert len({int(derive(h, k)) for k in range(200)}) == 200


def test_direction_is_a_rounded_unit_vector() -> None:
    for k in range(64):
        c, s = direction(0.1 * k)
        assert math.hypot(c, s) == pytest.approx(1.0, abs=2e-7)
        assert (c * 2**24).is_integer()
        assert (s * 2**24).is_integer()
