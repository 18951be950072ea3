"""Blocks of town: rows of touching houses, detached houses with pools, flats, sheds with parking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.world.classes import SCENERY
from pipeline.world.compiled import kernel
from pipeline.world.hashing import between, derive, direction, unit
from pipeline.world.shapes import CX, CY, HEIGHT, L_PAD, L_SITE, P1, RECT, VARIANT, put
from pipeline.world.sites import keep, put_house, put_pool
from pipeline.world.style import DENSE, HOUSE_SIZE, POOLS, ROAD, ROOF
from pipeline.world.water import paint_base

Table = NDArray[np.float64]
Keys = NDArray[np.uint64]


@kernel
def roof_of(g: np.uint64, k: int, pal: Table, flat: bool) -> Table:
    """Choose a roof colour: one of two common ones, or a rare one that differs for pitched and flat roofs."""
    common = 0 if unit(g, k + 1) < 0.6 else 1
    rare = (2 if flat else 5) + int(unit(g, k + 1) * 3.0)
    row = ROOF + (common if unit(g, k) < 0.6 else rare)
    roof: Table = pal[row]
    return roof


@kernel
def add_cars(
    t: Table,
    n: int,
    h: np.uint64,
    cx: float,
    cy: float,
    co: float,
    si: float,
    a: float,
    b: float,
    pal: Table,
) -> int:
    """Add a paved lot with parked cars, which is scenery."""
    n = put(t, n, SCENERY, RECT, L_PAD, cx, cy, co, si, a, b)
    paint_base(t[n - 1], pal[ROAD], between(h, 1, 0.85, 1.1))
    t[n - 1, VARIANT] = 2
    rows, cols = int(b / 11.0), int(a / 3.6)
    for r in range(rows):
        for c in range(cols):
            g = derive(h, 100 + 40 * r + c)
            if unit(g, 0) < 0.45:
                u, v = (c + 0.5) * 2.0 * a / cols - a, (r + 0.5) * 2.0 * b / rows - b
                n = put(
                    t, n, SCENERY, RECT, L_SITE, cx + u * co - v * si, cy + u * si + v * co, co, si, 1.7, 3.6
                )
                o = t[n - 1]
                tone = 40.0 + 200.0 * unit(g, 1)
                paint_base(
                    o, np.array([tone, tone * between(g, 2, 0.6, 1.0), tone * between(g, 3, 0.6, 1.0)]), 1.0
                )
                o[HEIGHT], o[P1], o[VARIANT] = 1.4, 0.8, 9
    return n


@kernel
def add_row_houses(
    t: Table, keys: Keys, n: int, h: np.uint64, nb: int, parcel: Table, f: Table, pal: Table
) -> int:
    """Add two terraces of narrow, touching houses. f: centre, axis and half lengths of the block."""
    cx, cy, co, si, hu, hv = f[0], f[1], f[2], f[3], f[4], f[5]
    wide, deep = between(h, 1, 10.5, 16.0), between(h, 2, 12.5, 18.0)
    if hv < deep + 4.0:
        return n
    for side in range(-1, 2, 2):
        if side > 0 and hv < 2.0 * deep + 10.0:
            break
        v = side * (hv - deep - 3.0)
        u, k, left = -hu + wide + 2.0, 0, 3 + int(6.0 * unit(h, 3))
        while u + wide < hu:
            g = derive(h, 200 + 100 * side + k)
            roof = roof_of(derive(h, side + 7), 0, pal, False)
            n = put_house(t, n, g, cx + u * co - v * si, cy + u * si + v * co, co, si, wide, deep, roof)
            t[n - 1, VARIANT] = 0.0
            t[n - 1, HEIGHT] = between(h, 4, 4.5, 7.0)
            n = keep(t, keys, n, g, nb, parcel, 7.0)
            u, k, left = u + 2.0 * wide, k + 1, left - 1
            if left == 0:
                u, left = u + 14.0, 3 + int(6.0 * unit(g, 20))
    return n


@kernel
def add_villas(
    t: Table, keys: Keys, n: int, h: np.uint64, nb: int, parcel: Table, f: Table, st: Table, pal: Table
) -> int:
    """Add detached houses along both long sides of a block; some have a pool behind the house."""
    cx, cy, co, si, hu, hv = f[0], f[1], f[2], f[3], f[4], f[5]
    lots = max(1, int(2.0 * hu / between(h, 1, 62.0, 96.0)))
    lot = 2.0 * hu / lots
    sides = 2 if hv > 62.0 else 1
    for s in range(sides):
        sign = 1.0 if s == 0 else -1.0
        for k in range(lots):
            g = derive(h, 300 + 50 * s + k)
            if unit(g, 30) < 0.12:
                continue
            size = st[HOUSE_SIZE]
            a, b = min(between(g, 31, 13.0, 24.0) * size, 0.45 * lot), between(g, 32, 11.5, 17.0) * size
            c2, s2 = direction(between(g, 33, -0.12, 0.12))
            hc, hs = co * c2 - si * s2, si * c2 + co * s2
            u, v = (
                -hu + (k + 0.5) * lot + between(g, 34, -4.0, 4.0),
                sign * (hv - b - between(g, 35, 4.0, 12.0)),
            )
            n = put_house(
                t, n, g, cx + u * co - v * si, cy + u * si + v * co, hc, hs, a, b, roof_of(g, 36, pal, False)
            )
            n = keep(t, keys, n, g, nb, parcel, 7.0)
            back = v - sign * (b + between(g, 37, 14.0, 20.0))
            if st[POOLS] * 0.8 > unit(g, 38) and sign * back > 12.0:
                u += between(g, 39, -0.2, 0.2) * lot
                if unit(g, 40) < 0.3:
                    hc, hs = -hs, hc
                n = put_pool(t, n, derive(g, 41), cx + u * co - back * si, cy + u * si + back * co, hc, hs)
                n = keep(t, keys, n, derive(g, 42), nb, parcel, 4.0)
    return n


@kernel
def add_flats(
    t: Table, keys: Keys, n: int, h: np.uint64, nb: int, parcel: Table, f: Table, pal: Table
) -> int:
    """Add large flat-roofed buildings on a grid, a few of them touching, and now and then a parking lot."""
    cx, cy, co, si, hu, hv = f[0], f[1], f[2], f[3], f[4], f[5]
    cols, rows = (
        max(1, int(2.0 * hu / between(h, 1, 62.0, 100.0))),
        max(1, int(2.0 * hv / between(h, 2, 58.0, 90.0))),
    )
    du, dv = 2.0 * hu / cols, 2.0 * hv / rows
    for r in range(rows):
        for c in range(cols):
            g = derive(h, 400 + 20 * r + c)
            u, v = -hu + (c + 0.5) * du, -hv + (r + 0.5) * dv
            x, y = cx + u * co - v * si, cy + u * si + v * co
            if unit(g, 50) < 0.14:
                n = add_cars(t, n, g, x, y, co, si, 0.42 * du, 0.38 * dv, pal)
                continue
            fill = 0.5 if unit(g, 51) < 0.25 else between(g, 51, 0.3, 0.44)
            a, b = min(max(fill * du, 10.0), 40.0), min(max(between(g, 52, 0.28, 0.42) * dv, 10.0), 40.0)
            n = put_house(t, n, g, x, y, co, si, a, b, roof_of(g, 53, pal, True))
            n = keep(t, keys, n, g, nb, parcel, 7.0)
    return n


@kernel
def add_block(
    t: Table, keys: Keys, n: int, h: np.uint64, nb: int, parcel: Table, f: Table, st: Table, pal: Table
) -> int:
    """Add one town block; denser worlds have more rows and flats."""
    pick = unit(h, 60)
    if pick < 0.1:
        return n
    if pick < 0.1 + 0.25 * st[DENSE]:
        return add_flats(t, keys, n, h, nb, parcel, f, pal)
    if pick < 0.1 + 0.6 * st[DENSE]:
        return add_row_houses(t, keys, n, h, nb, parcel, f, pal)
    return add_villas(t, keys, n, h, nb, parcel, f, st, pal)


@kernel
def add_lone_house(t: Table, keys: Keys, n: int, h: np.uint64, nb: int, parcel: Table, pal: Table) -> int:
    """Add a farmhouse, perhaps with a barn beside it."""
    co, si = direction(3.14159 * unit(h, 61))
    a, b = between(h, 62, 14.0, 26.0), between(h, 63, 12.0, 18.0)
    n = put_house(t, n, h, parcel[CX], parcel[CY], co, si, a, b, roof_of(h, 64, pal, False))
    n = keep(t, keys, n, h, nb, parcel, 4.0)
    if unit(h, 66) < 0.4:
        g = derive(h, 67)
        v = b + between(g, 1, 22.0, 34.0)
        a, b = between(g, 2, 16.0, 36.0), between(g, 3, 11.0, 17.0)
        n = put_house(
            t, n, g, parcel[CX] - v * si, parcel[CY] + v * co, co, si, a, b, roof_of(g, 64, pal, True)
        )
        n = keep(t, keys, n, g, nb, parcel, 4.0)
    return n


@kernel
def add_resort(t: Table, keys: Keys, n: int, h: np.uint64, nb: int, parcel: Table, pal: Table) -> int:
    """Add a house with one or two pools."""
    n = add_lone_house(t, keys, n, h, nb, parcel, pal)
    co, si = direction(3.14159 * unit(h, 61))
    for k in range(1 + int(1.6 * unit(h, 70))):
        g = derive(h, 71 + k)
        u, v = between(g, 10, -24.0, 24.0), -(between(g, 11, 40.0, 50.0) + 34.0 * k)
        n = put_pool(t, n, g, parcel[CX] + u * co - v * si, parcel[CY] + u * si + v * co, co, si)
        n = keep(t, keys, n, derive(g, 12), nb, parcel, 4.0)
    return n


@kernel
def add_shed(
    t: Table, keys: Keys, n: int, h: np.uint64, nb: int, parcel: Table, room: float, pal: Table
) -> int:
    """Add a large flat shed, perhaps with a parking lot at its side."""
    co, si = direction(3.14159 * unit(h, 61))
    a, b = min(between(h, 62, 28.0, 40.0), 0.6 * room), min(between(h, 63, 22.0, 38.0), 0.5 * room)
    n = put_house(t, n, h, parcel[CX], parcel[CY], co, si, a, b, roof_of(h, 64, pal, True))
    n = keep(t, keys, n, h, nb, parcel, 4.0)
    if unit(h, 65) < 0.6 and room > 75.0:
        v = b + 18.0
        n = add_cars(t, n, derive(h, 66), parcel[CX] - v * si, parcel[CY] + v * co, co, si, a, 13.0, pal)
    return n
