"""What is known about components while they are still being joined: integers whose order of addition does not matter.

`Roots` holds one row per component as one super-tile sees it. `reduce_roots` folds rows of the same component: the best
view wins by (best, smaller key), sums add. Both are associative and commutative, so that the rows of a river may be
folded super-tile by super-tile, in any order, to the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pipeline.schema import SCORE_Q_SCALE
from pipeline.stitch.supertiles import GHOST

_MARGIN_SHIFT, _FREE_SHIFT = 16, 47


@dataclass(frozen=True, kw_only=True, slots=True)
class Roots:
    """Components, one row each; all columns (m,) int64."""

    key: NDArray[np.int64]
    """Smallest key of the fragments (or regions) seen so far; ascending within one super-tile."""
    best: NDArray[np.int64]
    """`pack_best` of the best view."""
    rep_key: NDArray[np.int64]
    """Its fragment: the representative."""
    rep_place: NDArray[np.int64]
    rep_prompt: NDArray[np.int64]
    rep_full_px: NDArray[np.int64]
    sum_q: NDArray[np.int64]
    """Sum of score_q * weight pixels over all members."""
    sum_px: NDArray[np.int64]
    """Sum of weight pixels."""

    def __len__(self) -> int:
        return int(self.key.size)

    def take(self, rows: NDArray[np.int64]) -> Roots:
        """The rows at integer positions."""
        return Roots(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    def complete(self, complete_first: bool) -> NDArray[np.bool_]:
        """(m,) True where the best view is uncensored and paints the object alone."""
        return np.asarray((self.best >> _FREE_SHIFT) > 0, dtype=np.bool_) & complete_first

    def ids(self) -> NDArray[np.uint64]:
        """(m,) instance ids; 0 for components of ghosts alone."""
        return np.where(self.key >= GHOST, 0, self.key + 1).astype(np.uint64)

    def score_parts(self, complete: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(score_sum, score_px): of the representative alone where `complete`, else over all members."""
        score_q = self.best & (SCORE_Q_SCALE)
        return np.where(complete, score_q * self.rep_full_px, self.sum_q), np.where(complete, self.rep_full_px, self.sum_px)


def columns_of(roots: Roots) -> dict[str, NDArray[np.int64]]:
    """Name -> column, for files."""
    return {item.name: getattr(roots, item.name) for item in fields(roots)}


def roots_from(columns: Mapping[str, NDArray[np.int64]]) -> Roots:
    """Inverse of `columns_of`; other columns are ignored."""
    return Roots(**{item.name: columns[item.name] for item in fields(Roots)})


def pack_best(censored: NDArray[np.int64], margin: NDArray[np.int64], score_q: NDArray[np.int64]) -> NDArray[np.int64]:
    """(uncensored, margin, score_q) as one integer in the same order; margin < 2**31, score_q < 2**16."""
    return np.asarray(((censored == 0).astype(np.int64) << _FREE_SHIFT) | (margin << _MARGIN_SHIFT) | score_q, dtype=np.int64)


def reduce_roots(group: NDArray[np.int64], parts: Roots, key: NDArray[np.int64]) -> Roots:
    """One row per group 0..len(key) - 1 (each with at least one part), named by `key`."""
    order = np.lexsort((parts.rep_key, -parts.best, group))
    starts = np.flatnonzero(np.r_[True, group[order][1:] != group[order][:-1]]) if order.size else order
    lead = order[starts]
    sums = {
        name: np.add.reduceat(getattr(parts, name)[order], starts) if order.size else np.zeros(0, dtype=np.int64)
        for name in ("sum_q", "sum_px")
    }
    views = {name: getattr(parts, name)[lead] for name in ("best", "rep_key", "rep_place", "rep_prompt", "rep_full_px")}
    return Roots(key=key, **views, **sums)
