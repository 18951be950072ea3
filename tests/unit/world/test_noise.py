from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.noise import add_noise, noise_at

SEED = np.uint64(77)


def raster(
    row0: int, col0: int, shape: tuple[int, int], inv_scale: float = 1.0, period: float = 13.7
) -> np.ndarray:
    out = np.zeros(shape, np.float32)
    add_noise(out, row0, col0, inv_scale, SEED, 3, period, 1.0)
    return out


@pytest.mark.parametrize(
    ("period", "inv_scale"), [(13.7, 1.0), (2.4, 1.0), (300.0, 1.0), (0.8, 1.0), (13.7, 1 / 0.7)]
)
def test_raster_and_point_are_one_function(period: float, inv_scale: float) -> None:
    drawn = raster(-9, -31, (20, 40), inv_scale, period)
    for r in range(0, 20, 3):
        for c in range(0, 40, 3):
            point = noise_at(SEED, 3, (-31 + c + 0.5) * inv_scale, (-9 + r + 0.5) * inv_scale, period)
            assert drawn[r, c] == pytest.approx(point, abs=1e-6)


def test_windows_agree_bit_by_bit() -> None:
    whole = raster(-50, -60, (120, 140))
    np.testing.assert_array_equal(whole[31:90, 17:101], raster(-19, -43, (59, 84)))


def test_range_and_continuity() -> None:
    drawn = raster(0, 0, (300, 300))
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    assert drawn.std() > 0.15
    assert np.abs(np.diff(drawn, axis=1)).max() < 1.9 / 13.7  # steepest quintic slope is 1.875 per period
