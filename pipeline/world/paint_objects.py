"""Paint object records on a canvas; every kind of object has a colour function of its own.

A colour function takes the record, the pixel's position in the object's axes (u along, v across), its depth
inside the outline, and texture values in about [-0.5, 0.5]. It returns red, green and blue in 0..255 (float).
Code per pixel uses only + - * / sqrt floor and comparisons: they give the same bits on every machine.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.world.classes import BUILDING, GREEN, GREENHOUSE, LAKE, POOL, RUNWAY, SOLAR, TANK
from pipeline.world.compiled import kernel
from pipeline.world.hashing import hash_cell, unit
from pipeline.world.noise import noise_at
from pipeline.world.shapes import (
    AUX,
    BLOB,
    BLUE,
    CLS,
    COS,
    CX,
    CY,
    DISC,
    GREEN_,
    HEIGHT,
    L_FIELD,
    L_ROAD,
    LAYER,
    LAYERS,
    P2,
    PERIOD,
    RED,
    SHAPE,
    SIN,
    VARIANT,
    X0,
    X1,
    Y0,
    Y1,
    A,
    B,
    depth,
)  # fmt: skip
from pipeline.world.style import ROW_VISIBLE, SOIL, SUN_X, SUN_Y

Rec = NDArray[np.float64]
Colour = tuple[float, float, float]


@kernel
def tri(t: float) -> float:
    """Triangle wave of period 1 in [-1, 1]."""
    return abs(t - math.floor(t) - 0.5) * 4.0 - 1.0


@kernel
def frac(t: float) -> float:
    """Fractional part in [0, 1)."""
    return t - math.floor(t)


@kernel
def scale_colour(o: Rec, k: float) -> Colour:
    """Base colour times k."""
    return o[RED] * k, o[GREEN_] * k, o[BLUE] * k


@kernel
def building(o: Rec, u: float, v: float, d: float, fine: float, st: Rec) -> Colour:
    """Roofs: gable (0), hip (1, 3), flat with parapet and plant (2)."""
    variant = o[VARIANT]
    k = 1.0 + 0.12 * fine
    if variant == 2.0:
        if d < 1.7:
            k *= 1.16 if o[PERIOD] > 4.5 else 0.8
        elif d > 4.0:
            cu, cv = math.floor(u / 8.0), math.floor(v / 8.0)
            h = hash_cell(np.uint64(77), int(o[CX]), int(cu), int(cv))
            if unit(h, 0) < 0.13 and abs(u - (cu + 0.5) * 8.0) < 2.6 and abs(v - (cv + 0.5) * 8.0) < 2.0:
                k *= 1.3 if unit(h, 1) < 0.5 else 0.7
        return scale_colour(o, k)
    across = True
    if variant != 0.0:
        across = o[B] - abs(v) < o[A] - abs(u)
    if across:
        sign = 1.0 if v > 0.0 else -1.0
        light = sign * (o[COS] * st[SUN_Y] - o[SIN] * st[SUN_X])
        k *= 1.0 + 0.05 * tri(u / o[PERIOD])
        if abs(v) < 0.9:
            k *= 1.12
    else:
        sign = 1.0 if u > 0.0 else -1.0
        light = sign * (o[COS] * st[SUN_X] + o[SIN] * st[SUN_Y])
        k *= 1.0 + 0.05 * tri(v / o[PERIOD])
    k *= 1.0 + 0.24 * light
    if d < 0.9:
        k *= 0.88
    return scale_colour(o, k)


@kernel
def tank(o: Rec, dx: float, dy: float, d: float, fine: float, st: Rec) -> Colour:
    """Round tank: a bright rim, and a cone roof in the sun or a sunken roof with the shadow of its wall."""
    radius = o[A]
    rad = radius - d
    toward = (dx * st[SUN_X] + dy * st[SUN_Y]) / radius
    k = 1.0 + 0.06 * fine
    if d < 1.7:
        return scale_colour(o, k * (1.04 + 0.22 * toward))
    if o[VARIANT] > 0.0:
        if d < 2.9:
            return scale_colour(o, k * 0.62)
        sx, sy = dx + st[SUN_X] * 0.34 * radius, dy + st[SUN_Y] * 0.34 * radius
        return scale_colour(o, k * (0.5 if math.sqrt(sx * sx + sy * sy) > radius - 2.0 else 0.84))
    if d < 2.7:
        return scale_colour(o, k * 0.78)
    if rad < 1.5:
        return scale_colour(o, k * 0.7)
    k *= 0.97 + 0.16 * toward
    if abs(rad - 0.55 * radius) < 0.5:
        k *= 0.93
    return scale_colour(o, k)


@kernel
def pool(o: Rec, d: float, fine: float, coarse: float) -> Colour:
    """Cyan water inside a pale rim."""
    if o[VARIANT] > 0.0 and d < o[AUX]:
        k = 1.0 + 0.08 * fine
        return 226.0 * k, 222.0 * k, 210.0 * k
    k = 1.0 + 0.16 * fine + 0.1 * coarse - (0.1 if d < o[AUX] + 1.2 else 0.0)
    return scale_colour(o, k)


@kernel
def greenhouse(o: Rec, u: float, v: float, d: float, fine: float, st: Rec) -> Colour:
    """Pale translucent roof with ribs across, or with gutters along."""
    k = 1.0 + 0.05 * fine
    if d < 1.3:
        return scale_colour(o, 0.66 * k)
    light = o[COS] * st[SUN_Y] - o[SIN] * st[SUN_X]
    if o[VARIANT] > 0.0:
        k *= 1.0 + 0.13 * light * v / o[B]
        if frac(u / o[PERIOD]) * o[PERIOD] < 1.7:
            k *= 0.82
        if abs(v) < 0.8:
            k *= 0.88
    else:
        span = 1.6 * o[PERIOD]
        k *= 1.0 + 0.12 * light * tri(v / span)
        if frac(v / span) * span < 1.6:
            k *= 0.78
        if frac(u / (2.2 * o[PERIOD])) < 0.1:
            k *= 0.92
    return scale_colour(o, k)


@kernel
def solar(o: Rec, u: float, v: float, fine: float, below: Colour) -> Colour:
    """Dark blue panels in rows with thin pale cell lines; the ground shows between the rows."""
    row = frac((v + o[B]) / o[PERIOD])
    if row < o[AUX]:
        if o[VARIANT] > 0.0:
            return below[0] * 0.82, below[1] * 0.82, below[2] * 0.82
        return 128.0 + 30.0 * fine, 130.0 + 30.0 * fine, 134.0 + 30.0 * fine
    k = 1.0 + 0.12 * fine + 0.25 * (row - 0.6)
    if frac((u + o[A]) / o[P2]) * o[P2] < 0.9:
        return 96.0 * k, 108.0 * k, 132.0 * k
    return scale_colour(o, k)


@kernel
def runway(o: Rec, u: float, v: float, fine: float, coarse: float) -> Colour:
    """Tarmac or concrete with threshold bars, centre line, edge lines, touchdown marks and tyre wear."""
    end, side = o[A] - abs(u), o[B] - abs(v)
    white = abs(v) < 1.1 and end > 46.0 and frac(u / o[PERIOD]) < 0.56
    white = white or (8.0 < end < 40.0 and side > 3.5 and frac((abs(v) + 1.0) / 5.2) > 0.46)
    if o[VARIANT] > 0.0:
        white = white or 1.6 < side < 3.2
        white = white or (112.0 < end < 146.0 and 0.3 * o[B] < abs(v) < 0.5 * o[B])
    k = 1.0 + 0.14 * fine + 0.12 * coarse
    if white:
        return 226.0 * k, 226.0 * k, 222.0 * k
    if end < 320.0 and abs(v) < 0.42 * o[B]:
        k *= 1.0 - 0.22 * (1.0 - end / 320.0)
    if frac(u / 61.0) < 0.012:
        k *= 0.88
    return scale_colour(o, k)


@kernel
def field(o: Rec, u: float, v: float, rad: float, tex: Colour, st: Rec, pal: Rec) -> Colour:
    """Crop rows (rings around a pivot), tramlines and patches; tex = fine, coarse and large texture."""
    across = rad if o[SHAPE] == DISC and o[VARIANT] > 0.0 else v
    row = tri(across / o[PERIOD])
    k = 1.0 + 0.10 * tex[0] + 0.22 * tex[1] + 0.12 * tex[2] + 0.11 * st[ROW_VISIBLE] * row
    if frac(across / o[P2]) * o[P2] < 1.9:
        k *= 0.84
    if o[SHAPE] == DISC and abs(v) < 0.9 and u > 0.0:
        k *= 1.25
    r, g, b = scale_colour(o, k)
    if o[CLS] == GREEN and o[AUX] > 0.45 and row < -0.1:
        w = 0.42 * (o[AUX] - 0.2) * min(-row * 2.0, 1.0)
        r, g, b = (
            r + (pal[SOIL, 0] * k - r) * w,
            g + (pal[SOIL, 1] * k - g) * w,
            b + (pal[SOIL, 2] * k - b) * w,
        )
    return r, g, b


@kernel
def lake(o: Rec, d: float, fine: float, coarse: float, pal: Rec) -> Colour:
    """Smooth dark water, shallower along the shore."""
    k = 1.0 + (0.02 + 0.07 * o[PERIOD]) * fine + 0.10 * coarse
    r, g, b = scale_colour(o, k)
    shallow = 12.0 * o[AUX] + 3.0
    if d < shallow:
        w = 0.34 * (1.0 - d / shallow)
        r, g, b = r + (pal[SOIL, 0] - r) * w, g + (pal[SOIL, 1] - g) * w, b + (pal[SOIL, 2] - b) * w
    return r, g, b


@kernel
def scenery(o: Rec, u: float, v: float, fine: float, coarse: float, below: Colour) -> Colour:
    """Roads (1), pads and tracks (2), runway strips (3), cars (9)."""
    variant = o[VARIANT]
    k = 1.0 + 0.10 * fine + 0.10 * coarse
    if variant == 3.0:
        return (
            0.55 * below[0] + 0.45 * o[RED] * k,
            0.55 * below[1] + 0.45 * o[GREEN_] * k,
            0.55 * below[2] + 0.45 * o[BLUE] * k,
        )
    if variant == 9.0:
        return scale_colour(o, 0.55 if abs(abs(v) - 0.9) < 0.5 else 1.0)
    if variant == 1.0 and o[LAYER] == L_ROAD and abs(v) < 0.55 and o[B] > 4.6 and frac(u / 13.0) < 0.5:
        return 205.0, 203.0, 192.0
    return scale_colour(o, k)


@kernel
def colour_of(o: Rec, x: float, y: float, d: float, tex: Colour, below: Colour, st: Rec, pal: Rec) -> Colour:
    """Colour of one pixel of an object."""
    dx, dy = x - o[CX], y - o[CY]
    u, v = dx * o[COS] + dy * o[SIN], dy * o[COS] - dx * o[SIN]
    cls = o[CLS]
    if o[LAYER] == L_FIELD:
        return field(o, u, v, math.sqrt(dx * dx + dy * dy), tex, st, pal)
    if cls == BUILDING:
        return building(o, u, v, d, tex[0], st)
    if cls == LAKE:
        return lake(o, d, tex[0], tex[1], pal)
    if cls == TANK:
        return tank(o, dx, dy, d, tex[0], st)
    if cls == POOL:
        return pool(o, d, tex[0], tex[1])
    if cls == GREENHOUSE:
        return greenhouse(o, u, v, d, tex[0], st)
    if cls == SOLAR:
        return solar(o, u, v, tex[0], below)
    if cls == RUNWAY:
        return runway(o, u, v, tex[0], tex[1])
    return scenery(o, u, v, tex[0], tex[1], below)


@kernel
def paint_one(
    k: int,
    o: Rec,
    origin: tuple[int, int, float],
    seed: np.uint64,
    rgb: NDArray[np.float32],
    owner: NDArray[np.int32],
    height: NDArray[np.float32],
    taken: NDArray[np.uint8],
    tex: NDArray[np.float32],
    warp: NDArray[np.float32],
    st: Rec,
    pal: Rec,
) -> None:
    """Paint record k on canvases (H, W); its label is k + 1 when it has a class.

    `origin`: (row, col) of the canvases' top-left pixel, and 1 / scale.
    """
    row0, col0, inv = origin
    rows, cols = owner.shape
    r0, r1 = max(math.floor(o[Y0] / inv) - row0 - 1, 0), min(math.ceil(o[Y1] / inv) - row0 + 1, rows)
    c0, c1 = max(math.floor(o[X0] / inv) - col0 - 1, 0), min(math.ceil(o[X1] / inv) - col0 + 1, cols)
    blob, island = o[SHAPE] == BLOB, o[SHAPE] == BLOB and o[VARIANT] > 0.0
    label = k + 1 if o[CLS] > 0.0 else 0
    salt = 40 + int(o[PERIOD] * 1000.0)
    for r in range(r0, r1):
        y = (row0 + r + 0.5) * inv
        for c in range(c0, c1):
            x = (col0 + c + 0.5) * inv
            if blob:
                d = depth(o, x + float(warp[0, r, c]), y + float(warp[1, r, c]))
                if island and d > 0.22 * o[A] and noise_at(seed, salt, x, y, 0.5 * o[A]) > o[AUX]:
                    continue
            else:
                d = depth(o, x, y)
            if d < 0.0:
                continue
            tx = (float(tex[0, r, c]), float(tex[1, r, c]), float(tex[2, r, c]))
            below = (float(rgb[r, c, 0]), float(rgb[r, c, 1]), float(rgb[r, c, 2]))
            red, green, blue = colour_of(o, x, y, d, tx, below, st, pal)
            rgb[r, c, 0], rgb[r, c, 1], rgb[r, c, 2] = red, green, blue
            owner[r, c], height[r, c], taken[r, c] = label, o[HEIGHT], 1


@kernel
def paint_all(
    table: Rec,
    origin: tuple[int, int, float],
    seed: np.uint64,
    rgb: NDArray[np.float32],
    owner: NDArray[np.int32],
    height: NDArray[np.float32],
    taken: NDArray[np.uint8],
    tex: NDArray[np.float32],
    warp: NDArray[np.float32],
    st: Rec,
    pal: Rec,
) -> None:
    """Paint all records, layer by layer, in table order within a layer."""
    row0, col0, inv = origin
    y0, y1 = row0 * inv, (row0 + owner.shape[0]) * inv
    x0, x1 = col0 * inv, (col0 + owner.shape[1]) * inv
    for layer in range(LAYERS):
        for k in range(table.shape[0]):
            o = table[k]
            if o[LAYER] != layer or o[X1] < x0 or o[X0] > x1 or o[Y1] < y0 or o[Y0] > y1:
                continue
            paint_one(k, o, origin, seed, rgb, owner, height, taken, tex, warp, st, pal)
