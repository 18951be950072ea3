"""Choose points from a map of similarity.

`peaks`: GeoSeg equation 3. Local maxima of at least tau, best first, at most k; a peak suppresses others near
it. The paper does not say how near: SUPPRESSED_CELLS is ours.

`released_points`: as the authors' code (commit 0d45b5e, by reading): every cell of at least 0.8, at most half
of the cells, without suppression. Without any, nine points around the centre; how far apart they are is ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SUPPRESSED_CELLS = 2
"""Cells around a peak, on each side, in which no other peak is taken."""

RELEASED_TAU = 0.8
RELEASED_SHARE = 0.5

Points = list[tuple[float, float]]
"""(x, y) as shares of the picture's width and height: centres of cells."""


def peaks(similarity: NDArray[np.float32], *, k: int, tau: float) -> Points:
    """Take at most `k` local maxima (h, w) of at least `tau`, best first. A map of one value has none."""
    height, width = similarity.shape
    if float(similarity.max()) <= float(similarity.min()):
        return []
    padded = np.pad(similarity, 1, constant_values=-np.inf)
    around = np.max(
        [
            padded[1 + r : 1 + r + height, 1 + c : 1 + c + width]
            for r in (-1, 0, 1)
            for c in (-1, 0, 1)
            if (r, c) != (0, 0)
        ],
        axis=0,
    )
    left = np.where((similarity >= around) & (similarity >= tau), similarity, -np.inf)
    found: Points = []
    while len(found) < k and np.isfinite(left.max()):
        row, col = np.unravel_index(int(left.argmax()), left.shape)
        found.append(((col + 0.5) / width, (row + 0.5) / height))
        near = slice(max(row - SUPPRESSED_CELLS, 0), row + SUPPRESSED_CELLS + 1)
        left[near, max(col - SUPPRESSED_CELLS, 0) : col + SUPPRESSED_CELLS + 1] = -np.inf
    return found


def released_points(similarity: NDArray[np.float32]) -> Points:
    """Take every cell (h, w) of at least RELEASED_TAU, best first, or nine points around the centre."""
    height, width = similarity.shape
    order = np.argsort(-similarity, axis=None, kind="stable")[: int(RELEASED_SHARE * similarity.size)]
    best = [int(cell) for cell in order if similarity.flat[cell] >= RELEASED_TAU]
    if not best:
        return [(x, y) for y in (0.25, 0.5, 0.75) for x in (0.25, 0.5, 0.75)]
    return [((cell % width + 0.5) / width, (cell // width + 0.5) / height) for cell in best]
