"""Random numbers without state: everything in a world is a hash of (seed, purpose, lattice position).

So a value never depends on what was drawn before. The mixer is the finaliser of SplitMix64 (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 14).
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.world.compiled import kernel

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S30 = np.uint64(30)
_S27 = np.uint64(27)
_S31 = np.uint64(31)
_S11 = np.uint64(11)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53


@kernel
def mix64(z: np.uint64) -> np.uint64:
    """Scramble 64 bits; no two inputs give the same output."""
    z = z + _GOLDEN
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


@kernel
def hash_cell(seed: np.uint64, salt: int, i: int, j: int) -> np.uint64:
    """Hash one lattice cell; i and j may be negative."""
    z = mix64(seed ^ mix64(np.uint64(salt)))
    z = mix64(z ^ np.uint64(i))
    return mix64(z + mix64(np.uint64(j)))


@kernel
def derive(h: np.uint64, k: int) -> np.uint64:
    """Derive the k-th independent hash from h."""
    return mix64(h ^ mix64(np.uint64(k)))


@kernel
def unit(h: np.uint64, k: int) -> float:
    """Derive the k-th uniform number in [0, 1) from h."""
    return float(mix64(h ^ mix64(np.uint64(k))) >> _S11) * _TO_UNIT


@kernel
def between(h: np.uint64, k: int, low: float, high: float) -> float:
    """Derive the k-th uniform number in [low, high) from h."""
    return low + (high - low) * unit(h, k)


@kernel
def direction(angle: float) -> tuple[float, float]:
    """Compute (cos, sin), rounded to 2**-24: math libraries differ in the last bit, and no pixel may move."""
    return round(math.cos(angle) * 16777216.0) / 16777216.0, round(math.sin(angle) * 16777216.0) / 16777216.0
