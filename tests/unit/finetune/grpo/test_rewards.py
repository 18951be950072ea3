"""Every reward by hand: replies of every kind, masks that can be counted on paper, and the rules side by
side.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.finetune.grpo import rewards as rewards
from pipeline.finetune.grpo.combinations import COMBINATIONS
from pipeline.prompt.profile import load_profile
from pipeline.schema.tile_answers import MaskCrop

PAPER = rewards.Contract(profile=load_profile("think2seg"), combination=COMBINATIONS["box+points2"])
CODE = rewards.Contract(
    profile=load_profile("think2seg"), combination=COMBINATIONS["box+points2"], rule="authors-code"
)

ITEM = '{"bbox_2d": [10, 10, 50, 40], "positive_points": [[20, 20], [30, 30]]}'
GOOD = f"<think>A tank.</think>\n<answer>```json[{ITEM}]```</answer>"
EMPTY = "<think>None.</think><answer>```json[]```</answer>"

CASES = {
    # name: (reply, format under `paper`, format under `authors-code`)
    "right": (GOOD, 1, 2),
    "empty list": (EMPTY, 1, 2),
    "no fence": (f"<think>A.</think><answer>[{ITEM}]</answer>", 1, 1),
    "no think": (f"<answer>```json[{ITEM}]```</answer>", 0, 1),
    "answer before think": (f"<answer>```json[{ITEM}]```</answer><think>A.</think>", 0, 1),
    "two answers": (GOOD + GOOD[GOOD.index("<answer>") :], 0, 2),
    "text after": (GOOD + " Done.", 0, 1),
    "no tags at all": (f"```json[{ITEM}]```", 0, 1),
    "prose": ("<think>A.</think><answer>There is a tank in the middle.</answer>", 0, 1),
    "one point": (GOOD.replace(", [30, 30]", ""), 0, 1),
    "three points": (GOOD.replace("[30, 30]", "[30, 30], [22, 22]"), 1, 1),
    "no box": (GOOD.replace('"bbox_2d": [10, 10, 50, 40], ', ""), 0, 2),
    "a box that is null": (GOOD.replace("[10, 10, 50, 40]", "null"), 0, 1),
    "box of three": (GOOD.replace("50, 40]", "50]"), 0, 1),
    "negative points": (GOOD.replace("[30, 30]]", '[30, 30]], "negative_points": [[1, 1], [2, 2]]'), 1, 1),
    "negative points that are null": (GOOD.replace("[30, 30]]", '[30, 30]], "negative_points": null'), 1, 2),
    "empty negative points": (GOOD.replace("[30, 30]]", '[30, 30]], "negative_points": []'), 1, 1),
    "a stray bracket": (GOOD.replace("]```", "]]```"), 0, 2),
    "a point outside its box": (GOOD.replace("[30, 30]", "[300, 30]"), 0, 2),
    "a missing brace": (GOOD.replace("]]}", "]]"), 0, 2),
    "nothing": ("", 0, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_format_by_hand(name: str) -> None:
    text, paper, code = CASES[name]
    assert rewards.format_reward(text, PAPER) == paper
    assert rewards.format_reward(text, CODE) == code


def test_a_reply_that_hit_the_token_limit_is_no_good_format() -> None:
    assert rewards.format_reward(GOOD, PAPER, complete=False) == 0


def test_the_combination_decides_which_items_are_right() -> None:
    reply = GOOD.replace("[30, 30]]", '[30, 30]], "negative_points": [[1, 1], [2, 2]]')
    beside = {
        "profile": load_profile("think2seg-box-points2-negatives2"),
        "combination": COMBINATIONS["box+points2+negatives2"],
    }
    assert rewards.format_reward(reply, rewards.Contract(**beside)) == 1
    assert rewards.format_reward(GOOD, rewards.Contract(**beside)) == 0
    assert rewards.format_reward(reply, rewards.Contract(**beside, rule="authors-code")) == 2
    assert rewards.format_reward(GOOD, rewards.Contract(**beside, rule="authors-code")) == 1
    alone = rewards.Contract(profile=load_profile("think2seg-box"), combination=COMBINATIONS["box"])
    assert (
        rewards.format_reward(
            "<think>A.</think><answer>[" + '{"bbox_2d": [10, 10, 50, 40]}' + "]</answer>", alone
        )
        == 1
    )


def crop(row0: int, col0: int, height: int, width: int) -> MaskCrop:
    return MaskCrop(row0=row0, col0=col0, mask=np.ones((height, width), np.bool_), score=0.9, prompt_index=0)


def truth_of(*crops: MaskCrop) -> np.ndarray:
    return rewards.united(crops, (10, 12))


NOTHING = truth_of()


def test_the_iou_of_two_masks_is_that_of_their_union() -> None:
    masks = [crop(0, 0, 2, 4), crop(1, 2, 2, 4)]  # 8 + 8 - 2 pixels
    truth = truth_of(
        crop(0, 2, 3, 4)
    )  # 12 pixels; 2 x 2 of the first and 8 of the second lie in it, 2 in both
    assert rewards.united(masks, (10, 12)).sum() == 14
    score = rewards.score_reply(GOOD, masks, truth, PAPER)
    assert score.iou == pytest.approx(10 / 16)
    assert rewards.total_reward(score, rewards.RewardOptions()) == pytest.approx(1 + 2 * 10 / 16)


@pytest.mark.parametrize(
    ("reply", "masks", "truth", "iou"),
    [
        (EMPTY, [], NOTHING, 1.0),
        (EMPTY, [], truth_of(crop(0, 0, 3, 3)), 0.0),
        (GOOD, [crop(0, 0, 3, 3)], NOTHING, 0.0),
        (GOOD, [], NOTHING, 0.0),
        (GOOD, [], truth_of(crop(0, 0, 3, 3)), 0.0),
        (GOOD, [crop(0, 0, 3, 3)], truth_of(crop(0, 0, 3, 3)), 1.0),
        ("nothing here, I think", [], NOTHING, 0.0),
    ],
    ids=[
        "right to be empty",
        "wrong to be empty",
        "false alarm",
        "alarm without a mask",
        "no mask",
        "all of it",
        "malformed is no []",
    ],
)
def test_empty_and_present_targets(reply: str, masks: list[MaskCrop], truth: np.ndarray, iou: float) -> None:
    score = rewards.score_reply(reply, masks, truth, PAPER)
    assert score.iou == iou
    assert score.empty_target == (not truth.any())


def test_a_wrong_abstention_still_earns_its_format_points() -> None:
    truth = truth_of(crop(0, 0, 3, 3))
    for contract, points in ((PAPER, 1), (CODE, 2)):
        score = rewards.score_reply(EMPTY, [], truth, contract)
        assert rewards.total_reward(score, rewards.RewardOptions(rule=contract.rule)) == points


def test_what_could_be_read_is_paid_by_the_paper_and_not_by_the_code() -> None:
    masks = [crop(0, 0, 3, 3)]
    truth = truth_of(crop(0, 0, 3, 3))
    reply = CASES["one point"][0]
    assert rewards.score_reply(reply, masks, truth, PAPER).iou == 1
    assert rewards.score_reply(reply, masks, truth, CODE).iou == 0


def test_the_code_s_rule_draws_what_the_released_code_would_draw() -> None:
    """A point outside its box stays, so does a box beyond the image; inference drops the one and has nothing
    left of the other.
    """
    outside = CASES["a point outside its box"][0]
    beyond = GOOD.replace("[10, 10, 50, 40]", "[850, 10, 900, 40]")  # of an image of 840 pixels
    read = {
        rule: [rewards.read_candidate(text, rule, complete=True).items for text in (outside, beyond)]
        for rule in (PAPER, CODE)
    }
    assert [item.points_xy for item in read[PAPER][0]] == [((20, 20),)]
    assert [item.points_xy for item in read[CODE][0]] == [((20, 20), (300, 30))]
    assert read[PAPER][1] == ()
    assert [item.box_xyxy for item in read[CODE][1]] == [(850, 10, 900, 40)]
    unfenced = CASES["no fence"][0]
    assert rewards.read_candidate(unfenced, CODE, complete=True).malformed
    assert len(rewards.read_candidate(unfenced, PAPER, complete=True).items) == 1


def test_the_weights_of_the_paper_are_the_default_and_zero_leaves_the_format_out() -> None:
    score = rewards.score_reply(GOOD, [crop(0, 0, 3, 3)], truth_of(crop(0, 0, 3, 3)), PAPER)
    assert rewards.total_reward(score, rewards.RewardOptions()) == 3
    assert rewards.total_reward(score, rewards.RewardOptions(format_weight=0)) == 2
    with pytest.raises(ValueError, match="above 0"):
        rewards.RewardOptions(iou_weight=0)


SHAPE = (7, 9)


@given(hnp.arrays(np.bool_, SHAPE), hnp.arrays(np.bool_, SHAPE))
def test_mask_iou_agrees_with_sets_of_pixels(first: np.ndarray, second: np.ndarray) -> None:
    a, b = ({tuple(p) for p in np.argwhere(mask)} for mask in (first, second))
    assert rewards.mask_iou(first, second) == pytest.approx(len(a & b) / len(a | b) if a | b else 1.0)


@given(st.text(max_size=80))
def test_no_text_breaks_a_reward(text: str) -> None:
    for contract in (PAPER, CODE):
        assert 0 <= rewards.format_reward(text, contract) <= 2
        assert 0 <= rewards.score_reply(text, [], NOTHING, contract).iou <= 1
