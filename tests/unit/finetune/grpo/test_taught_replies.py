"""Replies made from masks: geometry by hand and as properties, and every taught reply earns the full format
reward.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.finetune.grpo.combinations import COMBINATIONS, PromptCombination
from pipeline.finetune.grpo.rewards import Contract, format_reward, read_reply
from pipeline.finetune.grpo.taught_replies import default_thought, taught_items, taught_reply
from pipeline.prompt.profile import load_profile

FRAME = (252.0, 252.0)
FULL = PromptCombination(box=True, positive=2, negative=2)


def mask(*boxes: tuple[int, int, int, int], side: int = 252) -> np.ndarray:
    out = np.zeros((side, side), np.bool_)
    for x0, y0, x1, y1 in boxes:
        out[y0:y1, x0:x1] = True
    return out


def test_boxes_and_centres_of_drawn_pieces_in_reading_order() -> None:
    items = taught_items(
        mask((150, 40, 190, 60), (10, 40, 30, 80), (100, 150, 140, 170)), COMBINATIONS["box+point"], FRAME
    )
    assert [item.box_xyxy for item in items] == [(150, 40, 190, 60), (10, 40, 30, 80), (100, 150, 140, 170)]
    centres = np.array([item.points_xy[0] for item in items])
    assert np.abs(centres - [(170, 50), (20, 60), (120, 160)]).max() <= 1


def test_a_mask_of_another_size_is_read_in_the_frame() -> None:
    (item,) = taught_items(mask((100, 200, 150, 300), side=504), COMBINATIONS["box"], FRAME)
    assert item.box_xyxy == (50, 100, 75, 150)


def test_nested_pieces_are_two_and_slivers_are_left_out() -> None:
    ring = mask((20, 20, 120, 120)) & ~mask((40, 40, 100, 100))
    items = taught_items(ring | mask((60, 60, 80, 80)) | mask((200, 0, 205, 252)), COMBINATIONS["box"], FRAME)
    assert sorted(item.box_xyxy or () for item in items) == [(20, 20, 120, 120), (60, 60, 80, 80)]
    assert taught_items(mask(), COMBINATIONS["box"], FRAME) == ()


def test_the_first_point_of_a_ring_lies_on_the_ring_and_the_negatives_beside_it() -> None:
    ring = mask((20, 20, 120, 120)) & ~mask((40, 40, 100, 100))
    (item,) = taught_items(ring, FULL, FRAME)
    assert all(ring[int(y), int(x)] for x, y in item.points_xy)
    assert not any(ring[int(y), int(x)] for x, y in item.negative_xy)
    assert len(set(item.points_xy)) == len(set(item.negative_xy)) == 2


def test_a_piece_that_fills_the_image_has_no_place_for_a_negative_point() -> None:
    full = mask((0, 0, 252, 252))
    assert taught_items(full, FULL, FRAME) == ()
    assert len(taught_items(full, COMBINATIONS["box+points4"], FRAME)) == 1


boxes = st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(9, 50), st.integers(9, 50))


@given(st.lists(boxes, max_size=4), st.sampled_from(sorted(COMBINATIONS)))
def test_taught_items_hold_their_combination_and_lie_where_they_should(
    drawn: list[tuple[int, int, int, int]], name: str
) -> None:
    truth = mask(*[(x, y, x + w, y + h) for x, y, w, h in drawn])
    for item in taught_items(truth, COMBINATIONS[name], FRAME):
        assert COMBINATIONS[name].holds(item)
        assert all(truth[int(y), int(x)] for x, y in item.points_xy)
        assert not any(truth[int(y), int(x)] for x, y in item.negative_xy)


def contract(profile: str, combination: str) -> Contract:
    return Contract(profile=load_profile(profile), combination=COMBINATIONS[combination])


@pytest.mark.parametrize("combination", sorted(COMBINATIONS.keys() - {"box+point"}))
@pytest.mark.parametrize("family", ["embedded", "think2seg"])
def test_a_taught_reply_earns_all_format_points(family: str, combination: str) -> None:
    shipped = (
        "think2seg"
        if (family, combination) == ("think2seg", "box+points2")
        else f"{family}-{combination.replace('+', '-')}"
    )
    own = contract(shipped, combination)
    style = "cells" if family == "embedded" else "fenced"
    truth = mask((10, 20, 60, 90), (100, 100, 180, 130))
    items = taught_items(truth, own.combination, own.profile.frame_wh)
    reply = taught_reply(default_thought("tanks", found=True), items, own.profile, style)
    assert len(items) == 2
    assert format_reward(reply, own) == 1
    assert (
        format_reward(reply, Contract(profile=own.profile, combination=own.combination, rule="authors-code"))
        == 2
    )
    assert read_reply(reply, own.profile, complete=True).items == items


def test_the_embedded_contract_letter_by_letter() -> None:
    items = taught_items(mask((20, 12, 60, 49)), COMBINATIONS["box+point"], FRAME)
    reply = taught_reply(
        "The question is about storage tanks. I see some.", items, load_profile("embedded"), "cells"
    )
    assert reply == (
        "<think>The question is about storage tanks. I see some.</think>"
        '<answer>[{"cell":"b2","positive_points":[[39,30]],"bbox_2d":[20,12,60,49]}]</answer>'
    )
    assert (
        taught_reply("None.", (), load_profile("embedded"), "cells")
        == "<think>None.</think><answer>[]</answer>"
    )
    assert (
        taught_reply("None.", (), load_profile("think2seg"), "fenced")
        == "<think>None.</think>\n<answer>```json[]```</answer>"
    )
