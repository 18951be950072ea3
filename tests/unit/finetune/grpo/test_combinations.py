"""What a combination asks of an item, what it leaves of a prompt, and which profiles can read it."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.finetune.grpo.combinations import COMBINATIONS, find_combination
from pipeline.prompt.profile import known_profiles, load_profile
from pipeline.prompt.reply.parse import ReplyItem
from pipeline.schema.tile_answers import Prompt

BOX = (10.0, 20.0, 60.0, 80.0)
FULL = Prompt(
    box_xyxy=BOX,
    points_xy=((20, 30), (9, 9), (40, 50), (50, 60), (8, 8), (7, 7)),
    point_labels=(1, 0, 1, 1, 0, 0),
    label="tank",
)


def test_the_five_of_the_paper_are_there() -> None:
    assert {"box", "points2", "box+points2", "box+points4", "box+points2+negatives2"} <= COMBINATIONS.keys()


def test_an_item_holds_a_combination_only_with_exactly_its_parts() -> None:
    two = ReplyItem(box_xyxy=BOX, points_xy=((20, 30), (40, 50)))
    assert [name for name, one in COMBINATIONS.items() if one.holds(two)] == ["box+points2"]
    beside = ReplyItem(box_xyxy=BOX, points_xy=((20, 30), (40, 50)), negative_xy=((1, 1), (2, 2)))
    assert [name for name, one in COMBINATIONS.items() if one.holds(beside)] == ["box+points2+negatives2"]
    assert [name for name, one in COMBINATIONS.items() if one.holds(ReplyItem(box_xyxy=BOX))] == ["box"]
    assert [
        name
        for name, one in COMBINATIONS.items()
        if one.holds(ReplyItem(box_xyxy=None, points_xy=((1, 2), (3, 4))))
    ] == ["points2"]


@pytest.mark.parametrize(
    ("name", "points", "labels"),
    [
        ("box", (), ()),
        ("box+point", ((20, 30),), (1,)),
        ("box+points2", ((20, 30), (40, 50)), (1, 1)),
        ("box+points4", ((20, 30), (40, 50), (50, 60)), (1, 1, 1)),
        ("box+points2+negatives2", ((20, 30), (9, 9), (40, 50), (8, 8)), (1, 0, 1, 0)),
    ],
)
def test_what_is_kept_of_a_full_prompt(name: str, points: object, labels: object) -> None:
    kept = COMBINATIONS[name].keep(FULL)
    assert kept is not None
    assert (kept.box_xyxy, kept.points_xy, kept.point_labels, kept.label) == (BOX, points, labels, "tank")


def test_points_alone_leave_the_box_out_and_need_a_point() -> None:
    kept = COMBINATIONS["points2"].keep(FULL)
    assert kept is not None
    assert (kept.box_xyxy, kept.point_labels) == (None, (1, 1))
    assert COMBINATIONS["points2"].keep(Prompt(box_xyxy=BOX)) is None
    assert COMBINATIONS["box"].keep(Prompt(box_xyxy=None, points_xy=((1, 1),), point_labels=(1,))) is None


def test_every_shipped_profile_reads_the_combination_of_its_name() -> None:
    """Of the two families that are trained here."""
    own_of = {"embedded": "box+point", "think2seg": "box+points2"}
    for name in known_profiles():
        family, _, parts = name.partition("-")
        if family not in own_of:
            continue
        own = own_of[family]
        assert find_combination(parts.replace("-", "+") or own, load_profile(name)).positive >= 0


def test_a_profile_that_cannot_read_the_parts_is_refused() -> None:
    with pytest.raises(InputError, match=r"4 points inside.*'embedded', which reads 1 and 0"):
        find_combination("box+points4", load_profile("embedded"))
    with pytest.raises(InputError, match="has no box"):
        find_combination("points2", load_profile("embedded-box-points2"))
    with pytest.raises(InputError, match=r"'boxes'.*use one of box, points2"):
        find_combination("boxes", load_profile("think2seg"))
