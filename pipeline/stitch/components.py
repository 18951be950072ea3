"""What is known of components while they are still being joined, in integers that may be added in any order.

`Roots` holds one row per component as one super-tile sees it. `reduce_roots` folds rows of the same
component: the best view wins (on a tie the smaller key), sums add. Both are associative and commutative, so
the rows of a river give the same bits in whatever order super-tiles are folded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tile_answers import SCORE_Q_SCALE
from pipeline.stitch.fragment_table import FragmentTable
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.supertiles import GHOST

_SCORE_SHIFT = 31
_TRUST_SHIFT = 47
_FREE_SHIFT = 62


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
        """True (m,) where the best view is uncensored and `explains` the component, and so paints it."""
        whole = (self.best >> _FREE_SHIFT) > 0
        return whole & explains(self.rep_full_px, self.sum_px) & complete_first

    def ids(self, options: StitchOptions) -> NDArray[np.uint64]:
        """Instance ids (m,); 0 for components of ghosts alone, unless they are rescued (ids above GHOST)."""
        rescued = self.complete(options.complete_first) & options.rescues
        return np.where((self.key >= GHOST) & ~rescued, 0, self.key + 1).astype(np.uint64)

    def score_parts(self, complete: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give score_sum and score_px, of the representative where `complete`, else over all members."""
        score_q = (self.best >> _SCORE_SHIFT) & SCORE_Q_SCALE
        return np.where(complete, score_q * self.rep_full_px, self.sum_q), np.where(
            complete, self.rep_full_px, self.sum_px
        )


def columns_of(roots: Roots) -> dict[str, NDArray[np.int64]]:
    """Name -> column, for files."""
    return {item.name: getattr(roots, item.name) for item in fields(roots)}


def roots_from(columns: Mapping[str, NDArray[np.int64]]) -> Roots:
    """The rows of which `columns_of` made these columns; other columns are ignored."""
    return Roots(**{item.name: columns[item.name] for item in fields(Roots)})


def pack_best(table: FragmentTable, options: StitchOptions) -> NDArray[np.int64]:
    """Pack uncensored, margin up to trusted_margin_px, score_q and margin into one integer (n,), which sorts
    as they do in this order.

    Margins are below 2**31, scores below 2**16.
    """
    free = (table.censored == 0).astype(np.int64) << _FREE_SHIFT
    trusted = np.minimum(table.margin, options.trusted_margin_px) << _TRUST_SHIFT
    return np.asarray(free | trusted | (table.score_q << _SCORE_SHIFT) | table.margin, dtype=np.int64)


def explains(full_px: NDArray[np.int64], core_px: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say (m,) whether a view of `full_px` pixels can stand for members with `core_px` core pixels together.

    At least half of them; a smaller view shows another thing, which a false match has joined. Views of an
    oracle have exactly as many, fewer where tiles failed.
    """
    return np.asarray(2 * full_px >= core_px, dtype=np.bool_)


def least_px(
    ids: NDArray[np.uint64], full_px: NDArray[np.int64], options: StitchOptions
) -> NDArray[np.int64]:
    """Say how many pixels each component (n,) must show: 1, and `rescue_share` of `full_px` where it was
    rescued (ids above GHOST).
    """
    share = np.ceil(options.rescue_share * full_px).astype(np.int64)
    return np.asarray(np.where(ids > GHOST, np.maximum(share, 1), 1), dtype=np.int64)


def reduce_roots(group: NDArray[np.int64], parts: Roots, key: NDArray[np.int64]) -> Roots:
    """One row per group 0..len(key) - 1 (each with at least one part), named by `key`."""
    order = np.lexsort((parts.rep_key, -parts.best, group))
    starts = np.flatnonzero(np.r_[True, group[order][1:] != group[order][:-1]]) if order.size else order
    lead = order[starts]
    sums = {
        name: np.add.reduceat(getattr(parts, name)[order], starts)
        if order.size
        else np.zeros(0, dtype=np.int64)
        for name in ("sum_q", "sum_px")
    }
    views = {
        name: getattr(parts, name)[lead]
        for name in ("best", "rep_key", "rep_place", "rep_prompt", "rep_full_px")
    }
    return Roots(key=key, **views, **sums)
