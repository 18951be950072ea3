"""Where many scenes lie on a run grid: rectangles are numbers, and only warped scenes have polygons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

OffsetRC = tuple[int, int]
"""(row, col) of the scene's first pixel on the run grid."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ScenePlaces:
    """Places of n scenes, in pixels of the grid (x = column edge, y = row edge)."""

    bounds: NDArray[np.float64]
    """(n, 4): x0, y0, x1, y1. A scene on the grid's own lattice fills them, and they are whole."""
    warped: NDArray[np.bool_]
    """(n,): whether a scene has another lattice."""
    shapes: NDArray[np.object_]
    """(k,): polygons of the warped scenes, in order."""

    @classmethod
    def joined(cls, parts: Sequence[ScenePlaces]) -> ScenePlaces:
        """Put places one behind the other."""
        return cls(
            bounds=np.concatenate([part.bounds for part in parts]),
            warped=np.concatenate([part.warped for part in parts]),
            shapes=np.concatenate([part.shapes for part in parts]),
        )

    @property
    def offsets(self) -> tuple[OffsetRC | None, ...]:
        """Per scene, where its first pixel lies. None: it has another lattice and must be warped."""
        corners = np.where(self.warped[:, None], 0.0, self.bounds[:, :2]).astype(np.int64).tolist()
        return tuple(
            None if warped else (row, col)
            for (col, row), warped in zip(corners, self.warped.tolist(), strict=True)
        )

    @property
    def outlines(self) -> tuple[BaseGeometry, ...]:
        """Per scene, the polygon of its extent."""
        found = np.asarray(shapely.box(*self.bounds.T), dtype=object)
        found[self.warped] = self.shapes
        return tuple(found)

    def take(self, numbers: NDArray[np.int64] | NDArray[np.bool_]) -> ScenePlaces:
        """Keep some, in this order; or those of a mask (n,)."""
        warped = self.warped[numbers]
        rank = np.cumsum(self.warped) - 1
        return ScenePlaces(
            bounds=self.bounds[numbers], warped=warped, shapes=self.shapes[rank[numbers][warped]]
        )

    def seen_from(self, row0: int, col0: int) -> ScenePlaces:
        """Count pixels from another corner of the grid."""
        corner = np.array([col0, row0], dtype=np.float64)
        return ScenePlaces(
            bounds=self.bounds - np.tile(corner, 2),
            warped=self.warped,
            shapes=shapely.transform(self.shapes, lambda xy: xy - corner),
        )
