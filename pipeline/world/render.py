"""Draw any window of a world: pixels, labels and the objects they belong to.

1. The window is padded by the longest shadow and the blur.
2. Textures and ground come first (ground.py). Objects are planned (layout.py), edited where the world is one
   of two dates (edits.py), and painted in order (paint_objects.py).
3. `_shade` casts shadows, `_expose` is the sensor.

No step uses a random generator or depends on where the window lies. So two windows agree bit by bit where
they overlap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tiling import Window
from pipeline.world.classes import CLASSES
from pipeline.world.compiled import kernel
from pipeline.world.edits import REACH, edit_objects
from pipeline.world.ground import paint_ground, paint_trees, textures
from pipeline.world.hashing import hash_cell
from pipeline.world.landscape import World
from pipeline.world.layout import plan
from pipeline.world.noise import noise_at
from pipeline.world.paint_objects import paint_all
from pipeline.world.shapes import CLS, WARP
from pipeline.world.style import (
    BLUR,
    BRIGHTNESS,
    CLOUD,
    CONTRAST,
    GAIN_B,
    GAIN_G,
    GAIN_R,
    GAMMA,
    HAZE,
    HAZE_C,
    NOISE,
    SATURATION,
    SHADOW_DARK,
    SHADOW_SLOPE,
    SUN_X,
    SUN_Y,
)  # fmt: skip

MAX_SHADOW = 24.0
"""Longest cast shadow, world units."""

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class WorldObject:
    """One object of a world, whether or not all of it lies in the window."""

    key: int
    """63-bit identity, the same in every window that shows the object."""
    class_name: str
    """One of CLASSES."""


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """What one window of a world looks like and holds."""

    window: Window
    rgb: NDArray[np.uint8]
    """(H, W, 3): red, green, blue."""
    labels: NDArray[np.int32]
    """(H, W): 0 = background, i = objects[i - 1], which may be in several pieces."""
    objects: tuple[WorldObject, ...]
    """The objects that have a pixel in the window."""


def render(world: World, window: Window) -> Rendering:
    """Draw a window; rows and columns may be negative. Equal windows of equal worlds give equal bits.

    No pixel outside the padded window is drawn or read.
    """
    if window.area_px == 0:
        empty = np.zeros(window.shape, np.int32)
        return Rendering(window=window, rgb=np.zeros((*window.shape, 3), np.uint8), labels=empty, objects=())
    style = world.style
    seed = np.uint64(world.seed)
    inv = 1.0 / world.scale
    st = style.numbers
    pal = style.palette
    pad = math.ceil(MAX_SHADOW * world.scale) + 2
    rows = window.height + 2 * pad
    cols = window.width + 2 * pad
    origin = (window.row0 - pad, window.col0 - pad, inv)
    box = np.array([origin[1] * inv, origin[0] * inv, (origin[1] + cols) * inv, (origin[0] + rows) * inv])
    table, keys = _objects(world, seed, box)
    allowed = np.array([True] + [name not in world.absent for name in CLASSES])
    chosen = allowed[table[:, CLS].astype(np.intp)]
    table, keys = table[chosen], keys[chosen]
    tex, warp = textures(origin, seed, st, (rows, cols), WARP)
    rgb = paint_ground(origin, seed, st, pal, tex)
    height = np.zeros((rows, cols), np.float32)
    owner = np.zeros((rows, cols), np.int32)
    taken = np.zeros((rows, cols), np.uint8)
    paint_all(table, origin, seed, rgb, owner, height, taken, tex, warp, st, pal)
    paint_trees(origin, seed, st, pal, tex, rgb, height, taken)
    _shade(origin, seed, st, rgb, height)
    out = np.empty((*window.shape, 3), np.uint8)
    _expose(origin, seed, st, pal, pad, _tone_curve(st), rgb, out)
    labels, used = _compact(owner[pad : pad + window.height, pad : pad + window.width], len(table))
    objects = tuple(
        WorldObject(key=int(keys[k]) >> 1, class_name=CLASSES[int(table[k, CLS]) - 1]) for k in used
    )
    return Rendering(window=window, rgb=out, labels=labels, objects=objects)


def _objects(world: World, seed: np.uint64, box: F64) -> tuple[F64, NDArray[np.uint64]]:
    """Records and keys of the objects near a box (x0, y0, x1, y1), at the world's date."""
    st = world.style.numbers
    pal = world.style.palette
    if world.edits is None:
        return plan(seed, box, st, pal)
    wide = box + np.array([-REACH, -REACH, REACH, REACH])
    return edit_objects(*plan(seed, wide, st, pal), seed, world.edits)


def _tone_curve(st: F64) -> F64:
    """Tabulate contrast, brightness and gamma over 0..255, in steps of 1/16."""
    v = np.arange(256 * 16) / 16.0
    v = 255.0 * (np.clip(v, 0, 255) / 255.0) ** st[GAMMA]
    curve: F64 = np.round(((v - 128.0) * st[CONTRAST] + 128.0 + st[BRIGHTNESS]) * 1024.0) / 1024.0
    return curve


@kernel
def _compact(owner: NDArray[np.int32], n: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Renumber owners (record + 1) as 1..m in record order; also returns the m record numbers."""
    seen = np.zeros(n + 1, np.int32)
    for r in range(owner.shape[0]):
        for c in range(owner.shape[1]):
            seen[owner[r, c]] = 1
    seen[0] = 0
    used = np.flatnonzero(seen) - 1
    for m in range(used.size):
        seen[used[m] + 1] = m + 1
    labels = np.empty(owner.shape, np.int32)
    for r in range(owner.shape[0]):
        for c in range(owner.shape[1]):
            labels[r, c] = seen[owner[r, c]]
    return labels, used


@kernel
def _shade(origin: tuple[int, int, float], seed: np.uint64, st: F64, rgb: F32, height: F32) -> None:
    """Darken pixels whose line to the sun is blocked within MAX_SHADOW, and pixels under a cloud."""
    rows, cols = height.shape
    row0, col0, inv = origin
    scale = 1.0 / inv
    steps = int(MAX_SHADOW * scale)
    drs, dcs = np.empty(steps, np.int64), np.empty(steps, np.int64)
    for s in range(steps):
        drs[s], dcs[s] = math.floor((s + 1) * st[SUN_Y] + 0.5), math.floor((s + 1) * st[SUN_X] + 0.5)
    tallest = float(height.max())
    reach = min(steps, int(tallest / st[SHADOW_SLOPE] * scale) + 1)
    for r in range(rows):
        for c in range(cols):
            own, hit = float(height[r, c]), 0.0
            for s in range(reach):
                rr, cc = r + drs[s], c + dcs[s]
                if rr < 0 or cc < 0 or rr >= rows or cc >= cols:
                    break
                over = float(height[rr, cc]) - own - (s + 1) * inv * st[SHADOW_SLOPE]
                if over > hit:
                    hit = over
                    if hit >= 0.7:
                        break
            k = 1.0 - st[SHADOW_DARK] * min(hit / 0.7, 1.0)
            if st[CLOUD] > 0.0:
                cover = noise_at(seed, 39, (col0 + c + 0.5) * inv, (row0 + r + 0.5) * inv, 700.0)
                k *= 1.0 - st[CLOUD] * min(max((cover - 0.55) * 8.0, 0.0), 1.0)
            if k < 1.0:
                rgb[r, c, 0] *= k
                rgb[r, c, 1] *= k
                rgb[r, c, 2] *= k + 0.12 * (1.0 - k)


@kernel
def _expose(
    origin: tuple[int, int, float],
    seed: np.uint64,
    st: F64,
    pal: F64,
    pad: int,
    curve: F64,
    rgb: F32,
    out: NDArray[np.uint8],
) -> None:
    """Turn scene radiance into 8 bits: blur, haze, saturation, gains, tone curve, hashed noise per pixel."""
    rows, cols = out.shape[0], out.shape[1]
    side = 0.25 * st[BLUR]
    mid = 1.0 - 2.0 * side
    gains = (st[GAIN_R], st[GAIN_G], st[GAIN_B])
    v = np.empty(3)
    for r in range(rows):
        for c in range(cols):
            for ch in range(3):
                total = 0.0
                for dr in range(-1, 2):
                    q = r + pad + dr
                    line = (
                        side * (rgb[q, c + pad - 1, ch] + rgb[q, c + pad + 1, ch]) + mid * rgb[q, c + pad, ch]
                    )
                    total += line * (mid if dr == 0 else side)
                v[ch] = total + (pal[HAZE_C, ch] - total) * st[HAZE]
            grey = 0.3 * v[0] + 0.59 * v[1] + 0.11 * v[2]
            h = hash_cell(seed, 40, origin[0] + pad + r, origin[1] + pad + c)
            for ch in range(3):
                value = (grey + (v[ch] - grey) * st[SATURATION]) * gains[ch]
                value = curve[min(max(int(value * 16.0), 0), 4095)]
                bits = h >> np.uint64(20 * ch)
                grain = (
                    float(bits & np.uint64(1023)) + float((bits >> np.uint64(10)) & np.uint64(1023)) - 1023.0
                )
                value += grain * (st[NOISE] / 418.0)
                out[r, c, ch] = int(min(max(value + 0.5, 0.0), 255.0))
