"""GeoSeg's dual-route segmentation as a `Segmenter` around another one.

1. `embed` keeps the tile; nothing is encoded, because every box becomes a picture of its own.
2. `segment` cuts out each box. Its phrase is the prompt's label, which the profile `geoseg` asks for.
3. Route A: points where CLIP sees the phrase (`clip_surgery`, `keypoints`) prompt the inner segmenter. By the
   paper's rules all points mean one object, by the released ones each its own, and the masks are joined.
4. Route B: SAM3 finds the phrase (`sam3_text`).
5. `fusion` makes one mask, which is put back at the place of the box.

The box is refined before, where --refine-boxes says so. The score is the mean over the routes whose mask is
in the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.dual_route.dual_options import DualRouteOptions
from pipeline.segment.dual_route.fusion import fused, fused_as_released
from pipeline.segment.dual_route.keypoints import Points, peaks, released_points
from pipeline.segment.segmenter import Embedding, Segmenter

Mask = NDArray[np.bool_]


class PhraseMap(Protocol):
    """Route A's matcher."""

    def similarity(self, rgb: NDArray[np.uint8], phrase: str) -> NDArray[np.float32]:
        """Map a phrase over a picture (H, W, 3): (h, w) from 0 to 1."""
        ...


class PhraseFinder(Protocol):
    """Route B."""

    def find(self, rgb: NDArray[np.uint8], phrase: str) -> tuple[Mask, float]:
        """Give mask (H, W) and score of what a phrase names in a picture (H, W, 3)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteMask:
    """What one route says of a box."""

    mask: Mask
    score: float
    has_points: bool = True
    """Whether route A had a point; True for route B."""


class DualRouteSegmenter:
    """A `Segmenter` of boxes with phrases. `inner` must take pictures of any size."""

    def __init__(
        self,
        inner: Segmenter,
        options: DualRouteOptions,
        *,
        matcher: PhraseMap | None,
        finder: PhraseFinder | None,
    ) -> None:
        """`matcher`, `finder`: models of routes A and B; None where `options.routes` leaves a route out."""
        self._inner = inner
        self._options = options
        self._matcher = matcher
        self._finder = finder

    @property
    def model_id(self) -> str:
        """The inner segmenter, and what is around it."""
        names = "+".join(f"{name}:{place}" for name, place in self._options.models.items())
        return f"{self._inner.model_id}+{names}+{self._options.rules}"

    @property
    def n_embeddings(self) -> int:
        """Image encodings of the inner segmenter: one per box."""
        return self._inner.n_embeddings

    def embed(self, image: TileImage) -> Embedding:
        """Keep the tile."""
        height, width = image.rgb.shape[:2]
        return Embedding(
            tile=image.tile,
            shape_px=(height, width),
            square_px=max(height, width),
            valid=image.valid,
            features=image.rgb,
        )

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        """Make one mask per prompt, in order; a mask without a valid pixel is left out.

        Raises ModelError for a prompt without a box or without a phrase, or when a model call fails.
        """
        rgb = embedding.features
        assert isinstance(rgb, np.ndarray), "an embedding belongs to the segmenter that made it"
        masks = []
        for place, prompt in enumerate(prompts):
            if prompt.box_xyxy is None or not prompt.label.strip():
                raise ModelError(
                    "two routes need a box and a phrase in every prompt; ask with a profile that gives both, "
                    "such as geoseg"
                )
            window = box_window(prompt.box_xyxy, embedding.shape_px)
            rows = slice(window.row0, window.row1)
            cols = slice(window.col0, window.col1)
            crop = np.ascontiguousarray(rgb[rows, cols])
            mask, score = self._of_crop(crop, embedding.valid[rows, cols], prompt.label, embedding.tile)
            mask &= embedding.valid[rows, cols]
            if mask.any():
                masks.append(
                    MaskCrop(row0=window.row0, col0=window.col0, mask=mask, score=score, prompt_index=place)
                )
        return [_trimmed(mask) for mask in masks]

    def _of_crop(
        self, crop: NDArray[np.uint8], valid: Mask, phrase: str, tile: TileSpec
    ) -> tuple[Mask, float]:
        nothing = RouteMask(mask=np.zeros(crop.shape[:2], np.bool_), score=0.0, has_points=False)
        first = nothing if self._matcher is None else self._route_a(self._matcher, crop, valid, phrase, tile)
        second = nothing if self._finder is None else _route_b(self._finder, crop, phrase)
        if self._options.rules == "released":
            mask = fused_as_released(first.mask, second.mask)
        else:
            mask = fused(first.mask, second.mask, has_points=first.has_points, gamma=self._options.gamma)
        used = [route.score for route in (first, second) if (route.mask & mask).any()]
        return mask.copy(), float(np.mean(used)) if used else 0.0

    def _route_a(
        self, matcher: PhraseMap, crop: NDArray[np.uint8], valid: Mask, phrase: str, tile: TileSpec
    ) -> RouteMask:
        similarity = matcher.similarity(crop, phrase)
        released = self._options.rules == "released"
        points = (
            released_points(similarity)
            if released
            else peaks(similarity, k=self._options.top_k, tau=self._options.tau)
        )
        mask = np.zeros(crop.shape[:2], dtype=np.bool_)
        if not points:
            return RouteMask(mask=mask, score=0.0, has_points=False)
        whole = Window(row0=0, col0=0, row1=crop.shape[0], col1=crop.shape[1])
        view = TileImage(
            tile=TileSpec(tile_row=tile.tile_row, tile_col=tile.tile_col, core=whole, read=whole),
            rgb=crop,
            valid=valid,
        )
        found = self._inner.segment(
            self._inner.embed(view), point_prompts(points, crop.shape[:2], apart=released)
        )
        for part in found:
            height, width = part.mask.shape
            mask[part.row0 : part.row0 + height, part.col0 : part.col0 + width] |= part.mask
        return RouteMask(mask=mask, score=float(np.mean([p.score for p in found])) if found else 0.0)


def box_window(box_xyxy: tuple[float, float, float, float], shape_hw: tuple[int, int]) -> Window:
    """Round a box outwards to whole pixels of a tile (H, W), at least one."""
    x0, y0, x1, y1 = box_xyxy
    row0 = min(max(int(np.floor(y0)), 0), shape_hw[0] - 1)
    col0 = min(max(int(np.floor(x0)), 0), shape_hw[1] - 1)
    return Window(
        row0=row0,
        col0=col0,
        row1=max(min(int(np.ceil(y1)), shape_hw[0]), row0 + 1),
        col1=max(min(int(np.ceil(x1)), shape_hw[1]), col0 + 1),
    )


def point_prompts(points: Points, shape_hw: tuple[int, ...], *, apart: bool) -> list[Prompt]:
    """Make prompts of points (shares of a picture of (h, w) pixels): one for all of them, or one for each."""
    placed = [(x * shape_hw[1], y * shape_hw[0]) for x, y in points]
    groups = [[point] for point in placed] if apart else [placed]
    return [Prompt(box_xyxy=None, points_xy=tuple(group), point_labels=(1,) * len(group)) for group in groups]


def _route_b(finder: PhraseFinder, crop: NDArray[np.uint8], phrase: str) -> RouteMask:
    mask, score = finder.find(crop, phrase)
    return RouteMask(mask=mask, score=score)


def _trimmed(crop: MaskCrop) -> MaskCrop:
    """Cut the empty border off a mask that has a pixel."""
    rows = np.flatnonzero(crop.mask.any(axis=1))
    cols = np.flatnonzero(crop.mask.any(axis=0))
    return MaskCrop(
        row0=crop.row0 + int(rows[0]),
        col0=crop.col0 + int(cols[0]),
        mask=crop.mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1],
        score=crop.score,
        prompt_index=crop.prompt_index,
    )
