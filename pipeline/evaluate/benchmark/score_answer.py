"""Compare the masks of one query with the truth.

The masks that a verifier left are joined. Pixels and outlines of the union are compared with the true mask.
An answer whose prompts gave no pixel becomes EMPTY.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.benchmark.benchmark import Sample, SampleImage, read_mask
from pipeline.evaluate.benchmark.sample_records import SampleRecord, pack_mask
from pipeline.evaluate.figures.boundary import boundary_agreement, tolerance_px
from pipeline.prompt.looks.verifier import Judged
from pipeline.run.infer.step_rules import NO_PIXELS
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Reason, TilePrompts, TileStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnAnswer:
    """An answer with its masks, not yet scored."""

    view: TileImage
    image: SampleImage
    sample: Sample
    answer: TilePrompts
    masks: tuple[MaskCrop, ...] = ()
    verified: tuple[float | None, ...] = ()
    """The verifier's probability for each prompt, as in `SampleRecord`."""
    n_rejected: int = 0
    """Masks that the verifier took away."""


def judged_answer(drawn: DrawnAnswer, judged: Judged) -> DrawnAnswer:
    """Keep the masks that pass. The answer is EMPTY(verifier) when none does."""
    answer = drawn.answer
    if not judged.kept:
        answer = replace(answer, status=TileStatus.EMPTY, reason=Reason.VERIFIER)
    return replace(
        drawn,
        answer=answer,
        masks=judged.kept,
        verified=judged.verified,
        n_rejected=len(drawn.masks) - len(judged.kept),
    )


def score_answer(drawn: DrawnAnswer, side_px: int | None, boundary_share: float) -> SampleRecord:
    """Score one answer. Raises SourceError when the true mask is damaged.

    Args:
        drawn: the answer and its remaining masks.
        side_px: side to which images and masks are squashed; None: their own size.
        boundary_share: boundary tolerance as a share of the image diagonal.
    """
    shape = drawn.view.tile.read.shape
    sample = drawn.sample
    answer = drawn.answer
    if answer.reason is Reason.UNREADABLE:  # its truth still counts, in the intended size
        shape = (side_px, side_px) if side_px else sample.mask.size_hw()
    true = read_mask(sample.mask, shape)
    predicted = union_of(drawn.masks, shape)
    if answer.status is TileStatus.FOUND and not predicted.any():
        answer = replace(answer, status=TileStatus.EMPTY, reason=Reason.PROMPTER, error=NO_PIXELS)
    return SampleRecord(
        sample_id=sample.sample_id,
        image_id=drawn.image.image_id,
        query=sample.query,
        strata=sample.strata,
        status=answer.status,
        reason=answer.reason,
        error=answer.error,
        reply=answer.reply,
        rationale=answer.rationale,
        prompts=answer.prompts,
        n_dropped=answer.n_dropped,
        truncated_reply=answer.truncated_reply,
        n_calls=answer.n_calls,
        height=shape[0],
        width=shape[1],
        true_px=int(true.sum()),
        predicted_px=int(predicted.sum()),
        common_px=int((true & predicted).sum()),
        outline=boundary_agreement(true, predicted, tolerance_px(shape, boundary_share)),
        mask_scores=tuple(mask.score for mask in drawn.masks),
        mask_png=pack_mask(predicted),
        verified=drawn.verified,
        n_rejected=drawn.n_rejected,
    )


def union_of(masks: Sequence[MaskCrop], shape_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Join masks: returns (H, W), True where any of them is."""
    union = np.zeros(shape_hw, dtype=np.bool_)
    for mask in masks:
        height, width = mask.mask.shape
        union[mask.row0 : mask.row0 + height, mask.col0 : mask.col0 + width] |= mask.mask
    return union
