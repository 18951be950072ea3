"""Bare ground, winding tracks and trees: everything that is never an object."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.world.compiled import kernel
from pipeline.world.hashing import between, hash_cell, unit
from pipeline.world.noise import add_noise, noise_at
from pipeline.world.style import (
    BARE,
    FOREST,
    GROUND,
    GROUND_CONTRAST,
    PATHS,
    SOIL,
    SUN_X,
    SUN_Y,
    TEXTURE,
    TREE,
    TREE_LEVEL,
    TREE_SIZE,
)  # fmt: skip

Rec = NDArray[np.float64]
F32 = NDArray[np.float32]
TREE_CELL = 14.0
"""Side of the cells that hold at most one tree or shrub each, in world units."""


def textures(
    origin: tuple[int, int, float], seed: np.uint64, st: Rec, shape: tuple[int, int], warp_size: float
) -> tuple[F32, F32]:
    """Draw the textures of a window.

    Returns fine, coarse and large texture around zero (3, H, W), and the displacement of shores (2, H, W).
    """
    row0, col0, inv = origin
    level = float(st[TEXTURE])
    tex = np.zeros((3, *shape), np.float32)
    warp = np.full((2, *shape), -warp_size, np.float32)
    add_noise(tex[0], row0, col0, inv, seed, 1, 2.4, 0.6 * level)
    add_noise(tex[0], row0, col0, inv, seed, 2, 7.0, 0.4 * level)
    add_noise(tex[1], row0, col0, inv, seed, 3, 21.0, 0.4 * level)
    add_noise(tex[1], row0, col0, inv, seed, 4, 64.0, 0.6 * level)
    add_noise(tex[2], row0, col0, inv, seed, 5, 190.0, 1.0)
    tex -= np.array([0.5 * level, 0.5 * level, 0.5], np.float32)[:, None, None]
    add_noise(warp[0], row0, col0, inv, seed, 6, 54.0, 2.0 * warp_size)
    add_noise(warp[1], row0, col0, inv, seed, 7, 54.0, 2.0 * warp_size)
    return tex, warp


@kernel
def _step(t: float, low: float, high: float) -> float:
    """Smooth step: 0 below low, 1 above high."""
    w = min(max((t - low) / (high - low), 0.0), 1.0)
    return w * w * (3.0 - 2.0 * w)


def paint_ground(origin: tuple[int, int, float], seed: np.uint64, st: Rec, pal: Rec, tex: F32) -> F32:
    """Paint a canvas (H, W, 3) of bare ground.

    Very large noise mixes two biomes of three tones each; bare soil and winding tracks lie on top.
    """
    row0, col0, inv = origin
    shape = tex.shape[1:]
    masks = np.zeros((3, *shape), np.float32)
    add_noise(masks[0], row0, col0, inv, seed, 30, 2300.0, 0.75)
    add_noise(masks[0], row0, col0, inv, seed, 31, 260.0, 0.25)
    add_noise(masks[1], row0, col0, inv, seed, 32, 150.0, 0.55)
    add_noise(masks[1], row0, col0, inv, seed, 33, 47.0, 0.28)
    add_noise(masks[1], row0, col0, inv, seed, 41, 15.0, 0.17)
    if st[PATHS] > 0.0:
        add_noise(masks[2], row0, col0, inv, seed, 34, 620.0, 0.85)
        add_noise(masks[2], row0, col0, inv, seed, 35, 140.0, 0.15)
    rgb = np.empty((*shape, 3), np.float32)
    _mix_ground(inv, st, pal, tex, masks, rgb)
    return rgb


@kernel
def _mix_ground(inv: float, st: Rec, pal: Rec, tex: F32, masks: F32, rgb: F32) -> None:
    """Mix the tones into `rgb`. masks (3, H, W): biome, soil patches, distance field of the tracks."""
    biome, patch, track = masks[0], masks[1], masks[2]
    rows, cols = biome.shape
    for r in range(rows):
        for c in range(cols):
            fine, coarse, large = float(tex[0, r, c]), float(tex[1, r, c]), float(tex[2, r, c])
            b = _step(float(biome[r, c]), 0.42, 0.58)
            a, e = _step(coarse + large, -0.35, 0.35), _step(large, 0.05, 0.4)
            soil = _step(float(patch[r, c]), st[BARE], st[BARE] + 0.08)
            k = 1.0 + st[GROUND_CONTRAST] * (0.8 * fine + 0.5 * coarse + 0.3 * large)
            w = 0.0
            if st[PATHS] > 0.0 and r + 1 < rows and c + 1 < cols:
                t = float(track[r, c])
                slope = math.sqrt((float(track[r + 1, c]) - t) ** 2 + (float(track[r, c + 1]) - t) ** 2) / inv
                w = 1.0 - _step(abs(t - 0.5), 0.6 * st[PATHS] * slope, 1.2 * st[PATHS] * slope + 1e-9)
            for ch in range(3):
                first = pal[GROUND, ch] + (pal[GROUND + 1, ch] - pal[GROUND, ch]) * a
                first += (pal[GROUND + 2, ch] - first) * e
                second = pal[GROUND + 3, ch] + (pal[GROUND + 4, ch] - pal[GROUND + 3, ch]) * a
                second += (pal[GROUND + 5, ch] - second) * e
                v = first + (second - first) * b
                v += (pal[SOIL, ch] - v) * soil
                v += (pal[SOIL + 1, ch] * 1.12 - v) * w
                rgb[r, c, ch] = v * k


@kernel
def _tree_density(seed: np.uint64, st: Rec, x: float, y: float) -> float:
    wood: float = noise_at(seed, 36, x, y, 420.0) * 0.7 + noise_at(seed, 37, x, y, 110.0) * 0.3
    return float(st[TREE_LEVEL]) + 0.85 * _step(wood, st[FOREST] - 0.06, st[FOREST] + 0.06)


@kernel
def paint_trees(
    origin: tuple[int, int, float],
    seed: np.uint64,
    st: Rec,
    pal: Rec,
    tex: F32,
    rgb: F32,
    height: F32,
    taken: NDArray[np.uint8],
) -> None:
    """Paint crowns, shrubs and a few rocks on free ground: woods by noise, single trees anywhere."""
    row0, col0, inv = origin
    rows, cols = taken.shape
    i0, i1 = math.floor(row0 * inv / TREE_CELL) - 1, math.floor((row0 + rows) * inv / TREE_CELL) + 2
    j0, j1 = math.floor(col0 * inv / TREE_CELL) - 1, math.floor((col0 + cols) * inv / TREE_CELL) + 2
    for i in range(i0, i1):
        for j in range(j0, j1):
            h = hash_cell(seed, 38, i, j)
            x, y = (j + unit(h, 1)) * TREE_CELL, (i + unit(h, 2)) * TREE_CELL
            density = _tree_density(seed, st, x, y)
            if unit(h, 0) >= density:
                continue
            shrub = unit(h, 3) < 0.25
            rock = shrub and unit(h, 8) < 0.25 and density < 0.3
            radius = (between(h, 4, 1.5, 3.0) if shrub else between(h, 4, 3.5, 8.5)) * st[TREE_SIZE]
            base, gain = pal[TREE + int(3.0 * unit(h, 5))], between(h, 6, 0.85, 1.25)
            _paint_crown(origin, x, y, radius, base, gain, rock, st, tex, rgb, height, taken)


@kernel
def _paint_crown(
    origin: tuple[int, int, float], x0: float, y0: float, radius: float, base: Rec, gain: float, rock: bool,
    st: Rec, tex: F32, rgb: F32, height: F32, taken: NDArray[np.uint8],
) -> None:  # fmt: skip
    row0, col0, inv = origin
    rows, cols = taken.shape
    r0, r1 = (
        max(math.floor((y0 - radius) / inv) - row0, 0),
        min(math.ceil((y0 + radius) / inv) - row0 + 1, rows),
    )
    c0, c1 = (
        max(math.floor((x0 - radius) / inv) - col0, 0),
        min(math.ceil((x0 + radius) / inv) - col0 + 1, cols),
    )
    for r in range(r0, r1):
        dy = (row0 + r + 0.5) * inv - y0
        for c in range(c0, c1):
            if taken[r, c]:
                continue
            dx = (col0 + c + 0.5) * inv - x0
            rad = math.sqrt(dx * dx + dy * dy) / radius
            fine = float(tex[0, r, c])
            if rad > 1.0 + 0.35 * fine:
                continue
            toward = (dx * st[SUN_X] + dy * st[SUN_Y]) / radius
            k = gain * (1.0 + 0.32 * toward + 0.5 * fine)
            if rock:
                rgb[r, c, 0], rgb[r, c, 1], rgb[r, c, 2] = 158.0 * k, 154.0 * k, 148.0 * k
                height[r, c] = 0.6
                continue
            for ch in range(3):
                rgb[r, c, ch] = base[ch] * k
            height[r, c] = max(float(height[r, c]), radius * 1.15 * (1.0 - 0.5 * rad * rad))
