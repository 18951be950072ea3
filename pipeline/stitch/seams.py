"""Stage B: which local ids of two neighbouring tiles are one object, decided from their seam.

1. The seam is the intersection of the two READ windows; both tiles hold labels for all of it.
2. `seam_candidates` cuts labels into 4-connected pieces inside the seam, so that each prong of an object
   finds its own, and pairs the pieces that are each other's best.
3. `undisputed` drops pairs that contradict what one tile saw whole.
4. `accepted` keeps pairs that overlap enough.

Every step treats the two sides alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.stitch.stitch_options import StitchOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class SeamEdges:
    """Matched pieces of one seam, one row per pair of pieces (a pair of local ids may have several)."""

    local_a: NDArray[np.int64]
    """Local id in the first tile."""
    local_b: NDArray[np.int64]
    """Local id in the second tile."""
    overlap_px: NDArray[np.int64]
    a_px: NDArray[np.int64]
    """Pixels of the first tile's piece inside the seam."""
    b_px: NDArray[np.int64]

    @property
    def score(self) -> NDArray[np.float64]:
        """Mean of the two covered shares, 0..1."""
        return (self.overlap_px / self.a_px + self.overlap_px / self.b_px) / 2.0

    def __len__(self) -> int:
        return int(self.local_a.size)

    def take(self, rows: NDArray[np.bool_]) -> SeamEdges:
        """The rows where a mask (n,) is True."""
        return _edges(np.stack([self.local_a, self.local_b, self.overlap_px, self.a_px, self.b_px])[:, rows])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pieces:
    """4-connected pieces 1..n of one side; index 0 is background."""

    image: NDArray[np.uint32]
    local: NDArray[np.int64]
    area: NDArray[np.int64]
    first: NDArray[np.int64]
    """Row-major position of the first pixel."""


_PieceColumns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Local id, area and first pixel of each piece, (n + 1,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeamMatch:
    """What one seam says."""

    edges: SeamEdges
    """The pairs that are one object."""
    scores: NDArray[np.float64]
    """(n,) of all pairs that are each other's best, joined or not."""
    n_disputed: int
    """Pairs that overlap enough and were refused because a whole view speaks against them."""


def match_seam(
    a: NDArray[np.uint16],
    b: NDArray[np.uint16],
    *,
    whole: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    options: StitchOptions,
) -> SeamMatch:
    """Take steps 2 to 4 for one seam.

    `a`, `b`: label images (L, D) of one seam, axis 0 ALONG the seam, 0 = background. `whole`: for either
    tile, (n + 1,) by local id, True where the tile saw the fragment whole.
    """
    pairs = seam_candidates(a, b)
    fair = undisputed(pairs, *whole)
    disputed = accepted(pairs.take(~fair), options)
    return SeamMatch(edges=accepted(pairs.take(fair), options), scores=pairs.score, n_disputed=len(disputed))


def seam_candidates(a: NDArray[np.uint16], b: NDArray[np.uint16]) -> SeamEdges:
    """Find all pairs of pieces that are each other's best; `accepted` chooses from them by their scores.

    Best is most common pixels; on a tie, the smaller first pixel along the seam.

    `a`, `b`: label images (L, D) of one seam, axis 0 ALONG the seam, 0 = background. Swapping them swaps the
    sides of each row.
    """
    assert a.shape == b.shape, "both tiles must be cut to the same seam"
    if not a.any() or not b.any():
        return _edges(np.zeros((5, 0), dtype=np.int64))
    side_a = _pieces(a)
    side_b = _pieces(b)
    pa, pb, common = pair_counts(side_a.image, side_b.image)
    mutual = mutual_best(pa, pb, common, ties=(side_a.first, side_b.first))
    pa, pb, common = pa[mutual], pb[mutual], common[mutual]
    return _edges(np.stack([side_a.local[pa], side_b.local[pb], common, side_a.area[pa], side_b.area[pb]]))


def mutual_best(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    common: NDArray[np.int64],
    *,
    ties: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.bool_]:
    """(n,) True for pairs of pieces that are each other's best: most common pixels, then the smaller tie.

    `a`, `b`: piece numbers of each pair (n,), whose common pixels are `common`. `ties`: of either side, by
    piece number.
    """
    return _best(a, common, ties[1][b]) & _best(b, common, ties[0][a])


def undisputed(pairs: SeamEdges, whole_a: NDArray[np.bool_], whole_b: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the pairs that no whole view speaks against: (n,) True.

    A tile that saw an object whole says: this is all of it, and my other labels are something else. So a
    fragment of the neighbour that overlaps a whole one and other fragments of the same tile can belong to one
    of them at most: to the whole one if it overlaps that one most, else not to it. On a tie, to none.

    `whole_a`, `whole_b`: (n + 1,) by local id, True where `Fragment.censored` is 0. An oracle never
    disputes a pair: what it sees whole is one fragment of the tile, under one id.
    """
    ends, row = np.unique(np.stack([pairs.local_a, pairs.local_b]), axis=1, return_inverse=True)
    common = np.zeros(ends.shape[1], dtype=np.int64)
    np.add.at(common, row.reshape(-1), pairs.overlap_px)
    fair = _fair(ends[0], common, whole_b[ends[1]]) & _fair(ends[1], common, whole_a[ends[0]])
    return np.asarray(fair[row.reshape(-1)], dtype=np.bool_)


def accepted(pairs: SeamEdges, options: StitchOptions) -> SeamEdges:
    """Choose the pairs whose score reaches tau and that have enough common pixels.

    Where labels agree up to their names, every tiling is exact. The pieces of both sides are then the same
    sets of pixels: each is the other's only best, with a mean of 1 and enough common pixels. And two
    neighbouring pixels on both sides of a core border lie in one piece as soon as halo >= 1.
    """
    good = (pairs.score >= options.tau) & _enough(
        pairs.overlap_px, pairs.a_px, pairs.b_px, options.min_overlap_px
    )
    return pairs.take(good)


def _enough(
    common: NDArray[np.int64], area_a: NDArray[np.int64], area_b: NDArray[np.int64], min_overlap_px: int
) -> NDArray[np.bool_]:
    """Whether min(min_overlap_px, half of the larger piece) pixels are common.

    Equal pieces of any size have that; a sliver inside a large piece has not. A fixed minimum would lose
    objects that cross a seam with fewer pixels.
    """
    return np.asarray(2 * common >= np.minimum(2 * min_overlap_px, np.maximum(area_a, area_b)))


def _edges(table: NDArray[np.int64]) -> SeamEdges:
    return SeamEdges(local_a=table[0], local_b=table[1], overlap_px=table[2], a_px=table[3], b_px=table[4])


def _pieces(labels: NDArray[np.uint16]) -> _Pieces:
    import cc3d

    image, n = cc3d.connected_components(
        np.ascontiguousarray(labels), connectivity=4, return_N=True, out_dtype=np.uint32
    )
    local, area, first = _piece_table(labels, image, n)
    return _Pieces(image=image, local=local, area=area, first=first)


def _best(group: NDArray[np.int64], common: NDArray[np.int64], tie: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True for the pair with the largest `common` (then the smallest `tie`) of each group."""
    order = np.lexsort((tie, -common, group))
    leads = np.ones(order.size, dtype=np.bool_)
    leads[1:] = group[order][1:] != group[order][:-1]
    best = np.zeros(order.size, dtype=np.bool_)
    best[order[leads]] = True
    return best


def _fair(group: NDArray[np.int64], common: NDArray[np.int64], whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) whether a partner fits its group: a whole one if it leads alone, others if no whole one leads.

    `group`: fragment that each row is a partner of; `common`: their common pixels; the most of a group lead.
    """
    _, group = np.unique(group, return_inverse=True)
    most = np.zeros(group.size, dtype=np.int64)
    np.maximum.at(most, group, common)
    leads = common == most[group]
    n_leads = np.bincount(group[leads], minlength=group.size)
    whole_leads = np.bincount(group[leads & whole], minlength=group.size) > 0
    return np.where(whole, leads & (n_leads[group] == 1), ~whole_leads[group])


def pair_counts(
    a: NDArray[np.integer], b: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count common pixels of the values of two images of one shape; 0 is background.

    Returns value of `a`, value of `b` and pixels, sorted."""
    runs = _pair_runs(a, b)
    if runs.shape[0] == 0:
        return runs[:, 0], runs[:, 1], runs[:, 2]
    runs = runs[np.lexsort((runs[:, 1], runs[:, 0]))]
    starts = np.flatnonzero(np.r_[True, (runs[1:, :2] != runs[:-1, :2]).any(axis=1)])
    return runs[starts, 0], runs[starts, 1], np.add.reduceat(runs[:, 2], starts)


@njit(cache=True)
def _pair_runs(a: NDArray[np.integer], b: NDArray[np.integer]) -> NDArray[np.int64]:
    """(n, 3) int64 runs along the rows: a, b, length, where both are above 0."""
    height, width = a.shape
    out = np.empty((1024, 3), dtype=np.int64)
    n = 0
    for r in range(height):
        c = 0
        while c < width:
            va, vb = a[r, c], b[r, c]
            start = c
            c += 1
            if va == 0 or vb == 0:
                continue
            while c < width and a[r, c] == va and b[r, c] == vb:
                c += 1
            if n == out.shape[0]:
                grown = np.empty((2 * n, 3), dtype=np.int64)
                grown[:n] = out
                out = grown
            out[n, 0] = va
            out[n, 1] = vb
            out[n, 2] = c - start
            n += 1
    return out[:n].copy()


@njit(cache=True)
def _piece_table(labels: NDArray[np.uint16], image: NDArray[np.uint32], n: int) -> _PieceColumns:
    local = np.zeros(n + 1, dtype=np.int64)
    area = np.zeros(n + 1, dtype=np.int64)
    first = np.zeros(n + 1, dtype=np.int64)
    height, width = labels.shape
    for r in range(height):
        for c in range(width):
            piece = image[r, c]
            if area[piece] == 0:
                local[piece] = labels[r, c]
                first[piece] = r * width + c
            area[piece] += 1
    return local, area, first
