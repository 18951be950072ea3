"""Stage D: the core of one tile, from local ids to component numbers; complete objects first.

1. `_paint_own`: a core shows the component of its own tile's label.
2. `_paint_claims`: a COMPLETE component (some tile saw it whole) is painted from that tile, where the owner
   shows background or the same component. The owner's own fragment gives way.
3. `_put_back`: a fragment that the whole view leaves uncovered stays. So no tile's finding is lost.

A pixel depends on the tiles that cover its core and on nothing else. So cores may be painted in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.schema.tiling import Window


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnTile:
    """What the owner of a core shows. Tables are (n + 1,), indexed by local id, [0] = 0."""

    read: Window
    labels: NDArray[np.uint16]
    owner: NDArray[np.int32]
    """Component of each local id."""
    paint: NDArray[np.int32]
    """The same, but 0 for fragments that give way to another tile's view."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimingTile:
    """A neighbour that saw objects whole which reach out of its core."""

    read: Window
    labels: NDArray[np.uint16]
    claim: NDArray[np.int32]
    """(n + 1,) component of each local id that represents one, else 0."""


def paint_core(
    core: Window, own: OwnTile | None, claims: list[ClaimingTile], keep_share: float
) -> NDArray[np.int32]:
    """Paint component numbers (h, w) over `core`, 0 = background. The order of `claims` does not matter.

    `keep_share`: see `StitchOptions`.
    """
    out = np.zeros(core.shape, dtype=np.int32)
    labels = np.zeros(core.shape, dtype=np.uint16)
    owner = paint = np.zeros(1, dtype=np.int32)
    if own is not None:
        labels = own.labels[core.slices_in(own.read)]
        owner = own.owner
        paint = own.paint
        _paint_own(out, labels, paint)
    for other in claims:
        shared = core.intersect(other.read)
        if shared is not None:
            inside = shared.slices_in(core)
            _paint_claims(
                out[inside], labels[inside], owner, other.labels[shared.slices_in(other.read)], other.claim
            )
    _put_back(out, labels, owner, paint, keep_share)
    return out


@njit(cache=True)
def _paint_own(out: NDArray[np.int32], labels: NDArray[np.uint16], paint: NDArray[np.int32]) -> None:
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            if labels[r, c]:
                out[r, c] = paint[labels[r, c]]


@njit(cache=True)
def _paint_claims(
    out: NDArray[np.int32],
    labels: NDArray[np.uint16],
    owner: NDArray[np.int32],
    seen: NDArray[np.uint16],
    claim: NDArray[np.int32],
) -> None:
    """Paint one neighbour's complete components.

    Where two claim one background pixel, the smaller number wins: numbers follow the order of instance ids. A
    pixel that its owner gave to another component is never overwritten, even if that component leaves it
    empty.
    """
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            wanted = claim[seen[r, c]]
            if wanted == 0:
                continue
            if labels[r, c] == 0:
                if out[r, c] == 0 or wanted < out[r, c]:
                    out[r, c] = wanted
            elif owner[labels[r, c]] == wanted:
                out[r, c] = wanted


@njit(cache=True)
def _put_back(
    out: NDArray[np.int32],
    labels: NDArray[np.uint16],
    owner: NDArray[np.int32],
    paint: NDArray[np.int32],
    keep_share: float,
) -> None:
    """Paint fragments that gave way, and of which less than `keep_share` shows, beside what shows."""
    own_px = np.zeros(owner.size, dtype=np.int64)
    covered_px = np.zeros(owner.size, dtype=np.int64)
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            own_px[labels[r, c]] += 1
            covered_px[labels[r, c]] += out[r, c] == owner[labels[r, c]]
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            local = labels[r, c]
            if local and paint[local] == 0 and covered_px[local] < keep_share * own_px[local]:
                out[r, c] = owner[local]


def by_local(values: NDArray[np.integer]) -> NDArray[np.int32]:
    """Make a table (n + 1,) indexed by local id of the values of local ids 1..n; [0] = 0."""
    return np.concatenate([np.zeros(1, dtype=np.int32), values.astype(np.int32)])
