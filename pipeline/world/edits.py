"""Two dates of one world: known edits of its objects, each decided by the object's key alone.

`edit_objects` gives the records of one date. A quarter of the changed objects each

1. is there at the first date only;
2. is there at the second date only;
3. has GROWTH times its length and width at the second date, where it is a rectangle, an ellipse or a disc;
4. stands WAY of its shorter side away at the second date, in a direction of its own, where it is one of
   these.

Scenery and everything else is the same at both dates. An object that grows or moves may cover a neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.world.classes import SCENERY
from pipeline.world.compiled import kernel
from pipeline.world.hashing import derive, direction, unit
from pipeline.world.shapes import CLS, CX, CY, DISC, ELL, RECT, SHAPE, X0, X1, Y0, Y1, A, B

GROWTH = 1.35
"""Length and width of a grown object, times what they were."""

WAY = 0.35
"""How far a moved object stands from where it was, in shares of its shorter side."""

REACH = 256.0
"""How far outside of a window objects are looked at, in world units: after an edit they may reach into it.
The largest discs have a radius of 350, so they move by 245. Runways and lakes are looked at from farther."""


@dataclass(frozen=True, kw_only=True)
class Edits:
    """One of two dates of a world. Raises InputError for a share that is none."""

    date: Literal[1, 2]
    share: float
    """Share of the objects that differ between the dates, 0..1."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise InputError(
                "the share of changed objects must lie between 0 and 1",
                came=f"{self.share:g}",
                remedy="give a share such as 0.3",
            )


def edit_objects(
    table: NDArray[np.float64], keys: NDArray[np.uint64], seed: np.uint64, edits: Edits
) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Give the records of one date and their keys, in the order of `table`. `table` is not changed."""
    edited = table.copy()
    kept = _edit(edited, keys, seed, edits.share, edits.date == 2)
    return edited[kept], keys[kept]


@kernel
def _edit(
    table: NDArray[np.float64], keys: NDArray[np.uint64], seed: np.uint64, share: float, second: bool
) -> NDArray[np.bool_]:
    kept = np.ones(len(table), dtype=np.bool_)
    for k in range(len(table)):
        o = table[k]
        if int(o[CLS]) == SCENERY:
            continue
        h = derive(keys[k] ^ seed, 4001)
        pick = unit(h, 1) / share if share > 0.0 else 1.0
        if pick < 0.25:
            kept[k] = not second
        elif pick < 0.5:
            kept[k] = second
        elif pick < 1.0 and second and int(o[SHAPE]) in (RECT, ELL, DISC):
            x = o[CX]
            y = o[CY]
            scale = 1.0
            if pick < 0.75:
                scale = GROWTH
                o[A] *= GROWTH
                o[B] *= GROWTH
            else:
                co, si = direction(6.283185307179586 * unit(h, 2))
                way = WAY * 2.0 * min(o[A], o[B])
                o[CX] += way * co
                o[CY] += way * si
            for low, high, old, new in ((X0, X1, x, o[CX]), (Y0, Y1, y, o[CY])):
                o[low] = new + scale * (o[low] - old)
                o[high] = new + scale * (o[high] - old)
    return kept
