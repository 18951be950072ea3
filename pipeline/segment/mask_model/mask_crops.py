"""Whole masks of a tile become masks cropped to their bounding boxes, each with its box as its prompt.

1. Pixels without imagery are taken out.
2. A model may draw all objects of a query as one mask. Then each part that is connected along edges of
   pixels is an object, as everywhere in the merge. Otherwise the merge would take all of them for one, and
   join whole tiles through it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.mask_model.mask_model import MaskAnswer
from pipeline.segment.tensors import CroppedMask, trimmed


def crops_of(
    answer: MaskAnswer, valid: NDArray[np.bool_], *, split: bool
) -> tuple[tuple[MaskCrop, ...], tuple[Prompt, ...]]:
    """Crop the masks of an answer, and give the box of each as a prompt. `valid`: (H, W), True = imagery.

    `split`: every connected part is a mask of its own, with the score of the mask that it was part of.
    """
    crops: list[MaskCrop] = []
    prompts: list[Prompt] = []
    for mask, score in zip(answer.masks, answer.scores, strict=True):
        seen = mask & valid
        for crop in _parts(seen) if split else [trimmed(seen, 0, 0)]:
            if crop is None:
                continue
            height, width = crop.mask.shape
            box = (crop.col0, crop.row0, crop.col0 + width, crop.row0 + height)
            prompts.append(Prompt(box_xyxy=tuple(map(float, box))))  # type: ignore[arg-type]
            crops.append(
                MaskCrop(row0=crop.row0, col0=crop.col0, mask=crop.mask, score=score, prompt_index=len(crops))
            )
    return tuple(crops), tuple(prompts)


def _parts(mask: NDArray[np.bool_]) -> Iterator[CroppedMask | None]:
    """The connected parts of a mask, from the top down."""
    labels, _ = ndimage.label(mask)
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        rows, cols = place
        yield trimmed(labels[place] == number, rows.start, cols.start)
