"""What may stand on one parcel: tank farms, greenhouses, solar arrays, ponds, houses and pools.

Every generator stays inside its parcel, a convex quad, so neighbouring parcels never collide. Its own objects
keep apart, except where they are meant to touch.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.world.classes import BUILDING, GREENHOUSE, LAKE, POOL, SCENERY, SOLAR, TANK
from pipeline.world.compiled import kernel
from pipeline.world.hashing import between, derive, direction, unit
from pipeline.world.shapes import (
    AUX,
    COS,
    CX,
    CY,
    DISC,
    ELL,
    HEIGHT,
    L_PAD,
    L_SITE,
    L_WATER,
    P1,
    P2,
    PERIOD,
    RECT,
    SIN,
    VARIANT,
    X1,
    A,
    B,
    put,
    put_blob,
    quad_depth,
)  # fmt: skip
from pipeline.world.style import GREEN_C, PANEL, ROAD, SOIL, TANK_C, WATER
from pipeline.world.water import is_free, paint_base

Table = NDArray[np.float64]


@kernel
def keep(
    t: Table, keys: NDArray[np.uint64], n: int, h: np.uint64, n_big: int, parcel: Table, margin: float
) -> int:
    """Keep record n - 1 if it lies inside the parcel and clear of lakes and runways, else drop it."""
    o = t[n - 1]
    for s in range(-1, 2, 2):
        for q in range(-1, 2, 2):
            x = o[CX] + s * o[A] * o[COS] - q * o[B] * o[SIN]
            y = o[CY] + s * o[A] * o[SIN] + q * o[B] * o[COS]
            if quad_depth(parcel, x, y) < margin:
                return n - 1
    if not is_free(t, n_big, o):
        return n - 1
    keys[n - 1] = derive(h, 7000)
    return n


@kernel
def add_tanks(
    t: Table,
    keys: NDArray[np.uint64],
    n: int,
    h: np.uint64,
    nb: int,
    parcel: Table,
    room: float,
    pal: Table,
) -> int:
    """Add 1 to 8 tanks on a grid, some of them touching, usually on a paved or bare pad."""
    count = 1 + int(8.0 * unit(h, 1) ** 1.2)
    cols = max(1, int(math.sqrt(count) + unit(h, 2)))
    rows = (count + cols - 1) // cols
    radius = 9.5 + 22.0 * unit(h, 3) ** 1.4
    pitch = 1.97 if unit(h, 4) < 0.3 else between(h, 4, 2.15, 2.8)
    radius = min(radius, 0.92 * room / (0.5 * pitch * math.sqrt(cols * cols + rows * rows)))
    if radius < 9.2:
        count, cols, rows, radius = 1, 1, 1, min(between(h, 3, 12.0, 30.0), 0.8 * room)
    co, si = direction(3.14159 * unit(h, 5))
    x0, y0 = parcel[CX], parcel[CY]
    step = pitch * radius
    if unit(h, 6) < 0.7:
        n = put(t, n, SCENERY, RECT, L_PAD, x0, y0, co, si, 0.5 * cols * step + 6.0, 0.5 * rows * step + 6.0)
        paint_base(
            t[n - 1],
            pal[SOIL + int(2.0 * unit(h, 7))] if unit(h, 8) < 0.6 else pal[ROAD],
            between(h, 9, 0.9, 1.15),
        )
        t[n - 1, VARIANT] = 2
        n = keep(t, keys, n, derive(h, 10), nb, parcel, 0.0)
    shade, shrink = unit(h, 11), 0.0 if pitch < 2.0 else 0.22
    for k in range(count):
        g = derive(h, 20 + k)
        if count > 2 and unit(g, 0) < 0.1:
            continue
        u, v = ((k % cols) - 0.5 * (cols - 1)) * step, ((k // cols) - 0.5 * (rows - 1)) * step
        r = max(radius * (1.0 - shrink * unit(g, 1)), 9.2)
        n = put(t, n, TANK, DISC, L_SITE, x0 + u * co - v * si, y0 + u * si + v * co, 1.0, 0.0, r, r)
        o = t[n - 1]
        paint_base(
            o, pal[TANK_C + int(4.0 * (shade if unit(g, 2) < 0.7 else unit(g, 3)))], between(g, 4, 0.93, 1.05)
        )
        o[HEIGHT], o[VARIANT], o[AUX] = (
            between(g, 5, 5.0, 11.0),
            (1.0 if unit(g, 6) < 0.35 else 0.0),
            between(g, 7, 0.0, 6.28),
        )
        n = keep(t, keys, n, g, nb, parcel, 2.0)
    return n


@kernel
def add_greenhouses(
    t: Table, keys: NDArray[np.uint64], n: int, h: np.uint64, nb: int, parcel: Table, room: float, pal: Table
) -> int:
    """Add 1 to 6 greenhouses side by side, touching or with narrow gaps."""
    count = 1 + int(6.0 * unit(h, 1))
    wide, long = between(h, 2, 12.5, 25.0), between(h, 3, 30.0, 70.0)
    gap = 0.0 if unit(h, 4) < 0.35 else between(h, 5, 4.0, 12.0)
    long = min(long, 0.85 * room)
    while count > 1 and math.hypot(0.5 * count * (2.0 * wide + gap), long) > 0.97 * room:
        count -= 1
    co, si = direction(3.14159 * unit(h, 6))
    tone, tint = unit(h, 7), unit(h, 8)
    for k in range(count):
        g = derive(h, 20 + k)
        v = (k - 0.5 * (count - 1)) * (2.0 * wide + gap)
        n = put(t, n, GREENHOUSE, RECT, L_SITE, parcel[CX] - v * si, parcel[CY] + v * co, co, si, long, wide)
        o = t[n - 1]
        base = np.array([214.0 + 26.0 * tone, 220.0 + 22.0 * tone, 216.0 + 26.0 * tone])
        mixed = base * (1.0 - 0.3 * tint) + pal[GREEN_C] * (0.3 * tint)
        paint_base(o, mixed, between(g, 1, 0.93, 1.04))
        o[HEIGHT], o[VARIANT] = between(h, 9, 2.5, 4.5), (1.0 if unit(h, 10) < 0.5 else 0.0)
        o[PERIOD], o[AUX] = between(h, 11, 5.0, 9.0), unit(g, 2)
        n = keep(t, keys, n, g, nb, parcel, 2.0)
    return n


@kernel
def add_solar(
    t: Table, keys: NDArray[np.uint64], n: int, h: np.uint64, nb: int, parcel: Table, room: float, pal: Table
) -> int:
    """Add one or two fields of panel rows; a whole field, gaps between rows included, is one object."""
    count = 2 if unit(h, 1) < 0.35 else 1
    co, si = direction(between(h, 2, -0.5, 0.5) if unit(h, 3) < 0.7 else 3.14159 * unit(h, 2))
    long, wide = between(h, 4, 24.0, 90.0), between(h, 5, 22.0, 80.0)
    gap = between(h, 6, 10.0, 24.0)
    fit = math.hypot(long, count * wide + (count - 1) * 0.5 * gap)
    if fit > 0.98 * room:
        long, wide = max(long * 0.98 * room / fit, 20.0), max(wide * 0.98 * room / fit, 20.0)
    tone, rows = int(2.0 * unit(h, 7)), between(h, 8, 10.0, 16.0)
    for k in range(count):
        g = derive(h, 20 + k)
        v = (k - 0.5 * (count - 1)) * (2.0 * wide + gap)
        lines = max(2.0, round(2.0 * wide / rows))
        n = put(t, n, SOLAR, RECT, L_SITE, parcel[CX] - v * si, parcel[CY] + v * co, co, si, long, wide)
        o = t[n - 1]
        paint_base(o, pal[PANEL + tone], between(g, 1, 0.9, 1.15))
        o[HEIGHT], o[PERIOD], o[AUX], o[P2] = (
            1.6,
            2.0 * wide / lines,
            between(h, 9, 0.16, 0.34),
            between(h, 10, 5.0, 8.0),
        )
        o[VARIANT] = 1.0 if unit(h, 11) < 0.6 else 0.0
        n = keep(t, keys, n, g, nb, parcel, 2.0)
    return n


@kernel
def add_pond(
    t: Table, keys: NDArray[np.uint64], n: int, h: np.uint64, nb: int, parcel: Table, room: float, pal: Table
) -> int:
    """Add a small lake inside one parcel."""
    radius = min(between(h, 1, 46.0, 110.0), 0.62 * room)
    if radius < 34.0:
        return n
    n = put_blob(t, n, LAKE, L_WATER, parcel[CX], parcel[CY], radius, h)
    o = t[n - 1]
    paint_base(o, pal[WATER + int(unit(h, 4) * 4.0)], between(h, 5, 0.9, 1.12))
    o[PERIOD], o[AUX] = unit(h, 7), between(h, 8, 0.55, 0.8)
    reach = o[X1] - o[CX]
    for k in range(8):
        co, si = direction(0.7853981633974483 * k)
        if quad_depth(parcel, o[CX] + reach * co, o[CY] + reach * si) < 4.0:
            return n - 1
    return keep(t, keys, n, h, nb, parcel, 0.0)


@kernel
def put_house(
    t: Table,
    n: int,
    g: np.uint64,
    cx: float,
    cy: float,
    co: float,
    si: float,
    a: float,
    b: float,
    roof: Table,
) -> int:
    """Add a building with a pitched, hipped or flat roof; some are L-shaped."""
    wing = unit(g, 1) < 0.22 and min(a, b) > 15.0
    n = put(t, n, BUILDING, ELL if wing else RECT, L_SITE, cx, cy, co, si, a, b)
    o = t[n - 1]
    if wing:
        o[P1], o[P2], o[AUX] = (
            1.0 if unit(g, 2) < 0.5 else -1.0,
            1.0 if unit(g, 3) < 0.5 else -1.0,
            between(g, 4, -0.15, 0.12),
        )
    paint_base(o, roof, between(g, 5, 0.88, 1.12))
    small = min(a, b) < 22.0
    o[VARIANT] = (0.0 if unit(g, 6) < 0.55 else 1.0) if small and not wing else 2.0
    if small and wing:
        o[VARIANT] = 3.0
    o[HEIGHT] = between(g, 7, 4.0, 7.5) if small else between(g, 7, 6.0, 13.0)
    o[PERIOD] = between(g, 8, 3.0, 6.0)
    return n


@kernel
def put_pool(t: Table, n: int, g: np.uint64, cx: float, cy: float, co: float, si: float) -> int:
    """Add a small basin with a pale rim: a rounded rectangle, an oval or a circle."""
    a, b = between(g, 1, 8.5, 14.0), between(g, 2, 7.0, 9.5)
    form = unit(g, 3)
    if form > 0.88:
        a = b = between(g, 1, 7.5, 11.0)
    n = put(t, n, POOL, RECT, L_SITE, cx, cy, co, si, a, b)
    o = t[n - 1]
    o[P1] = 1.5 if form < 0.45 else (min(a, b) if form > 0.8 else between(g, 4, 2.0, 6.0))
    tone = unit(g, 5)
    paint_base(o, np.array([44.0 + 62.0 * tone, 168.0 + 46.0 * unit(g, 6), 206.0 + 30.0 * unit(g, 7)]), 1.0)
    o[VARIANT], o[AUX] = (1.0 if unit(g, 8) < 0.75 else 0.0), between(g, 9, 1.4, 2.6)
    return n
