"""The truth as models: what they answer is the truth, for any mask."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from evaluate.sample_worlds import SHAPE, image, rectangle, sample
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import ModelError
from pipeline.evaluate.benchmark.score_answer import union_of
from pipeline.evaluate.benchmark.truth_models import (
    TruthPrompter,
    TruthSegmenter,
    askable,
    image_number,
    image_tile,
)
from pipeline.prompt.prompter import Prompter
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt, TileStatus
from pipeline.segment.segmenter import Segmenter


def view(number: int) -> TileImage:
    return TileImage(
        tile=image_tile(number, SHAPE), rgb=np.zeros((*SHAPE, 3), np.uint8), valid=np.ones(SHAPE, bool)
    )


@settings(max_examples=8, deadline=None)
@given(
    st.lists(hnp.arrays(bool, SHAPE, elements=st.integers(0, 9).map(lambda v: v < 2)), min_size=1, max_size=2)
)
def test_prompts_and_masks_of_the_truth_are_the_truth(masks: list[np.ndarray]) -> None:
    images = [
        image("other", [sample("x", rectangle(0, 0, 2, 2))]),
        image("i", [sample(f"s{k}", mask) for k, mask in enumerate(masks)]),
    ]
    prompter: Prompter = TruthPrompter(images)
    segmenter: Segmenter = TruthSegmenter(images)
    answers = asyncio.run(prompter.prompt(view(1), [s.query for s in images[1].samples]))
    embedding = segmenter.embed(view(1))
    for index, (answer, mask) in enumerate(zip(answers, masks, strict=True)):
        assert answer.query_index == index
        assert (answer.status is TileStatus.FOUND) == bool(mask.any())
        np.testing.assert_array_equal(union_of(segmenter.segment(embedding, answer.prompts), SHAPE), mask)
        for prompt in answer.prompts:
            assert all(mask[int(y), int(x)] for x, y in prompt.points_xy)
    assert segmenter.n_embeddings == 1


def test_refused_queries_are_not_asked() -> None:
    images = [
        image(
            "i",
            [sample("bad", rectangle(0, 0, 3, 3), refusal="too long"), sample("good", rectangle(5, 5, 9, 9))],
        )
    ]
    assert [s.sample_id for s in askable(images[0])] == ["good"]
    (answer,) = asyncio.run(TruthPrompter(images).prompt(view(0), ["where is good?"]))
    assert answer.prompts[0].box_xyxy == (5.0, 5.0, 9.0, 9.0)


def test_foreign_prompts_are_refused() -> None:
    segmenter = TruthSegmenter([image("i", [sample("s", rectangle(0, 0, 3, 3))])])
    with pytest.raises(ModelError, match="prompts of the truth prompter, got the label 'tank'"):
        segmenter.segment(segmenter.embed(view(0)), [Prompt(box_xyxy=(0.0, 0.0, 1.0, 1.0), label="tank")])


def test_numbers_of_images_survive_in_the_tile() -> None:
    for number in (0, 7, 99_999, 100_000, 250_123):
        assert image_number(image_tile(number, (3, 5))) == number
    assert image_tile(0, (3, 5)).read.shape == (3, 5)
    assert Path(image_tile(250_123, (3, 5)).tile_id).name == "r00002c50123"
