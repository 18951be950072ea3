"""Object records, and whether a point lies inside an object.

One object is one row of a float64 table. Tests take world coordinates (pixel centre / scale) in float64, so
whether a pixel belongs to an object never depends on the window that is drawn.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.world.compiled import kernel
from pipeline.world.hashing import between, unit

# Columns of a record.
CLS = 0
SHAPE = 1
LAYER = 2
CX = 3
CY = 4
COS = 5
SIN = 6
A = 7
B = 8
P1 = 9
P2 = 10
"""A, B: half length along and across the object's axis; P1, P2: corner radius or notch signs."""
HEIGHT = 11
RED = 12
GREEN_ = 13
BLUE = 14
VARIANT = 15
PERIOD = 16
AUX = 17
X0 = 18
Y0 = 19
X1 = 20
Y1 = 21
GEO = 22
"""First of 16 columns: quad vertices x0 y0 .. x3 y3, or lake harmonics."""
COLUMNS = GEO + 16

# Shapes.
RECT = 0
ELL = 1
DISC = 2
QUAD = 3
BLOB = 4

# Paint layers, bottom to top.
L_FIELD = 0
L_ROAD = 1
L_WATER = 2
L_STRIP = 3
L_RUNWAY = 4
L_PAD = 5
L_SITE = 6
LAYERS = 7

WARP = 9.0
"""How far noise may displace a lake's shore, in world units."""


@kernel
def put(
    table: NDArray[np.float64], n: int, cls: int, shape: int, layer: int,
    cx: float, cy: float, co: float, si: float, a: float, b: float,
) -> int:  # fmt: skip
    """Start record n with half sizes a, b around (cx, cy). Returns n + 1.

    Raises ValueError when the table is full.
    """
    if n >= table.shape[0]:
        raise ValueError("too many objects near one window")
    o = table[n]
    o[:] = 0.0
    o[CLS], o[SHAPE], o[LAYER] = cls, shape, layer
    o[CX], o[CY], o[COS], o[SIN], o[A], o[B] = cx, cy, co, si, a, b
    if shape == DISC:
        ex, ey = a, a
    else:
        ex, ey = abs(co) * a + abs(si) * b, abs(si) * a + abs(co) * b
    o[X0], o[Y0], o[X1], o[Y1] = cx - ex, cy - ey, cx + ex, cy + ey
    return n + 1


@kernel
def put_quad(
    table: NDArray[np.float64], n: int, cls: int, layer: int, quad: NDArray[np.float64], inset: float
) -> int:
    """Start a convex quad (4, 2), vertices in order, shrunk by `inset` on every side (P1). Returns n + 1."""
    cx, cy = quad[:, 0].mean(), quad[:, 1].mean()
    dx, dy = quad[1, 0] - quad[0, 0], quad[1, 1] - quad[0, 1]
    length = math.sqrt(dx * dx + dy * dy)
    n = put(table, n, cls, QUAD, layer, cx, cy, dx / length, dy / length, 0.0, 0.0)
    o = table[n - 1]
    o[P1] = inset
    for k in range(4):
        o[GEO + 2 * k], o[GEO + 2 * k + 1] = quad[k, 0], quad[k, 1]
    o[X0], o[Y0], o[X1], o[Y1] = quad[:, 0].min(), quad[:, 1].min(), quad[:, 0].max(), quad[:, 1].max()
    return n


@kernel
def put_blob(
    table: NDArray[np.float64],
    n: int,
    cls: int,
    layer: int,
    cx: float,
    cy: float,
    radius: float,
    h: np.uint64,
) -> int:
    """Start a star-shaped outline, radius * (1 + harmonics 2..7). Returns n + 1.

    Noise displaces the outline further when it is painted.
    """
    rough = between(h, 90, 0.05, 0.17)
    n = put(table, n, cls, BLOB, layer, cx, cy, 1.0, 0.0, radius, radius)
    o = table[n - 1]
    total = 0.0
    for k in range(6):
        amp = rough * (1.6 / (k + 1.2)) * between(h, 91 + k, 0.3, 1.0)
        angle = 6.283185307179586 * unit(h, 101 + k)
        o[GEO + 2 * k] = round(amp * math.cos(angle) * 16777216.0) / 16777216.0
        o[GEO + 2 * k + 1] = round(amp * math.sin(angle) * 16777216.0) / 16777216.0
        total += amp
    o[P1] = total
    reach = radius * (1.0 + total) + WARP
    o[X0], o[Y0], o[X1], o[Y1] = cx - reach, cy - reach, cx + reach, cy + reach
    return n


@kernel
def quad_depth(o: NDArray[np.float64], x: float, y: float) -> float:
    """Distance to the nearest edge of the quad, positive inside."""
    best = 1e18
    for k in range(4):
        ax, ay = o[GEO + 2 * k], o[GEO + 2 * k + 1]
        m = (k + 1) % 4
        ex, ey = o[GEO + 2 * m] - ax, o[GEO + 2 * m + 1] - ay
        d = (ex * (y - ay) - ey * (x - ax)) / math.sqrt(ex * ex + ey * ey)
        best = min(best, d)
    return best


@kernel
def blob_depth(o: NDArray[np.float64], x: float, y: float) -> float:
    """Distance to the outline along the radius, positive inside.

    cos(k a) and sin(k a) come from those of (k - 1) a by the addition theorem.
    """
    dx, dy = x - o[CX], y - o[CY]
    r = math.sqrt(dx * dx + dy * dy)
    if r < 1e-9:
        return float(o[A])
    c1, s1 = dx / r, dy / r
    c, s = c1, s1
    total = 1.0
    for k in range(6):
        c, s = c * c1 - s * s1, s * c1 + c * s1
        total += o[GEO + 2 * k] * c + o[GEO + 2 * k + 1] * s
    return float(o[A] * total - r)


@kernel
def rect_depth(o: NDArray[np.float64], u: float, v: float) -> float:
    """Distance to the outline of a rectangle with corner radius P1, in its own axes; positive inside."""
    radius = o[P1]
    qu, qv = abs(u) - (o[A] - radius), abs(v) - (o[B] - radius)
    if qu > 0.0 and qv > 0.0:
        return float(radius - math.sqrt(qu * qu + qv * qv))
    return float(radius - max(qu, qv))


@kernel
def ell_depth(o: NDArray[np.float64], u: float, v: float) -> float:
    """Distance to the outline of an L, positive inside.

    The corner with signs P1, P2 is cut away beyond AUX times the half sizes.
    """
    outer = min(o[A] - abs(u), o[B] - abs(v))
    notch = min(u * o[P1] - o[A] * o[AUX], v * o[P2] - o[B] * o[AUX])
    return float(min(outer, -notch))


@kernel
def depth(o: NDArray[np.float64], x: float, y: float) -> float:
    """Depth of a point inside an object; a pixel belongs to it when this is 0 or more."""
    shape = o[SHAPE]
    dx, dy = x - o[CX], y - o[CY]
    if shape == DISC:
        return float(o[A] - math.sqrt(dx * dx + dy * dy))
    if shape == QUAD:
        return quad_depth(o, x, y) - float(o[P1])
    if shape == BLOB:
        return blob_depth(o, x, y)
    u, v = dx * o[COS] + dy * o[SIN], dy * o[COS] - dx * o[SIN]
    if shape == RECT:
        return rect_depth(o, u, v)
    return ell_depth(o, u, v)
