"""Fill small holes and drop specks of objects, in pixels, so that no two objects come to overlap.

1. `_WindowPieces` cuts a window of the id raster into 4-connected pieces: of objects, of background that was
   looked at, and of what was not judged.
2. A hole is a piece of looked-at background with one single object around it. One with another object in it
   is none, nor is what nobody looked at. Small holes become pixels of the object.
3. A speck is a small piece of an object after that. It becomes background. An object that consists of specks
   alone is exempt.

A small piece has few pixels, and is no longer than `LONGEST_PX`. So a window that is larger than its core by
`CleaningRules.reach_px` decides every piece that touches the core as the whole raster would.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import NDArray

LONGEST_PX = 1024
"""Holes and specks with more rows or columns stay, however few pixels they have."""

_LOOKED_AT = 1
_UNJUDGED = 2
_FIRST_ID = 3
"""Classes of pixels; an object's class is its number from 1 in the window, plus 2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CleaningRules:
    """How large a hole or a speck may be, in pixels; 0: none."""

    hole_px: int = 0
    speck_px: int = 0

    @property
    def reach_px(self) -> int:
        """How far, in pixels, others decide about a pixel. Specks are looked for after holes are filled."""
        return min(self.hole_px, LONGEST_PX) + min(self.speck_px, LONGEST_PX)


def clean_pixels(
    ids: NDArray[np.uint64],
    looked_at: NDArray[np.bool_],
    rules: CleaningRules,
    *,
    exempt: NDArray[np.uint64],
) -> NDArray[np.uint64]:
    """Fill holes and drop specks. Returns a new (H, W) raster.

    ids: (H, W), 0 = no object. looked_at: (H, W), False = not judged. exempt: ids, ascending, of the objects
    that keep their specks. The border of the raster encloses nothing.
    """
    cleaned = ids.copy()
    if rules.hole_px and ids.any():
        pieces = _WindowPieces(cleaned, looked_at)
        fill = (pieces.kind == _LOOKED_AT) & pieces.small(rules.hole_px) & (pieces.enclosing > 0)
        where = fill[pieces.image]
        cleaned[where] = pieces.enclosing[pieces.image[where]]
    if rules.speck_px and cleaned.any():
        pieces = _WindowPieces(cleaned, looked_at)
        drop = (pieces.kind >= _FIRST_ID) & pieces.small(rules.speck_px)
        drop &= ~np.isin(pieces.value, exempt)
        cleaned[drop[pieces.image]] = 0
    return cleaned


class _WindowPieces:
    """The 4-connected pieces 1..n of a raster; arrays are (n + 1,), and their entry 0 means nothing."""

    def __init__(self, ids: NDArray[np.uint64], looked_at: NDArray[np.bool_]) -> None:
        import cc3d

        values, number = np.unique(ids, return_inverse=True)
        objects = values[values > 0]
        first = int(objects.size < values.size)  # 1 where 0 is among the values
        kinds = number.reshape(ids.shape).astype(np.uint32) + np.uint32(_FIRST_ID - first)
        kinds[(ids == 0) & looked_at] = _LOOKED_AT
        kinds[(ids == 0) & ~looked_at] = _UNJUDGED
        self.image, n = cc3d.connected_components(
            np.ascontiguousarray(kinds), connectivity=4, return_N=True, out_dtype=np.uint32
        )
        self.kind = np.zeros(n + 1, dtype=np.uint32)
        self.kind[self.image.ravel()] = kinds.ravel()
        self._objects = objects

    def small(self, most_px: int) -> NDArray[np.bool_]:
        """Which pieces have at most so many pixels, and are not too long."""
        import cc3d

        found = cc3d.statistics(self.image, no_slice_conversion=True)
        boxes = found["bounding_boxes"].astype(np.int64)  # first and last row, first and last column
        longest = (boxes[:, 1::2] - boxes[:, ::2]).max(axis=1) + 1
        return np.asarray((found["voxel_counts"] <= most_px) & (longest <= LONGEST_PX), dtype=np.bool_)

    @cached_property
    def value(self) -> NDArray[np.uint64]:
        """Id of the object that a piece belongs to; 0: none."""
        return self._id_of(self.kind)

    @cached_property
    def enclosing(self) -> NDArray[np.uint64]:
        """Id of the only object around a piece; 0 where there are several, something else, or the border."""
        return self._id_of(_only_neighbour(self.image, self.kind))

    def _id_of(self, kind: NDArray[np.uint32]) -> NDArray[np.uint64]:
        known = np.concatenate([np.zeros(_FIRST_ID, np.uint64), self._objects])
        return np.asarray(known[kind], dtype=np.uint64)


@njit(cache=True)
def _only_neighbour(image: NDArray[np.uint32], kind: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """(n + 1,): the only kind that is next to a piece; 0: several are, or the raster ends beside it."""
    height, width = image.shape
    found = np.zeros(kind.size, dtype=np.uint32)
    spoilt = np.zeros(kind.size, dtype=np.bool_)
    for r in range(height):
        for c in range(width):
            piece = image[r, c]
            for dr, dc in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                y, x = r + dr, c + dc
                if y < 0 or x < 0 or y >= height or x >= width:
                    spoilt[piece] = True
                    continue
                other = image[y, x]
                if other == piece:
                    continue
                if found[piece] == 0:
                    found[piece] = kind[other]
                elif found[piece] != kind[other]:
                    spoilt[piece] = True
    found[spoilt] = 0
    return found
