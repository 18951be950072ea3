"""The plan of the land: which objects lie near a window.

1. Runways and lakes come first, each from a coarse lattice of its own (water.py).
2. A mesh of supercells covers the plane: a rotated square lattice with jittered corners. Noise makes each
   town, farmland, mixed or wild (`use_of`).
3. Straight lines cut a supercell into parcels (`add_supercell`). A parcel holds one field, site or town
   block, so objects of different parcels never collide.
4. An object that comes near a runway or a lake is left out whole (`keep`, `field_is_free`). Where objects
   still overlap, the higher layer is drawn on top, then the later lattice position.
5. Roads run along supercell edges, next to town and elsewhere.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.world.classes import GREEN, RIPE, SCENERY
from pipeline.world.compiled import kernel
from pipeline.world.hashing import between, derive, hash_cell, unit
from pipeline.world.noise import noise_at
from pipeline.world.shapes import (
    AUX,
    COLUMNS,
    CX,
    CY,
    DISC,
    L_FIELD,
    L_ROAD,
    P2,
    PERIOD,
    RECT,
    VARIANT,
    put,
    put_quad,
    quad_depth,
)  # fmt: skip
from pipeline.world.sites import add_greenhouses, add_pond, add_solar, add_tanks
from pipeline.world.style import (
    ASPECT,
    FIELD_MIX,
    GREEN_C,
    JITTER,
    MESH_COS,
    MESH_SIN,
    P_MIXED,
    PAVED,
    RIPE_C,
    ROAD,
    ROAD_WIDTH,
    SOIL,
    SUPER,
    T_AGRI,
    T_URBAN,
)  # fmt: skip
from pipeline.world.town import add_block, add_lone_house, add_resort, add_shed
from pipeline.world.water import LAKE_CELL, add_lakes, add_runways, field_is_free, paint_base

Table = NDArray[np.float64]
Keys = NDArray[np.uint64]

WILD = 0
MIXED = 1
FARM = 2
TOWN = 3
CAPACITY = 16384
"""Most records near one drawn window."""
BIG_REACH = 1500.0
"""How far around the window lakes and runways are gathered, in world units: then every object that touches
the window sees the same ones.
"""


@kernel
def corner(seed: np.uint64, st: Table, i: int, j: int) -> tuple[float, float]:
    """World position of mesh corner (i, j)."""
    h = hash_cell(seed, 21, i, j)
    u = (j + between(h, 0, -st[JITTER], st[JITTER])) * st[SUPER]
    v = (i + between(h, 1, -st[JITTER], st[JITTER])) * st[SUPER] * st[ASPECT]
    return u * st[MESH_COS] - v * st[MESH_SIN], u * st[MESH_SIN] + v * st[MESH_COS]


@kernel
def use_of(seed: np.uint64, st: Table, i: int, j: int) -> int:
    """Land use of supercell (i, j)."""
    h = hash_cell(seed, 22, i, j)
    if noise_at(seed, 23, j + 0.5, i + 0.5, 2.6) + between(h, 0, -0.1, 0.1) > st[T_URBAN]:
        return TOWN
    if noise_at(seed, 24, j + 0.5, i + 0.5, 3.1) + between(h, 1, -0.15, 0.15) > st[T_AGRI]:
        return FARM
    return MIXED if unit(h, 2) < st[P_MIXED] else WILD


@kernel
def mix_point(q: Table, u: float, v: float) -> tuple[float, float]:
    """Bilinear point of a quad (4, 2)."""
    x = (1 - v) * ((1 - u) * q[0, 0] + u * q[1, 0]) + v * ((1 - u) * q[3, 0] + u * q[2, 0])
    y = (1 - v) * ((1 - u) * q[0, 1] + u * q[1, 1]) + v * ((1 - u) * q[3, 1] + u * q[2, 1])
    return x, y


@kernel
def add_field(
    t: Table,
    keys: Keys,
    n: int,
    h: np.uint64,
    nb: int,
    q: Table,
    parcel: Table,
    room: float,
    st: Table,
    pal: Table,
) -> int:
    """Add a field of ripe or green crop, or bare soil, which gets no label.

    It fills the parcel or is a circle around a pivot.
    """
    pick = unit(h, 1)
    cls = SCENERY
    if pick > 0.12:
        cls = RIPE if unit(h, 2) < st[FIELD_MIX] else GREEN
    if unit(h, 3) < 0.13 and room > 62.0:
        n = put(
            t,
            n,
            cls,
            DISC,
            L_FIELD,
            parcel[CX],
            parcel[CY],
            1.0,
            0.0,
            min(room - 3.0, 350.0),
            min(room - 3.0, 350.0),
        )
    else:
        n = put_quad(t, n, cls, L_FIELD, q, 0.0 if unit(h, 4) < 0.6 else between(h, 5, 3.0, 9.0))
        if unit(h, 6) < 0.5:
            o = t[n - 1]
            dx, dy = q[3, 0] - q[0, 0], q[3, 1] - q[0, 1]
            length = math.sqrt(dx * dx + dy * dy)
            o[5], o[6] = dx / length, dy / length
    o = t[n - 1]
    if cls == SCENERY:
        paint_base(o, pal[SOIL + int(3.0 * unit(h, 7))], between(h, 8, 0.55, 0.82))
    elif cls == RIPE:
        paint_base(o, pal[RIPE_C + int(4.0 * unit(h, 7))], between(h, 8, 0.88, 1.1))
    else:
        paint_base(o, pal[GREEN_C + int(4.0 * unit(h, 7))], between(h, 8, 0.82, 1.15))
    o[PERIOD], o[AUX], o[VARIANT] = between(h, 9, 5.0, 9.5), unit(h, 10), (1.0 if unit(h, 11) < 0.6 else 0.0)
    o[P2] = between(h, 12, 26.0, 60.0)
    if not field_is_free(t, nb, o, q):
        return n - 1
    keys[n - 1] = derive(h, 7001)
    return n


@kernel
def add_site(
    t: Table,
    keys: Keys,
    n: int,
    h: np.uint64,
    nb: int,
    parcel: Table,
    room: float,
    pick: float,
    pal: Table,
) -> int:
    """Add the site that `pick` in [0, 1) chooses."""
    if pick < 0.24:
        return add_tanks(t, keys, n, h, nb, parcel, room, pal)
    if pick < 0.45:
        return add_greenhouses(t, keys, n, h, nb, parcel, room, pal)
    if pick < 0.68:
        return add_solar(t, keys, n, h, nb, parcel, room, pal)
    if pick < 0.76:
        return add_resort(t, keys, n, h, nb, parcel, pal)
    if pick < 0.81:
        return add_lone_house(t, keys, n, h, nb, parcel, pal)
    if pick < 0.85:
        return add_shed(t, keys, n, h, nb, parcel, room, pal)
    if pick < 0.91:
        return add_pond(t, keys, n, h, nb, parcel, room, pal)
    return n


@kernel
def add_parcel(
    t: Table, keys: Keys, n: int, h: np.uint64, nb: int, use: int, q: Table, st: Table, pal: Table
) -> int:
    """Fill one parcel (quad q) according to the use of its supercell."""
    scratch = np.empty((1, COLUMNS))
    put_quad(scratch, 0, SCENERY, L_FIELD, q, 0.0)
    parcel = scratch[0]
    room = quad_depth(parcel, parcel[CX], parcel[CY])
    if use == FARM:
        pick = unit(h, 100)
        if pick < 0.84:
            return add_field(t, keys, n, h, nb, q, parcel, room, st, pal)
        if pick < 0.92:
            return add_site(t, keys, n, derive(h, 2), nb, parcel, room, unit(h, 101), pal)
        return n
    if use == MIXED:
        return add_site(t, keys, n, derive(h, 2), nb, parcel, room, unit(h, 101), pal)
    if use == WILD:
        pick = unit(h, 102)
        return add_site(t, keys, n, derive(h, 2), nb, parcel, room, unit(h, 101), pal) if pick < 0.17 else n
    if unit(h, 104) < 0.06:
        return add_site(t, keys, n, derive(h, 2), nb, parcel, room, unit(h, 101), pal)
    f = np.empty(6)
    f[0], f[1] = parcel[CX], parcel[CY]
    hu = hv = 1e18
    m0x, m0y = 0.5 * (q[0, 0] + q[3, 0]), 0.5 * (q[0, 1] + q[3, 1])
    m1x, m1y = 0.5 * (q[1, 0] + q[2, 0]), 0.5 * (q[1, 1] + q[2, 1])
    length = math.sqrt((m1x - m0x) ** 2 + (m1y - m0y) ** 2)
    f[2], f[3] = (m1x - m0x) / length, (m1y - m0y) / length
    hu = 0.5 * length - 12.0
    hv = (
        0.5
        * math.sqrt(
            (q[3, 0] + q[2, 0] - q[0, 0] - q[1, 0]) ** 2 + (q[3, 1] + q[2, 1] - q[0, 1] - q[1, 1]) ** 2
        )
        * 0.5
        - 12.0
    )
    f[4], f[5] = hu, hv
    return add_block(t, keys, n, derive(h, 3), nb, parcel, f, st, pal)


@kernel
def splits_of(h: np.uint64, use: int) -> tuple[int, int]:
    """Choose how many parcels a supercell has along each of its two directions."""
    a, b = unit(h, 200), unit(h, 201)
    if use == TOWN:
        return 2 + int(2.0 * a), 3 + int(2.0 * b)
    if use == FARM:
        if a < 0.12:
            return 1, 1
        if a < 0.3:
            return 1 + int(2.0 * b), 5 - 2 * int(2.0 * b)
        return 1 + int(3.0 * b), 2 + int(2.0 * unit(h, 202))
    return 2 + int(1.6 * a), 2 + int(1.6 * b)


@kernel
def add_road(
    t: Table, n: int, ax: float, ay: float, bx: float, by: float, half: float, paved: bool, pal: Table
) -> int:
    """Add a straight road, which is scenery."""
    dx, dy = bx - ax, by - ay
    length = math.sqrt(dx * dx + dy * dy)
    n = put(
        t,
        n,
        SCENERY,
        RECT,
        L_ROAD,
        0.5 * (ax + bx),
        0.5 * (ay + by),
        dx / length,
        dy / length,
        0.5 * length + half,
        half,
    )
    paint_base(t[n - 1], pal[ROAD] if paved else pal[SOIL], 1.0 if paved else 1.05)
    t[n - 1, VARIANT] = 1 if paved else 2
    return n


@kernel
def add_supercell(
    t: Table, keys: Keys, n: int, seed: np.uint64, nb: int, i: int, j: int, st: Table, pal: Table
) -> int:
    """Add the roads and parcels of one supercell."""
    h = hash_cell(seed, 25, i, j)
    use = use_of(seed, st, i, j)
    big = np.empty((4, 2))
    big[0, 0], big[0, 1] = corner(seed, st, i, j)
    big[1, 0], big[1, 1] = corner(seed, st, i, j + 1)
    big[2, 0], big[2, 1] = corner(seed, st, i + 1, j + 1)
    big[3, 0], big[3, 1] = corner(seed, st, i + 1, j)
    paved = st[PAVED] > unit(hash_cell(seed, 26, i // 4, j // 4), 0)
    if use == TOWN or use_of(seed, st, i - 1, j) == TOWN or unit(h, 210) < 0.3:
        n = add_road(t, n, big[0, 0], big[0, 1], big[1, 0], big[1, 1], st[ROAD_WIDTH], paved, pal)
    if use == TOWN or use_of(seed, st, i, j - 1) == TOWN or unit(h, 211) < 0.3:
        n = add_road(t, n, big[0, 0], big[0, 1], big[3, 0], big[3, 1], st[ROAD_WIDTH], paved, pal)
    nu, nv = splits_of(h, use)
    us, vs = np.linspace(0.0, 1.0, nu + 1), np.linspace(0.0, 1.0, nv + 1)
    for k in range(1, nu):
        us[k] += between(h, 220 + k, -0.14, 0.14) / nu
    for k in range(1, nv):
        vs[k] += between(h, 230 + k, -0.14, 0.14) / nv
    if use == TOWN:
        for k in range(1, nu):
            (ax, ay), (bx, by) = mix_point(big, us[k], 0.0), mix_point(big, us[k], 1.0)
            n = add_road(t, n, ax, ay, bx, by, 0.8 * st[ROAD_WIDTH], paved, pal)
        for k in range(1, nv):
            (ax, ay), (bx, by) = mix_point(big, 0.0, vs[k]), mix_point(big, 1.0, vs[k])
            n = add_road(t, n, ax, ay, bx, by, 0.8 * st[ROAD_WIDTH], paved, pal)
    q = np.empty((4, 2))
    for r in range(nv):
        for c in range(nu):
            q[0, 0], q[0, 1] = mix_point(big, us[c], vs[r])
            q[1, 0], q[1, 1] = mix_point(big, us[c + 1], vs[r])
            q[2, 0], q[2, 1] = mix_point(big, us[c + 1], vs[r + 1])
            q[3, 0], q[3, 1] = mix_point(big, us[c], vs[r + 1])
            n = add_parcel(t, keys, n, derive(h, 300 + 8 * r + c), nb, use, q, st, pal)
    return n


def plan(seed: np.uint64, box: Table, st: Table, pal: Table) -> tuple[Table, Keys]:
    """List the records and keys of all objects that may touch a box (x0, y0, x1, y1) in world units.

    Within a layer they come in paint order, which is the same in every window.
    """
    t = np.empty((CAPACITY, COLUMNS))
    keys = np.zeros(CAPACITY, np.uint64)
    wide = np.empty(4)
    wider = np.empty(4)
    for k in range(4):
        sign = -1.0 if k < 2 else 1.0
        wide[k] = box[k] + sign * BIG_REACH
        wider[k] = wide[k] + sign * (LAKE_CELL + 200.0)
    n = add_runways(t, keys, 0, seed, wider, st, pal)
    n = add_lakes(t, keys, n, seed, wide, st, pal)
    nb = n
    lo_u = lo_v = 1e18
    hi_u = hi_v = -1e18
    for k in range(4):
        x = box[0 if k % 2 == 0 else 2]
        y = box[1 if k < 2 else 3]
        u = x * st[MESH_COS] + y * st[MESH_SIN]
        v = y * st[MESH_COS] - x * st[MESH_SIN]
        lo_u, hi_u, lo_v, hi_v = min(lo_u, u), max(hi_u, u), min(lo_v, v), max(hi_v, v)
    side_u = st[SUPER]
    side_v = st[SUPER] * st[ASPECT]
    margin = st[JITTER] + 0.02
    for i in range(math.floor(lo_v / side_v - margin), math.floor(hi_v / side_v + margin) + 1):
        for j in range(math.floor(lo_u / side_u - margin), math.floor(hi_u / side_u + margin) + 1):
            n = add_supercell(t, keys, n, seed, nb, i, j, st, pal)
    return t[:n], keys[:n]
