"""Value noise on a hashed lattice: random values at lattice points, quintic interpolation between them.

Coordinates are world units (pixel centre / scale). `noise_at` computes the noise at a point, `add_noise` the
same noise on a raster. The raster hashes each lattice point once and interpolates along y, then along x.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.world.compiled import kernel
from pipeline.world.hashing import hash_cell

_S11 = np.uint64(11)
_TO_UNIT = 1.0 / 9007199254740992.0


@kernel
def _lattice(seed: np.uint64, salt: int, i: int, j: int) -> float:
    return float(hash_cell(seed, salt, i, j) >> _S11) * _TO_UNIT


@kernel
def smooth5(t: float) -> float:
    """Quintic step: 0 at 0, 1 at 1, flat first and second derivatives at both ends."""
    return t * t * t * (t * (t * 6.0 - 15.0) + 10.0)


@kernel
def noise_at(seed: np.uint64, salt: int, x: float, y: float, period: float) -> float:
    """Compute the noise at one point, in [0, 1)."""
    gx, gy = x / period, y / period
    j, i = math.floor(gx), math.floor(gy)
    fx, fy = smooth5(gx - j), smooth5(gy - i)
    a, b = _lattice(seed, salt, i, j), _lattice(seed, salt, i + 1, j)
    c, d = _lattice(seed, salt, i, j + 1), _lattice(seed, salt, i + 1, j + 1)
    left, right = a + (b - a) * fy, c + (d - c) * fy
    return left + (right - left) * fx


@kernel
def add_noise(
    out: NDArray[np.float32],
    row0: int,
    col0: int,
    inv_scale: float,
    seed: np.uint64,
    salt: int,
    period: float,
    weight: float,
) -> None:
    """Add `weight` times noise to `out` (H, W), whose top-left pixel is global (row0, col0)."""
    height, width = out.shape
    j0 = math.floor((col0 + 0.5) * inv_scale / period)
    j1 = math.floor((col0 + width - 0.5) * inv_scale / period) + 2
    cells = np.empty(width, np.int64)
    frac = np.empty(width, np.float64)
    for c in range(width):
        g = (col0 + c + 0.5) * inv_scale / period
        j = math.floor(g)
        cells[c] = j - j0
        frac[c] = smooth5(g - j)
    n = j1 - j0
    low, high, line = np.empty(n), np.empty(n), np.empty(n)
    current = math.floor((row0 + 0.5) * inv_scale / period)
    for k in range(n):
        low[k] = _lattice(seed, salt, current, j0 + k)
        high[k] = _lattice(seed, salt, current + 1, j0 + k)
    for r in range(height):
        g = (row0 + r + 0.5) * inv_scale / period
        i = math.floor(g)
        while current < i:
            current += 1
            for k in range(n):
                low[k] = high[k]
                high[k] = _lattice(seed, salt, current + 1, j0 + k)
        fy = smooth5(g - i)
        for k in range(n):
            line[k] = (low[k] + (high[k] - low[k]) * fy) * weight
        for c in range(width):
            left = line[cells[c]]
            out[r, c] += left + (line[cells[c] + 1] - left) * frac[c]
