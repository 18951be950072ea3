"""An answer of a mask model: masks, nothing, or a reason."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.segment.mask_model.mask_model import MaskAnswer, MaskModel, masks_or_nothing, no_answer
from pipeline.segment.mask_model.process_model import ProcessMaskModel
from pipeline.segment.mask_model.sam3_masks import Sam3Masks

CONFORM: tuple[type[MaskModel], ...] = (ProcessMaskModel, Sam3Masks)
"""Checked by mypy alone."""


def test_masks_without_a_pixel_are_left_out_with_their_scores() -> None:
    masks = np.zeros((3, 4, 5), dtype=np.bool_)
    masks[1, 2, 3] = True
    answer = masks_or_nothing(masks, [0.1, 0.7, 0.9], "one")
    assert (answer.status, answer.reason, answer.scores, answer.text) == (
        TileStatus.FOUND,
        Reason.NONE,
        (0.7,),
        "one",
    )
    np.testing.assert_array_equal(answer.masks, masks[1:2])


@pytest.mark.parametrize("n", [0, 2])
def test_no_pixel_at_all_is_nothing_here(n: int) -> None:
    answer = masks_or_nothing(np.zeros((n, 4, 5), dtype=np.bool_), [0.5] * n, "none")
    assert (answer.status, answer.reason, answer.scores) == (TileStatus.EMPTY, Reason.PROMPTER, ())
    assert len(answer.masks) == 0


def test_a_failure_is_never_nothing() -> None:
    answer = no_answer(Reason.TIMEOUT, "late")
    assert (answer.status, answer.reason, answer.error) == (TileStatus.FAILED, Reason.TIMEOUT, "late")


def test_an_answer_that_contradicts_itself_is_refused() -> None:
    one = np.ones((1, 2, 2), dtype=np.bool_)
    with pytest.raises(ValueError, match="only what is found"):
        MaskAnswer(status=TileStatus.EMPTY, reason=Reason.PROMPTER, masks=one, scores=(1.0,))
    with pytest.raises(ValueError, match="only what is found"):
        MaskAnswer(status=TileStatus.FOUND, reason=Reason.NONE)
    with pytest.raises(ValueError, match="as many scores"):
        MaskAnswer(status=TileStatus.FOUND, reason=Reason.NONE, masks=one)
