"""Whole masks become crops; what is put back together is the mask."""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.schema.tile_answers import MaskCrop, Reason
from pipeline.segment.mask_model.mask_crops import crops_of
from pipeline.segment.mask_model.mask_model import masks_or_nothing, no_answer

SHAPE = (9, 7)


def painted(crops: Sequence[MaskCrop]) -> np.ndarray:
    """(N, H, W): each crop where it belongs."""
    whole = np.zeros((len(crops), *SHAPE), dtype=np.bool_)
    for place, crop in zip(whole, crops, strict=True):
        height, width = crop.mask.shape
        place[crop.row0 : crop.row0 + height, crop.col0 : crop.col0 + width] = crop.mask
    return whole


@given(
    masks=arrays(np.bool_, (2, *SHAPE)),
    valid=arrays(np.bool_, SHAPE),
    scores=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_kept_masks_are_the_masks_where_there_is_imagery(
    masks: np.ndarray, valid: np.ndarray, scores: tuple[float, float]
) -> None:
    crops, prompts = crops_of(masks_or_nothing(masks, scores), valid, split=False)
    seen = masks & valid
    kept = [place for place in range(2) if seen[place].any()]
    np.testing.assert_array_equal(painted(crops), seen[kept])
    assert [crop.score for crop in crops] == [scores[place] for place in kept]
    assert [crop.prompt_index for crop in crops] == list(range(len(prompts)))


@given(mask=arrays(np.bool_, SHAPE), valid=arrays(np.bool_, SHAPE))
def test_split_parts_are_the_connected_parts(mask: np.ndarray, valid: np.ndarray) -> None:
    crops, prompts = crops_of(masks_or_nothing(mask[None], [0.5]), valid, split=True)
    labels = cc3d.connected_components((mask & valid).astype(np.uint8), connectivity=4)
    parts = {(labels == number).tobytes() for number in range(1, int(labels.max()) + 1)}
    whole = painted(crops)
    assert {one.tobytes() for one in whole} == parts
    assert len(whole) == len(parts) == len(prompts)
    for one, prompt in zip(whole, prompts, strict=True):
        rows = np.flatnonzero(one.any(axis=1))
        cols = np.flatnonzero(one.any(axis=0))
        assert prompt.box_xyxy == (cols[0], rows[0], cols[-1] + 1, rows[-1] + 1)


@pytest.mark.parametrize("split", [True, False])
def test_what_has_no_masks_has_no_crops(split: bool) -> None:
    valid = np.ones(SHAPE, dtype=np.bool_)
    assert crops_of(no_answer(Reason.MODEL_ERROR, "x"), valid, split=split) == ((), ())
