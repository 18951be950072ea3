"""A segmenter that knows the truth, sees only the box of a prompt, and makes mistakes of given size.

1. `segment` cuts out the box, as GeoSeg does: what lies outside of it is lost. So a box that drifts costs.
2. Route A marks the object that the prompt means; it may take background with it (`OracleNoise.leak`).
3. Route B marks all of the query in the box; it may take other things with it (`confuse`).
4. Both may find nothing (`lose`), and draw outlines too far out or in (`edge`).
5. The rules of `dual_route.fusion` make one mask of the two. `direct`: route A's mask, without any rule.

What is taken along is the half of the box's other pixels on one side of a line through its middle, at an
angle of its own for each route. So the two routes err apart, which is what fusion hopes for. That is our
model of mistakes, not a measurement of CLIP and SAM3: figures made with it say what the rules do.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.errors import ModelError
from pipeline.evaluate.benchmark.oracle_noise import INVENTED_PART, OracleNoise
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.dual_route.dual_options import Rules
from pipeline.segment.dual_route.dual_route_segmenter import box_window
from pipeline.segment.dual_route.fusion import fused, fused_as_released

Mask = NDArray[np.bool_]
OracleRoute = Literal["direct", "a", "b", "both"]

GAMMA = 0.01
"""Least share of the box that a valid mask covers, as GeoSeg has it."""

_ROUTE_KEYS = {"a": 1, "b": 2}


class BoxedOracle:
    """Draws the masks of one query about one picture."""

    def __init__(self, routes: OracleRoute, rules: Rules, noise: OracleNoise) -> None:
        self._routes = routes
        self._rules = rules
        self._noise = noise

    def draw(
        self, parts: NDArray[np.int32], part: int, prompt: Prompt, key: tuple[int, int]
    ) -> MaskCrop | None:
        """Draw the mask of a prompt; None: it has no pixel.

        Args:
            parts: (H, W) numbers of the query's true objects, 0 = nothing of it.
            part: which of them the prompt means; INVENTED_PART: none.
            prompt: its box counts.
            key: numbers of picture and query, for the draws.

        Raises:
            ModelError: the prompt has no box.
        """
        if prompt.box_xyxy is None:
            raise ModelError("an oracle that sees only boxes needs a box in every prompt")
        window = box_window(prompt.box_xyxy, (parts.shape[0], parts.shape[1]))
        crop = parts[window.row0 : window.row1, window.col0 : window.col1]
        number = (self._noise.seed, *key, part)
        first = self._route_a(crop, part, np.random.default_rng((*number, _ROUTE_KEYS["a"])))
        second = self._route_b(crop, np.random.default_rng((*number, _ROUTE_KEYS["b"])))
        mask = self._chosen(first, second)
        rows, cols = np.nonzero(mask)
        if not rows.size:
            return None
        row0 = int(rows.min())
        col0 = int(cols.min())
        return MaskCrop(
            row0=window.row0 + row0,
            col0=window.col0 + col0,
            mask=mask[row0 : int(rows.max()) + 1, col0 : int(cols.max()) + 1],
            score=1.0,
            prompt_index=0,
        )

    def _chosen(self, first: Mask, second: Mask) -> Mask:
        nothing = np.zeros_like(first)
        if self._routes == "direct":
            return first
        points = nothing if self._routes == "b" else first
        text = nothing if self._routes == "a" else second
        if self._rules == "released":
            return fused_as_released(points, text)
        return fused(points, text, has_points=bool(points.any()), gamma=GAMMA)

    def _route_a(self, crop: NDArray[np.int32], part: int, rng: np.random.Generator) -> Mask:
        own = _ellipse(crop.shape) if part == INVENTED_PART else crop == part
        return self._mistaken(own, rng, self._noise.leak)

    def _route_b(self, crop: NDArray[np.int32], rng: np.random.Generator) -> Mask:
        return self._mistaken(crop > 0, rng, self._noise.confuse)

    def _mistaken(self, mask: Mask, rng: np.random.Generator, takes_more: float) -> Mask:
        """Disturb a mask of a box. The number of draws is fixed, so that variants share them."""
        lost, more = rng.random(2)
        angle = rng.uniform(0, 2 * np.pi)
        outwards = rng.normal()
        if lost < self._noise.lose or not mask.any():
            return np.zeros_like(mask)
        drawn = _grown(mask, outwards * self._noise.edge * float(np.sqrt(mask.sum())))
        return drawn | _half(mask.shape, angle) if more < takes_more else drawn


def _grown(mask: Mask, by_px: float) -> Mask:
    """Move the outline of a mask outwards, or inwards for a negative number, but never to nothing."""
    if not by_px or mask.all():
        return mask
    if by_px > 0:
        return np.asarray(ndimage.distance_transform_edt(~mask) <= by_px)
    smaller = np.asarray(ndimage.distance_transform_edt(mask) > -by_px)
    return smaller if smaller.any() else mask


def _half(shape: tuple[int, ...], angle: float) -> Mask:
    """Mark the pixels on one side of a line through the middle."""
    rows, cols = np.indices(shape)
    across = (cols - (shape[1] - 1) / 2) * np.cos(angle) + (rows - (shape[0] - 1) / 2) * np.sin(angle)
    return np.asarray(across > 0)


def _ellipse(shape: tuple[int, ...]) -> Mask:
    """Mark an ellipse of half the size of a box: what points draw where nothing is."""
    rows, cols = np.indices(shape)
    wide = max(shape[1] / 4, 1)
    high = max(shape[0] / 4, 1)
    return np.asarray(
        ((cols - (shape[1] - 1) / 2) / wide) ** 2 + ((rows - (shape[0] - 1) / 2) / high) ** 2 <= 1
    )
