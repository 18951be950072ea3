"""Runways and lakes, which lie across everything else, each on a coarse lattice of their own.

A candidate never leaves its lattice cell, so two runways or two lakes cannot meet. A lake whose outline comes
near a runway candidate is not drawn. Since every window sees the same candidates, all draw the same lakes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.world.classes import LAKE, RUNWAY
from pipeline.world.compiled import kernel
from pipeline.world.hashing import between, derive, direction, hash_cell, unit
from pipeline.world.shapes import (
    AUX,
    BLOB,
    BLUE,
    COS,
    CX,
    CY,
    GREEN_,
    L_RUNWAY,
    L_STRIP,
    L_WATER,
    PERIOD,
    QUAD,
    RECT,
    RED,
    SHAPE,
    SIN,
    VARIANT,
    WARP,
    X0,
    X1,
    Y0,
    Y1,
    A,
    B,
    blob_depth,
    depth,
    put,
    put_blob,
    quad_depth,
)  # fmt: skip
from pipeline.world.style import P_LAKE, P_RUNWAY, TARMAC, WATER

RUNWAY_CELL = 2500.0
LAKE_CELL = 1750.0
STRIP = 26.0
"""Width of the bare safety strip on each side of a runway, in world units."""
SHORE = 14.0
"""Nothing is built closer to a shore than this and WARP, in world units."""


@kernel
def paint_base(o: NDArray[np.float64], colour: NDArray[np.float64], gain: float) -> None:
    """Set the base colour of a record."""
    o[RED], o[GREEN_], o[BLUE] = colour[0] * gain, colour[1] * gain, colour[2] * gain


@kernel
def add_runways(
    table: NDArray[np.float64], keys: NDArray[np.uint64], n: int, seed: np.uint64, box: NDArray[np.float64],
    style: NDArray[np.float64], pal: NDArray[np.float64],
) -> int:  # fmt: skip
    """Add the runways and strips of all lattice cells that touch box (x0, y0, x1, y1)."""
    for i in range(math.floor(box[1] / RUNWAY_CELL), math.floor(box[3] / RUNWAY_CELL) + 1):
        for j in range(math.floor(box[0] / RUNWAY_CELL), math.floor(box[2] / RUNWAY_CELL) + 1):
            h = hash_cell(seed, 11, i, j)
            if unit(h, 0) >= style[P_RUNWAY]:
                continue
            half = 0.5 * (600.0 + 1400.0 * unit(h, 1) ** 0.7)
            slack = 0.5 * RUNWAY_CELL - half - 60.0
            cx = (j + 0.5) * RUNWAY_CELL + between(h, 2, -slack, slack)
            cy = (i + 0.5) * RUNWAY_CELL + between(h, 3, -slack, slack)
            co, si = direction(3.141592653589793 * unit(h, 4))
            wide = between(h, 5, 18.0, 29.0)
            n = put(table, n, 0, RECT, L_STRIP, cx, cy, co, si, half + 1.5 * STRIP, wide + STRIP)
            table[n - 1, VARIANT] = 3
            paint_base(table[n - 1], pal[0], 1.06)
            n = put(table, n, RUNWAY, RECT, L_RUNWAY, cx, cy, co, si, half, wide)
            o = table[n - 1]
            paint_base(o, pal[TARMAC] if unit(h, 6) < 0.65 else pal[TARMAC + 1], between(h, 7, 0.9, 1.1))
            o[VARIANT], o[PERIOD] = (1.0 if unit(h, 8) < 0.8 else 0.0), between(h, 9, 36.0, 60.0)
            keys[n - 2], keys[n - 1] = derive(h, 900), derive(h, 901)
    return n


@kernel
def _near_runway(table: NDArray[np.float64], first: int, last: int, lake: NDArray[np.float64]) -> bool:
    for k in range(first, last):
        o = table[k]
        if o[SHAPE] != RECT:
            continue
        steps = int(o[A] / 20.0)
        for t in range(-steps, steps + 1):
            x, y = o[CX] + 20.0 * t * o[COS], o[CY] + 20.0 * t * o[SIN]
            if blob_depth(lake, x, y) > -(o[B] + STRIP + WARP + 20.0):
                return True
    return False


@kernel
def add_lakes(
    table: NDArray[np.float64], keys: NDArray[np.uint64], n: int, seed: np.uint64, box: NDArray[np.float64],
    style: NDArray[np.float64], pal: NDArray[np.float64],
) -> int:  # fmt: skip
    """Add the lakes of all lattice cells that touch box.

    Records 0..n-1 must be the runways of a box that is at least one cell larger.
    """
    runways = n
    for i in range(math.floor(box[1] / LAKE_CELL), math.floor(box[3] / LAKE_CELL) + 1):
        for j in range(math.floor(box[0] / LAKE_CELL), math.floor(box[2] / LAKE_CELL) + 1):
            h = hash_cell(seed, 12, i, j)
            if unit(h, 0) >= style[P_LAKE]:
                continue
            radius = 75.0 * (470.0 / 75.0) ** unit(h, 1)
            n = put_blob(table, n, LAKE, L_WATER, 0.0, 0.0, radius, h)
            o = table[n - 1]
            reach = o[X1]
            slack = max(0.5 * LAKE_CELL - reach - 10.0, 0.0)
            o[CX] = (j + 0.5) * LAKE_CELL + between(h, 2, -slack, slack)
            o[CY] = (i + 0.5) * LAKE_CELL + between(h, 3, -slack, slack)
            o[X0], o[Y0], o[X1], o[Y1] = o[CX] - reach, o[CY] - reach, o[CX] + reach, o[CY] + reach
            paint_base(o, pal[WATER + int(unit(h, 4) * 3.0)], between(h, 5, 0.9, 1.12))
            o[VARIANT] = (1.0 if unit(h, 6) < 0.35 else 0.0) if radius > 130.0 else 0.0
            o[PERIOD] = between(h, 7, 0.0, 1.0)
            o[AUX] = between(h, 8, 0.55, 0.8)
            keys[n - 1] = derive(h, 902)
            if _near_runway(table, 0, runways, o):
                n -= 1
    return n


@kernel
def blocked(table: NDArray[np.float64], n_big: int, x: float, y: float, margin: float) -> bool:
    """Whether a point lies on or within `margin` of the first n_big records: strips, runways and lakes."""
    for k in range(n_big):
        o = table[k]
        if o[SHAPE] == BLOB:
            clear = margin + WARP + SHORE
            if (
                o[X0] - clear <= x <= o[X1] + clear
                and o[Y0] - clear <= y <= o[Y1] + clear
                and blob_depth(o, x, y) > -clear
            ):
                return True
        elif (
            o[X0] - margin <= x <= o[X1] + margin
            and o[Y0] - margin <= y <= o[Y1] + margin
            and depth(o, x, y) > -margin
        ):
            return True
    return False


@kernel
def is_free(table: NDArray[np.float64], n_big: int, o: NDArray[np.float64]) -> bool:
    """Whether the centre, corners and edge middles of a small record are clear of lakes and runways."""
    reach = max(o[A], o[B])
    for s in range(-1, 2):
        for t in range(-1, 2):
            x = o[CX] + s * o[A] * o[COS] - t * o[B] * o[SIN]
            y = o[CY] + s * o[A] * o[SIN] + t * o[B] * o[COS]
            if blocked(table, n_big, x, y, 3.0 + 0.25 * reach):
                return False
    return True


@kernel
def field_is_free(
    table: NDArray[np.float64], n_big: int, o: NDArray[np.float64], quad: NDArray[np.float64]
) -> bool:
    """Whether a field is clear of lakes and runways.

    Tests 9 x 9 points of its quad against the lakes, and points along the axis of each runway against it.
    """
    for k in range(n_big):
        big = table[k]
        if big[X1] < o[X0] - 30 or big[X0] > o[X1] + 30 or big[Y1] < o[Y0] - 30 or big[Y0] > o[Y1] + 30:
            continue
        if big[SHAPE] == BLOB:
            for s in range(9):
                for t in range(9):
                    u, v = s / 8.0, t / 8.0
                    x = (1 - v) * ((1 - u) * quad[0, 0] + u * quad[1, 0]) + v * (
                        (1 - u) * quad[3, 0] + u * quad[2, 0]
                    )
                    y = (1 - v) * ((1 - u) * quad[0, 1] + u * quad[1, 1]) + v * (
                        (1 - u) * quad[3, 1] + u * quad[2, 1]
                    )
                    if blob_depth(big, x, y) > -(WARP + SHORE):
                        return False
        else:
            steps = int(big[A] / 20.0) + 1
            for s in range(-steps, steps + 1):
                x, y = big[CX] + s * 20.0 * big[COS], big[CY] + s * 20.0 * big[SIN]
                inside = quad_depth(o, x, y) if o[SHAPE] == QUAD else depth(o, x, y)
                if inside > -(big[B] + 4.0):
                    return False
    return True
