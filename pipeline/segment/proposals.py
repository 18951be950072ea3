"""Every object of a tile: the masks that a grid of points gives, as far as they are sound.

1. A segmenter decodes each point to all the masks that it may mean (`Segmenter.propose`).
2. `sound_masks` leaves out what the segmenter itself thinks little of (predicted IoU), and what changes much
   when the threshold of its logits does (`stabilities`). Only the others are enlarged, and then judged by
   their size.
3. `sift` goes through the rest from the best mask down, and leaves out those that repeat a better one.

These are the filters of automatic mask generation in A. Kirillov et al., "Segment Anything", ICCV 2023
(arXiv:2304.02643), appendix B. Its released `SamAutomaticMaskGenerator` asks for a predicted IoU of 0.88 and
a stability of 0.95, which finds too little here (tests/benchmarks/README.md). Three more things differ:

- Stability is taken from the decoder's small logits, within the tile.
- Repeats are found by the overlap of masks, not of their boxes: a ring and what it encloses have nearly one
  box.
- A mask that an edge of the tile cuts stays, because the merge joins it to what the neighbour saw. So there
  are no crops at other scales either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.tensors import crop_masks

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.segment.segmenter import Embedding


@dataclass(frozen=True, kw_only=True)
class EverythingOptions:
    """The `[everything]` table: which masks of a grid of points are objects."""

    min_predicted_iou: float = 0.8
    """Smallest score, 0..1: the segmenter's own estimate of how well the mask fits."""
    min_stability: float = 0.9
    """Smallest IoU, 0..1, of the masks at a threshold that is higher and lower by `stability_offset`."""
    stability_offset: float = 1.0
    """In logits."""
    max_mask_iou: float = 0.7
    """A mask that overlaps a better one by more than this IoU repeats it."""
    min_mask_px: int = 64
    """Smallest area in pixels of the tile."""
    max_mask_share: float = 0.4
    """Largest area, as a share of the tile. What is larger is ground, not an object."""

    def __post_init__(self) -> None:
        for name in ("min_predicted_iou", "min_stability", "max_mask_iou", "max_mask_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies between 0 and 1, got {getattr(self, name)}")
        if self.stability_offset < 0 or self.min_mask_px < 1:
            given = f"{self.stability_offset} and {self.min_mask_px}"
            raise ValueError(f"stability_offset is not negative and min_mask_px is at least 1, got {given}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposals:
    """Masks of one tile, and how many were left out, for which reason."""

    masks: tuple[MaskCrop, ...] = ()
    """Of `Segmenter.propose`: several may be of one prompt. Of `sift`: mask i is of prompt i."""
    unsure: int = 0
    """Masks of too small a predicted IoU, or without a pixel."""
    unstable: int = 0
    missized: int = 0
    """Masks that are too small or too large."""
    repeats: int = 0

    def with_more(self, other: Proposals) -> Proposals:
        """Add up what two batches of prompts gave."""
        return Proposals(
            masks=self.masks + other.masks,
            unsure=self.unsure + other.unsure,
            unstable=self.unstable + other.unstable,
            missized=self.missized + other.missized,
            repeats=self.repeats + other.repeats,
        )

    def text(self, n_prompts: int) -> str:
        """Say in one line what became of a grid of `n_prompts` points."""
        return (
            f"{n_prompts} points; masks left out: {self.unsure} unsure, {self.unstable} unstable, "
            f"{self.missized} too small or large, {self.repeats} repeats; kept: {len(self.masks)}"
        )


def stabilities(logits: Tensor, threshold: float, offset: float) -> Tensor:
    """IoU of each mask with itself at a higher and a lower threshold.

    Args:
        logits: (N, M, h, w), those of the tile alone.
        threshold: logits above it are object.
        offset: added to the threshold, and taken from it.

    Returns:
        (N, M) float32 in 0..1; 0 where no logit is above the lower threshold.
    """
    inner = (logits > threshold + offset).sum((2, 3))
    outer = (logits > threshold - offset).sum((2, 3))
    return inner.float() / outer.clamp(min=1).float()


def sound_masks(
    logits: Tensor,
    scores: Tensor,
    *,
    prompt_indices: Sequence[int],
    embedding: Embedding,
    threshold: float,
    rules: EverythingOptions,
) -> Proposals:
    """The masks of N prompts that are good enough by themselves.

    Args:
        logits: (N, M, L, L) float32: M masks of each prompt, over the embedding's square.
        scores: (N, M) predicted IoUs.
        prompt_indices: N places among all prompts.
        embedding: of the tile.
        threshold: logits above it are object.
        rules: what good enough means.
    """
    height, width = embedding.shape_px
    side = logits.shape[-1]
    rows = -(-height * side // embedding.square_px)
    cols = -(-width * side // embedding.square_px)
    stable = stabilities(logits[:, :, :rows, :cols], threshold, rules.stability_offset)
    sure = scores >= rules.min_predicted_iou
    good = sure & (stable >= rules.min_stability)
    places = good.nonzero()
    crops = crop_masks(logits[good], threshold, embedding.valid, embedding.square_px)
    masks = []
    missized = 0
    for (row, which), crop in zip(places.tolist(), crops, strict=True):
        if crop is None or not fits(crop.mask.sum(), embedding, rules):
            missized += 1
            continue
        masks.append(
            MaskCrop(
                row0=crop.row0,
                col0=crop.col0,
                mask=crop.mask,
                score=min(max(float(scores[row, which]), 0.0), 1.0),
                prompt_index=prompt_indices[row],
                stability=float(stable[row, which]),
            )
        )
    return Proposals(
        masks=tuple(masks),
        unsure=int((~sure).sum()),
        unstable=int((sure & ~good).sum()),
        missized=missized,
    )


def fits(area_px: int, embedding: Embedding, rules: EverythingOptions) -> bool:
    """Whether an object may have this area."""
    height, width = embedding.shape_px
    return rules.min_mask_px <= area_px <= rules.max_mask_share * height * width


def sift(
    found: Proposals, prompts: Sequence[Prompt], rules: EverythingOptions
) -> tuple[Proposals, tuple[Prompt, ...]]:
    """Leave out repeats, and give every mask that stays a prompt of its own.

    A mask goes when a better one that stays overlaps it by more than `max_mask_iou`. Better is: of a higher
    score, then stabler, larger, further up and to the left. The order of `found.masks` does not matter.
    """
    kept: list[MaskCrop] = []
    boxes = np.zeros((len(found.masks), 4), dtype=np.int64)
    areas = np.zeros(len(found.masks), dtype=np.int64)
    for mask in sorted(found.masks, key=_rank):
        n = len(kept)
        box = _box(mask)
        area = int(mask.mask.sum())
        shared = np.minimum(boxes[:n, 2:], box[2:]) - np.maximum(boxes[:n, :2], box[:2])
        most = np.minimum(np.maximum(shared, 0).prod(axis=1), np.minimum(areas[:n], area))
        near = np.flatnonzero(most > rules.max_mask_iou * (areas[:n] + area - most))
        if any(_iou(mask, kept[other]) > rules.max_mask_iou for other in near.tolist()):
            continue
        boxes[n] = box
        areas[n] = area
        kept.append(mask)
    kept.sort(key=lambda mask: (mask.prompt_index, *_rank(mask)))
    return (
        replace(
            found,
            masks=tuple(replace(mask, prompt_index=index) for index, mask in enumerate(kept)),
            repeats=found.repeats + len(found.masks) - len(kept),
        ),
        tuple(prompts[mask.prompt_index] for mask in kept),
    )


def _rank(mask: MaskCrop) -> tuple[float, float, int, int, int, bytes]:
    """A total order, best first."""
    stability = mask.stability or 0.0
    pixels = np.packbits(mask.mask).tobytes()
    return -mask.score, -stability, -int(mask.mask.sum()), mask.row0, mask.col0, pixels


def _box(mask: MaskCrop) -> tuple[int, int, int, int]:
    height, width = mask.mask.shape
    return mask.row0, mask.col0, mask.row0 + height, mask.col0 + width


def _iou(a: MaskCrop, b: MaskCrop) -> float:
    top, left, bottom, right = (
        combine(one, other)
        for combine, one, other in zip((max, max, min, min), _box(a), _box(b), strict=True)
    )
    if top >= bottom or left >= right:
        return 0.0
    first, second = (
        mask.mask[top - mask.row0 : bottom - mask.row0, left - mask.col0 : right - mask.col0]
        for mask in (a, b)
    )
    common = int((first & second).sum())
    return common / (int(a.mask.sum()) + int(b.mask.sum()) - common)
