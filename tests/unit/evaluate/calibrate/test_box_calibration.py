"""What a calibration of boxes concludes and writes, from answers that were made by hand.

The whole job: tests/integration/test_calibrate_boxes.py.
"""

from __future__ import annotations

import json

import pytest
from evaluate.box_worlds import Answer, Painted, answer, painted

from pipeline.errors import InputError
from pipeline.evaluate.calibrate.box_calibration import boxes_markdown, find_faults
from pipeline.prompt.profile import load_profile

PROFILE = load_profile("vision-reasoner")


def exact(n: int, scale: float = 1.0) -> list[Answer]:
    masks = painted(n, 840)
    texts = [
        json.dumps([{"bbox_2d": [value * scale for value in box]} for box in mask.boxes]) for mask in masks
    ]
    return [answer(i, mask, text) for i, (mask, text) in enumerate(zip(masks, texts, strict=True))]


def test_right_boxes_propose_margins_of_zero() -> None:
    found = find_faults(exact(12), PROFILE)
    assert found.best == "image_px"
    assert found.proposed is not None
    assert not found.proposed.on
    page = boxes_markdown(found, {"prompter": "some@1"})
    assert "No side is off" in page
    assert page.startswith("# Boxes of some@1, profile `vision-reasoner`\n")
    assert "| image_px (the profile) | 100.0 [100.0, 100.0] | 72 |  |" in page
    assert "| none | 100.0 [100.0, 100.0] | 100.0 [100.0, 100.0] |" in page
    for block in page.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1


def test_a_better_frame_is_said_and_so_are_few_pairs() -> None:
    wrong = find_faults(exact(12, 1000 / 840), PROFILE)
    assert (wrong.best, wrong.proposed) == ("thousand", None)
    assert "better than the profile's `image_px`" in boxes_markdown(wrong, {"prompter": "some@1"})
    few = find_faults(exact(3), PROFILE)
    assert few.proposed is None
    assert "every side needs 30 pairs" in boxes_markdown(few, {"prompter": "some@1"})


def test_replies_without_boxes_are_no_crash() -> None:
    found = find_faults([answer(0, mask, "nothing") for mask in painted(1, 840)], PROFILE)
    assert found.proposed is None
    assert found.margins == {}
    assert "No margins" in boxes_markdown(found, {"prompter": "some@1"})


def test_targets_are_needed() -> None:
    with pytest.raises(InputError, match="targets that are there"):
        find_faults([answer(0, Painted((), 840), "[]")], PROFILE)
    with pytest.raises(InputError, match="targets that are there"):
        find_faults([answer(0, Painted(((5, 5, 7, 80),), 840), "[]")], PROFILE)
