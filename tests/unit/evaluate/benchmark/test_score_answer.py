"""Masks against the truth, with areas counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from evaluate.sample_worlds import SHAPE, image, rectangle, sample

from pipeline.evaluate.benchmark.sample_records import unpack_mask
from pipeline.evaluate.benchmark.score_answer import DrawnAnswer, judged_answer, score_answer, union_of
from pipeline.evaluate.benchmark.truth_models import image_tile
from pipeline.prompt.looks.verifier import Judged
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt, Reason, TilePrompts, TileStatus

BOX = Prompt(box_xyxy=(2.0, 3.0, 8.0, 9.0))
SQUARE = rectangle(3, 2, 9, 8)  # 36 px


def crop(row0: int, col0: int, height: int, width: int, score: float = 0.5) -> MaskCrop:
    return MaskCrop(row0=row0, col0=col0, mask=np.ones((height, width), bool), score=score, prompt_index=0)


def drawn(*masks: MaskCrop, shape: tuple[int, int] = SHAPE, **answer: object) -> DrawnAnswer:
    tile = image_tile(0, shape)
    asked = sample("s", SQUARE)
    given = {"status": TileStatus.FOUND, "reason": Reason.NONE, "prompts": (BOX,), **answer}
    return DrawnAnswer(
        view=TileImage(tile=tile, rgb=np.zeros((*shape, 3), np.uint8), valid=np.ones(shape, bool)),
        image=image("i", [asked]),
        sample=asked,
        answer=TilePrompts(tile_id=tile.tile_id, query_index=0, **given),  # type: ignore[arg-type]
        masks=masks,
    )


def test_masks_are_joined_before_they_are_compared() -> None:
    """Rows 3 to 8, columns 4 to 9: a third of the target is missed, and as much is beside it."""
    record = score_answer(drawn(crop(3, 4, 6, 4, 0.25), crop(3, 6, 6, 4, 0.75)), None, 0.0075)
    assert (record.true_px, record.predicted_px, record.common_px) == (36, 36, 24)
    assert (record.status, record.mask_scores) == (TileStatus.FOUND, (0.25, 0.75))
    assert (record.height, record.width) == SHAPE
    np.testing.assert_array_equal(unpack_mask(record.mask_png, SHAPE), rectangle(3, 4, 9, 10))


def test_prompts_without_pixels_are_an_empty_answer() -> None:
    record = score_answer(drawn(), None, 0.0075)
    assert (record.status, record.reason) == (TileStatus.EMPTY, Reason.PROMPTER)
    assert record.error == "no prompt gave a mask with pixels"
    assert (record.prompts, record.abstained) == ((BOX,), False)


@pytest.mark.parametrize(("side_px", "true_px", "shape"), [(None, 36, SHAPE), (96, 36 * 4 * 3, (96, 96))])
def test_an_unreadable_image_is_scored_at_the_size_it_was_meant_to_have(
    side_px: int | None, true_px: int, shape: tuple[int, int]
) -> None:
    failed = drawn(shape=(1, 1), status=TileStatus.FAILED, reason=Reason.UNREADABLE, prompts=(), error="x")
    record = score_answer(failed, side_px, 0.0075)
    assert (record.true_px, record.predicted_px, (record.height, record.width)) == (true_px, 0, shape)
    assert (record.status, record.error) == (TileStatus.FAILED, "x")


def test_a_verifier_takes_masks_away_and_empties_an_answer_that_keeps_none() -> None:
    good = crop(3, 2, 6, 6)
    beside = crop(10, 20, 6, 6)
    some = judged_answer(drawn(good, beside), Judged(kept=(good,), verified=(0.9, 0.1)))
    assert (some.masks, some.verified, some.n_rejected) == ((good,), (0.9, 0.1), 1)
    assert some.answer.status is TileStatus.FOUND
    none = judged_answer(drawn(good), Judged(kept=(), verified=(0.1,)))
    assert (none.answer.status, none.answer.reason) == (TileStatus.EMPTY, Reason.VERIFIER)
    assert (none.masks, none.n_rejected) == ((), 1)


def test_the_union_of_overlapping_masks() -> None:
    crops = [MaskCrop(row0=1, col0=1, mask=np.ones((2, 2), bool), score=1, prompt_index=0)]
    crops.append(
        MaskCrop(row0=2, col0=2, mask=np.array([[True, True], [False, True]]), score=1, prompt_index=1)
    )
    expected = np.zeros((5, 5), bool)
    expected[1:3, 1:3] = expected[2, 3] = expected[3, 3] = True
    np.testing.assert_array_equal(union_of(crops, (5, 5)), expected)
