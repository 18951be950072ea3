"""Mistakes of given size: their sizes are those that were asked for, and they repeat."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.oracle_noise import NAMED, NO_NOISE, OracleNoise, disturbed, read_noise
from pipeline.schema.tile_answers import Prompt

SHAPE = (200, 400)
BOX = (100.0, 50.0, 180.0, 90.0)
PROMPT = Prompt(box_xyxy=BOX, points_xy=((120.5, 70.5),), point_labels=(1,), label="oracle:1")


def boxes(noise: OracleNoise, count: int = 400) -> np.ndarray:
    """Boxes of one prompt in many pictures."""
    return np.array([disturbed([PROMPT], noise, (n, 0), SHAPE)[0].box_xyxy for n in range(count)])


def test_without_mistakes_prompts_stay() -> None:
    assert disturbed([PROMPT], NO_NOISE, (0, 0), SHAPE) == (PROMPT,)
    assert not NO_NOISE.on
    assert OracleNoise(seed=3).result_parameters() == {}


def test_a_drift_moves_every_box_right_and_down_by_a_share_of_its_size() -> None:
    np.testing.assert_allclose(boxes(OracleNoise(drift=0.25), 3), [[120.0, 60.0, 200.0, 100.0]] * 3)


def test_jitter_has_the_size_that_was_asked_for() -> None:
    moved = boxes(OracleNoise(box=0.1)) - BOX
    np.testing.assert_allclose(moved.std(axis=0), [8.0, 4.0, 8.0, 4.0], rtol=0.12)
    np.testing.assert_allclose(moved.mean(axis=0), 0, atol=1.5)


def test_boxes_and_points_stay_in_the_picture() -> None:
    for n in range(60):
        for prompt in disturbed([PROMPT], OracleNoise(box=2.0, point=2.0, invent=1.0), (n, 1), SHAPE):
            assert prompt.box_xyxy is not None
            x0, y0, x1, y1 = prompt.box_xyxy
            assert 0 <= x0 < x1 <= 400
            assert 0 <= y0 < y1 <= 200
            assert all(0 <= x < 400 and 0 <= y < 200 for x, y in prompt.points_xy)


def test_objects_are_missed_and_invented_as_often_as_asked() -> None:
    noise = OracleNoise(miss=0.3, invent=0.2)
    answers = [disturbed([PROMPT], noise, (n, 0), SHAPE) for n in range(600)]
    missed = sum(all(prompt.label == "0" for prompt in answer) for answer in answers)
    invented = sum(any(prompt.label == "0" for prompt in answer) for answer in answers)
    assert abs(missed / 600 - 0.3) < 0.06
    assert abs(invented / 600 - 0.2) < 0.06


def test_mistakes_depend_on_seed_picture_query_and_object_alone() -> None:
    noise = OracleNoise(box=0.1, point=0.1)
    first = disturbed([PROMPT, PROMPT], noise, (4, 2), SHAPE)
    assert first == disturbed([PROMPT, PROMPT], noise, (4, 2), SHAPE)
    assert first[0] == disturbed([PROMPT], noise, (4, 2), SHAPE)[0]
    others = [
        disturbed([PROMPT], noise, (5, 2), SHAPE)[0],
        disturbed([PROMPT], noise, (4, 3), SHAPE)[0],
        disturbed([PROMPT], OracleNoise(box=0.1, point=0.1, seed=1), (4, 2), SHAPE)[0],
        first[1],
    ]
    assert len({prompt.box_xyxy for prompt in (first[0], *others)}) == 5


def test_levels_and_single_mistakes_are_read() -> None:
    assert read_noise("mild") == NAMED["mild"]
    assert read_noise("none") == NO_NOISE
    mixed = read_noise("mild,drift=0.15,seed=4")
    assert (mixed.box, mixed.drift, mixed.seed) == (NAMED["mild"].box, 0.15, 4)
    assert read_noise("box=0.1") == OracleNoise(box=0.1)


@pytest.mark.parametrize("text", ["loud", "box", "box=x", "boxes=0.1", "miss=1.5", "box=0.1,mild", "box=-1"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--noise is none, mild, strong, or NAME=NUMBER"):
        read_noise(text)
