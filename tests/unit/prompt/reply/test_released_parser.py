"""The released parser beside ours: every rule on a reply made by hand, the golden corpus, and what SAM2 does
with what passes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_tiles import PATIENT
from segment.tiny_sam2 import TINY_CONFIG, make_tile, write_checkpoint

from pipeline.prompt.profile import load_profile
from pipeline.prompt.reply.frames import to_window
from pipeline.prompt.reply.parse import ParsedReply, parse_reply
from pipeline.prompt.reply.released_parser import (
    PARSERS,
    RefusedReplyError,
    parse_released,
    released_items,
    released_rule,
)
from pipeline.schema.imagery import TileImage
from pipeline.segment.sam2_segmenter import Sam2Segmenter
from pipeline.segment.segmenter import Sam2Options

GOLDEN = Path(__file__).parents[3] / "golden" / "prompt" / "replies"
CASES = [
    path
    for path in sorted(GOLDEN.glob("*.json"))
    if "released" in json.loads(path.read_text(encoding="utf-8"))
]
THINK2SEG = load_profile("think2seg")

A = '{"bbox_2d": [10, 10, 50, 40], "positive_points": [[20, 20], [30, 30]]}'
"""A good item."""
B = '{"bbox_2d": [100, 100, 160, 150], "positive_points": [[110, 110], [120, 120]]}'
"""Another one."""

Items = list[tuple[tuple[float, ...] | None, list[tuple[float, float]]]]
A_READ = ((10, 10, 50, 40), [(20, 20), (30, 30)])
B_READ = ((100, 100, 160, 150), [(110, 110), (120, 120)])


def item(box: str | None, points: str | None, more: str = "") -> str:
    parts = (
        [f'"bbox_2d": {box}'] * (box is not None)
        + [f'"positive_points": {points}'] * (points is not None)
        + [more] * bool(more)
    )
    return "{" + ", ".join(parts) + "}"


def answer(*items: str) -> str:
    return f"<think>Two.</think><answer>[{', '.join(items)}]</answer>"


BOX = "[10, 10, 50, 40]"
POINTS = "[[20, 20], [30, 30]]"

RULES: dict[str, tuple[str, Items | str, Items | str]] = {
    # what: (reply, what ours reads, what theirs reads)
    "all good": (answer(A, B), [A_READ, B_READ], [A_READ, B_READ]),
    "fenced": (f"<answer>```json[{A}]```</answer>", [A_READ], [A_READ]),
    "no tags: the whole text": (f"Here: [{A}]", [A_READ], [A_READ]),
    "no tags: brackets of the thinking count": (f"<think>see [1]</think>[{A}]", [A_READ], "malformed"),
    "the first of two answers": (f"<answer>[{A}]</answer><answer>[{B}]</answer>", [A_READ], [A_READ]),
    "a blank answer before a good one": (f"<answer></answer><answer>[{A}]</answer>", [A_READ], "malformed"),
    "an answer that is never closed: the whole text": (f"<answer>[{A}]", [A_READ], [A_READ]),
    "prose around the list": (f"<answer>Found: [{A}] there.</answer>", [A_READ], [A_READ]),
    "a stray bracket, repaired": (f"<answer>[{A}]]</answer>", [A_READ], [A_READ]),
    "a missing brace, repaired": (answer(A[:-1]), [A_READ], [A_READ]),
    "an object that is no list": (f"<answer>{A}</answer>", [A_READ], "malformed"),
    "prose": ("<answer>a tank in the middle</answer>", "malformed", "malformed"),
    "an empty list": (answer(), "absent", "absent"),
    "an empty list in prose": ("I would say [] here", "malformed", "absent"),
    "a list of boxes": (f"<answer>[{BOX}]</answer>", [(A_READ[0], [])], "malformed"),
    "one bad item": (answer(A, '"tank"'), [A_READ], "malformed"),
    "one empty item": (answer(A, "{}"), [A_READ], "malformed"),
    "a box of three": (answer(A, item("[1, 2, 30]", POINTS)), [A_READ], "malformed"),
    "a box that is null": (
        answer(A, item("null", "[[60, 60], [70, 70]]")),
        [A_READ, (None, [(60, 60), (70, 70)])],
        "malformed",
    ),
    "a box of words": (answer(item('["10", "10", "50", "40"]', POINTS)), "malformed", "malformed"),
    "a box alone": (answer(item(BOX, None)), [(A_READ[0], [])], [(A_READ[0], [])]),
    "points alone": (answer(item(None, POINTS)), [(None, A_READ[1])], [(None, A_READ[1])]),
    "one point": (
        answer(A, item("[60, 60, 90, 90]", "[[70, 70]]")),
        [A_READ, ((60, 60, 90, 90), [(70, 70)])],
        "malformed",
    ),
    "three points": (answer(item(BOX, "[[20, 20], [30, 30], [25, 25]]")), [A_READ], "malformed"),
    "no points in their list": (answer(item(BOX, "[]")), [(A_READ[0], [])], "malformed"),
    "points that are null": (answer(item(BOX, "null")), [(A_READ[0], [])], "malformed"),
    "points as one flat list": (answer(item(BOX, "[20, 20, 30, 30]")), [A_READ], "malformed"),
    "points of words": (
        answer(item(BOX, '[["20", "20"], [30, 30]]')),
        [(A_READ[0], [(30, 30)])],
        "malformed",
    ),
    "the same point twice": (
        answer(item(BOX, "[[20, 20], [20, 20]]")),
        [(A_READ[0], [(20, 20)])],
        [(A_READ[0], [(20, 20), (20, 20)])],
    ),
    "negative points": (answer(item(BOX, POINTS, '"negative_points": [[1, 1]]')), [A_READ], "malformed"),
    "no negative points in their list": (
        answer(item(BOX, POINTS, '"negative_points": []')),
        [A_READ],
        "malformed",
    ),
    "negative points that are null": (
        answer(item(BOX, POINTS, '"negative_points": null')),
        [A_READ],
        "malformed",
    ),
    "another key": (
        answer(A.replace("bbox_2d", "box").replace("positive_points", "points")),
        [A_READ],
        "malformed",
    ),
    "a point outside its box": (
        answer(item(BOX, "[[20, 20], [400, 30]]")),
        [(A_READ[0], [(20, 20)])],
        [(A_READ[0], [(20, 20), (400, 30)])],
    ),
    "a box beyond the image": (
        answer(item("[-20, 10, 900, 40]", POINTS)),
        [((0, 10, 840, 40), A_READ[1])],
        [((-20, 10, 900, 40), A_READ[1])],
    ),
    "a box outside the image": (
        answer(item("[900, 900, 950, 950]", None), A),
        [A_READ],
        [((900, 900, 950, 950), []), A_READ],
    ),
    "swapped corners": (answer(item("[50, 40, 10, 10]", POINTS)), [A_READ], [((50, 40, 10, 10), A_READ[1])]),
    "a box without area": (
        answer(item("[10, 10, 10, 40]", None), A),
        [A_READ],
        [((10, 10, 10, 40), []), A_READ],
    ),
    "a number that is not finite": (answer(item("[10, 10, 50, 1e400]", None), B), [B_READ], [B_READ]),
    "nothing but numbers that are not finite": (
        answer(item(BOX, "[[20, 20], [NaN, 30]]")),
        [(A_READ[0], [(20, 20)])],
        "malformed",
    ),
    "two boxes alike: the larger stays": (  # 40 * 30 = 1200 and 40 * 24 = 960 px, shared 960: IoU 0.8
        answer(item("[10, 10, 50, 34]", None), A),
        [A_READ],
        [A_READ],
    ),
    "IoU of exactly a half: both stay": (  # 600 of 1200 px
        answer(item("[10, 10, 50, 25]", None), A),
        [((10, 10, 50, 25), []), A_READ],
        [((10, 10, 50, 25), []), A_READ],
    ),
    # Turned inside out on one axis a box has no area above 0, and overlaps nothing.
    "a box and the same inside out": (
        answer(A, item("[50, 10, 10, 40]", None)),
        [A_READ],
        [A_READ, ((50, 10, 10, 40), [])],
    ),
    "cut off in the second point of the last item": (f"<answer>[{A}, {B[:-4]}", [A_READ], "malformed"),
    "cut off in the first point of the last item": (
        f"<answer>[{A}, {B[:-15]}",
        [A_READ],
        [A_READ, (B_READ[0], [])],
    ),
}


def read(parsed: ParsedReply) -> Items | str:
    assert [bool(parsed.items), parsed.absent, parsed.malformed].count(True) == 1
    if parsed.malformed:
        assert parsed.notes
        return "malformed"
    return "absent" if parsed.absent else [(entry.box_xyxy, list(entry.points_xy)) for entry in parsed.items]


@pytest.mark.parametrize("name", RULES)
def test_every_rule_by_hand(name: str) -> None:
    text, ours, theirs = RULES[name]
    assert read(parse_reply(text, THINK2SEG, finish_reason="stop")) == ours
    assert read(parse_released(text, THINK2SEG, finish_reason="stop")) == theirs


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden_reply(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    expected = case["released"]
    items = [
        (entry["box"] and tuple(entry["box"]), [tuple(point) for point in entry["points"]])
        for entry in expected["items"]
    ]
    parsed = parse_released(case["reply"], load_profile(case["profile"]), finish_reason=case["finish_reason"])
    assert read(parsed) == (items or expected["outcome"])


def test_the_corpus_has_replies_that_are_read_differently() -> None:
    assert len(CASES) >= 60
    cases = [json.loads(path.read_text(encoding="utf-8")) for path in CASES]
    assert sum(case["released"]["outcome"] != case["expected"]["outcome"] for case in cases) >= 15


def test_what_goes_with_the_items() -> None:
    inside = item("[10, 10, 50, 34]", None)
    endless = item("[1e400, 0, 5, 5]", None)
    text = f"<think> Two tanks. </think><answer>[{inside}, {A}, {endless}]</answer>"
    parsed = parse_released(text, THINK2SEG, finish_reason="length")
    assert (parsed.n_dropped, parsed.truncated, parsed.rationale, len(parsed.notes)) == (
        2,
        True,
        "Two tanks.",
        2,
    )
    assert not parse_released(text, THINK2SEG, finish_reason="stop").truncated
    refused = parse_released(answer(A, "{}"), THINK2SEG, finish_reason="stop")
    assert refused.notes == ("item 2 of 2 has neither a box nor points, and one bad item refuses the reply",)


def test_the_contract_is_the_profile_s() -> None:
    """Four points, points beside the target, no points at all, and one point."""
    four = answer(item(BOX, "[[20, 20], [30, 30], [25, 25], [26, 26]]"))
    beside = answer(item(BOX, POINTS, '"negative_points": [[1, 1], [2, 2]]'))
    replies = {
        "think2seg": answer(A),
        "think2seg-box-points4": four,
        "think2seg-box-points2-negatives2": beside,
    }
    for name in replies:
        for other, text in replies.items():
            parsed = parse_released(text, load_profile(name), finish_reason="stop")
            fits = name == other or (name, other) == (
                "think2seg-box-points2-negatives2",
                "think2seg",
            )  # checked only where given
            assert bool(parsed.items) == fits, (name, other)
    (found,) = parse_released(
        beside, load_profile("think2seg-box-points2-negatives2"), finish_reason="stop"
    ).items
    assert found.negative_xy == ((1, 1), (2, 2))
    assert parse_released(answer(A), load_profile("think2seg-box"), finish_reason="stop").malformed
    assert parse_released(answer(item(BOX, None)), load_profile("think2seg-box"), finish_reason="stop").items
    assert parse_released(
        answer(item(BOX, "[[20, 20]]")), load_profile("embedded"), finish_reason="stop"
    ).items


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (f"<answer>```json[{A}]```</answer>", True),
        (f"<answer>[{A}]</answer>", False),
        ("<answer>```json[]```</answer>", True),
        (f"<answer>```json[{item(BOX, None)}]```</answer>", False),
        (f"<answer>```json[{item(None, POINTS)}]```</answer>", True),
        (f"<answer>```json[{item('null', POINTS)}]```</answer>", False),
        (f"<answer>```json[{item(BOX, '[["20", "x"], [30, 30]]')}]```</answer>", False),
        (f"<answer>```json[{item(BOX, '[["20", "20"], [30, 30]]')}]```</answer>", True),
        (f"<answer>```json[{item(BOX, POINTS, '"negative_points": []')}]```</answer>", False),
        (f"<answer>```json[{A}, {item('["1", "2", "3", "4"]', POINTS)}]```</answer>", False),
        (f"<answer>```json[{A}]</answer>", False),
    ],
)
def test_the_parser_of_the_training_rewards(text: str, *, accepted: bool) -> None:
    rule = released_rule(THINK2SEG, training=True)
    if accepted:
        assert isinstance(released_items(text, rule), list)
    else:
        with pytest.raises(RefusedReplyError):
            released_items(text, rule)


def test_the_parsers_by_name() -> None:
    assert PARSERS["robust"] is parse_reply
    assert PARSERS["think2seg"] is parse_released


PIECES = [
    "<answer>",
    "</answer>",
    "```json",
    "```",
    "[",
    "]",
    "{",
    "}",
    ",",
    A,
    B,
    "null",
    "NaN",
    "9" * 5000,
    '"bbox_2d":',
    BOX,
    POINTS,
]


@settings(PATIENT, max_examples=300)
@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=20).map("".join),
    st.sampled_from(["stop", "length", None]),
)
def test_any_text_has_one_outcome(text: str, reason: str | None) -> None:
    read(parse_released(text, THINK2SEG, finish_reason=reason))
    read(parse_released("[" * 3000 + text, THINK2SEG, finish_reason=reason))


# --- what SAM2 does with what passes ---


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> Sam2Segmenter:
    folder = tmp_path_factory.mktemp("tiny-sam2")
    (folder / "config.yaml").write_text(TINY_CONFIG)
    write_checkpoint(folder / "config.yaml", folder / "model.safetensors")
    return Sam2Segmenter(Sam2Options(checkpoint=str(folder), device="cpu"))


def package_predictor(sam2: Sam2Segmenter, view: TileImage) -> Any:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    predictor = SAM2ImagePredictor(sam2.network)
    predictor._bb_feat_sizes = [
        (sam2.network.image_size // stride,) * 2 for stride in (4, 8, 16)
    ]  # it assumes 1024 px
    predictor.set_image(view.rgb)
    return predictor


ODD = [
    item("[50, 40, 10, 10]", POINTS),
    item("[900, 900, 950, 950]", "[[910, 910], [-40, 1000]]"),
    item("[-20, 10, 900, 40]", None),
    item("[10, 10, 10, 10]", None),
    item(None, "[[5000, 5000], [-5000, 20]]"),
    A,
]
"""One item each that ours would mend or drop, and a good one."""


def test_sam2_takes_what_passes_and_draws_what_the_package_draws(sam2: Sam2Segmenter) -> None:
    """Boxes inside out, boxes and points outside the image: masks of `sam2.SAM2ImagePredictor`, given the
    numbers as they were said.
    """
    view = make_tile(96, 96)
    parsed = [parse_released(answer(entry), THINK2SEG, finish_reason="stop") for entry in ODD]
    prompts = [prompt for reply in parsed for prompt in to_window(reply.items, THINK2SEG.frame_wh, (96, 96))]
    assert len(prompts) == len(ODD)
    got = {mask.prompt_index: mask for mask in sam2.segment(sam2.embed(view), prompts)}
    predictor = package_predictor(sam2, view)
    drawn = 0
    for index, entry in enumerate(ODD):
        said = json.loads(entry)
        box, points = (
            np.array(said[key]) * (96 / 840) if key in said else None
            for key in ("bbox_2d", "positive_points")
        )
        labels = None if points is None else np.ones(len(points))
        masks, _, _ = predictor.predict(
            point_coords=points, point_labels=labels, box=box, multimask_output=False
        )
        mask = np.zeros((96, 96), bool)
        if index in got:
            crop = got[index]
            mask[crop.row0 : crop.row0 + crop.mask.shape[0], crop.col0 : crop.col0 + crop.mask.shape[1]] = (
                crop.mask
            )
        assert (mask == masks[0].astype(bool)).mean() >= 0.999, entry
        drawn += bool(mask.any())
    assert drawn >= 3
    far = [
        item(None, "[[1e30, 20], [20, -1e30]]"),
        item("[1e38, 0, 3e38, 5]", None),
    ]  # sines of such numbers are noise
    items = parse_released(answer(*far), THINK2SEG, finish_reason="stop").items
    assert len(items) == 2
    sam2.segment(sam2.embed(view), to_window(items, THINK2SEG.frame_wh, (96, 96)))


def test_a_number_that_is_not_finite_draws_nothing_in_sam2(sam2: Sam2Segmenter) -> None:
    """Which is why such an item may be left out."""
    predictor = package_predictor(sam2, make_tile(96, 96))
    clicks = {
        "point_coords": np.array([[20, 20], [30, 30]]),
        "point_labels": np.ones(2),
        "multimask_output": False,
    }
    for value in (float("nan"), float("inf"), 1e300):
        masks, _, _ = predictor.predict(box=np.array([10.0, 10.0, value, 60.0]), **clicks)
        assert not masks.any()
    masks, _, _ = predictor.predict(box=np.array([10.0, 10.0, 60.0, 60.0]), **clicks)
    assert masks.any()
