"""Margins and frames of boxes that were spoiled in a known way."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from evaluate.box_worlds import Answer, Painted, answer, painted

from pipeline.evaluate.calibrate.box_estimates import (
    best_frame,
    checked_gain,
    estimated_margins,
    frame_scores,
    margin_estimates,
    margins_needed,
)
from pipeline.evaluate.calibrate.box_pairs import BoxPairs, collect_pairs
from pipeline.prompt.profile import Frame, load_profile

VISION = load_profile("vision-reasoner")
SIDE = 840
SHORT = {"left": 0.2, "top": 0.1, "right": 0.05, "bottom": 0.3}


def said(mask: Painted, scale: float = 1.0, **short: float) -> str:
    """Write the true boxes of a mask, drawn in so that each side lacks its share of what is left."""
    items = []
    for x0, y0, x1, y1 in mask.boxes:
        wide = (x1 - x0) / (1 + short.get("left", 0) + short.get("right", 0))
        high = (y1 - y0) / (1 + short.get("top", 0) + short.get("bottom", 0))
        left, top = x0 + short.get("left", 0) * wide, y0 + short.get("top", 0) * high
        box = [left, top, left + wide, top + high]
        items.append({"bbox_2d": [round(value * scale, 2) for value in box]})
    return json.dumps(items)


def answers(scale: float = 1.0, n: int = 24, **short: float) -> list[Answer]:
    return [answer(i, mask, said(mask, scale, **short)) for i, mask in enumerate(painted(n, SIDE))]


def test_margins_by_hand() -> None:
    """Predicted 100 x 50 at (100, 100); true 20 more at the left, 5 at the bottom, and less at the right."""
    mask = Painted(((80, 100, 190, 155),), SIDE)
    pairs = collect_pairs([answer(0, mask, '[{"bbox_2d": [100, 100, 200, 150]}]')], VISION, "image_px")
    needed = {side: values.tolist() for side, values in margins_needed(pairs).items()}
    assert needed == {"left": [0.2], "top": [0.0], "right": [-0.1], "bottom": [0.1]}


def test_a_side_on_the_edge_of_its_picture_says_nothing() -> None:
    mask = Painted(((0, 100, 110, SIDE),), SIDE)
    pairs = collect_pairs([answer(0, mask, '[{"bbox_2d": [5, 100, 105, 830]}]')], VISION, "image_px")
    needed = margins_needed(pairs)
    assert np.isnan(needed["left"]).all()
    assert np.isnan(needed["bottom"]).all()
    assert needed["right"].tolist() == [0.05]


def test_margins_of_spoiled_boxes_come_back() -> None:
    pairs = collect_pairs(answers(**SHORT), VISION, "image_px")
    estimates = margin_estimates(pairs)
    for side, share in SHORT.items():
        assert estimates[side].value == pytest.approx(share, abs=0.002)
        assert estimates[side].low <= estimates[side].value <= estimates[side].high
        assert estimates[side].n == len(pairs.said) == 24 * 6
    assert 0.1 <= estimates["alpha"].value <= 0.2
    assert 0.05 <= estimates["beta"].value <= 0.3
    margins = estimated_margins(pairs, "vision-reasoner")
    assert margins is not None
    assert margins.left == pytest.approx(0.2, abs=0.002)
    assert margins.profile == "vision-reasoner"


def test_too_few_pairs_give_no_margins() -> None:
    assert estimated_margins(collect_pairs(answers(n=4, **SHORT), VISION, "image_px")) is None


def test_measured_margins_gain_on_pictures_that_they_were_not_measured_on() -> None:
    pairs = collect_pairs(answers(**SHORT), VISION, "image_px")
    gain = {item.name: item for item in checked_gain(pairs)}
    shrunk = 1 / ((1 + 0.25) * (1 + 0.4))  # what is left of a box's area, and so its IoU
    assert gain["none"].iou.value == pytest.approx(shrunk, abs=0.002)
    assert gain["measured"].iou.value >= 0.99
    assert gain["none"].iou.value < gain["geoseg"].iou.value < gain["measured"].iou.value
    assert gain["measured"].recall.value == 1.0


def by_frame(given: list[Answer], own: Frame) -> list[BoxPairs]:
    profile = replace(VISION, frame=own)
    frames: tuple[Frame, ...] = ("image_px", "thousand", "unit")
    return [collect_pairs(given, profile, frame) for frame in frames]


def test_true_boxes_in_the_wrong_frame_look_drifted_to_the_bottom_right() -> None:
    """Perfect boxes in thousandths, read as pixels of 840: every box grows by 1000 / 840 from the corner.

    So margins at the left and the top seem to be needed, as GeoSeg's are; in the right frame none are.
    """
    given = answers(1000 / SIDE)
    pixels, thousandths, _ = by_frame(given, "image_px")
    wrong = margin_estimates(pixels)
    assert wrong["alpha"].low > 0.05 > 0 > wrong["beta"].high
    right = margin_estimates(thousandths)
    assert [right[name].value for name in ("alpha", "beta")] == pytest.approx([0, 0], abs=1e-3)


@pytest.mark.parametrize(
    ("scale", "frame"), [(1.0, "image_px"), (1000 / SIDE, "thousand"), (1 / SIDE, "unit")]
)
@pytest.mark.parametrize("own", ["image_px", "thousand"])
def test_the_frame_that_replies_keep_to_is_found(scale: float, frame: Frame, own: Frame) -> None:
    given = answers(scale) if frame != "unit" else shares()
    scores = frame_scores(by_frame(given, own), own)
    assert best_frame(scores, own) == frame
    found = {score.frame: score.recall for score in scores}
    assert found[frame].value == 1.0
    assert found[frame].n == 24 * 6


def shares() -> list[Answer]:
    masks = painted(24, SIDE)
    texts = [
        json.dumps([{"bbox_2d": [round(v / SIDE, 4) for v in box]} for box in mask.boxes]) for mask in masks
    ]
    return [answer(i, mask, text) for i, (mask, text) in enumerate(zip(masks, texts, strict=True))]


def test_a_frame_that_finds_no_more_than_the_profiles_is_not_chosen() -> None:
    """Boxes from chance alone fit no frame."""
    rng = np.random.default_rng(3)
    noise = [
        answer(i, mask, json.dumps([{"bbox_2d": sorted(rng.integers(0, SIDE, 4).tolist())}]))
        for i, mask in enumerate(painted(24, SIDE))
    ]
    scores = frame_scores(by_frame(noise, "image_px"), "image_px")
    assert best_frame(scores, "image_px") == "image_px"
