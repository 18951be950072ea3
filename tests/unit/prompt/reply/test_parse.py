"""Replies: a hand-written golden corpus, and properties over generated text.

The corpus (tests/golden/prompt/replies/*.json) is written by hand and never regenerated: a change in what a
reply means is a change to a file, seen in review. Each file holds the reply verbatim, its profile, the
engine's finish reason and the outcome; `released` is what the released parser of Think2Seg-RS makes of it
(test_released_parser.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prompt_tiles import PATIENT

from pipeline.prompt.profile import Profile, known_profiles, load_profile
from pipeline.prompt.reply.parse import ParsedReply, parse_reply

GOLDEN = Path(__file__).parents[3] / "golden" / "prompt" / "replies"
CASES = sorted(GOLDEN.glob("*.json"))
THINK2SEG = load_profile("think2seg")
EMBEDDED = load_profile("embedded")


def outcome(parsed: ParsedReply) -> str:
    held = [
        name
        for name, holds in (
            ("found", bool(parsed.items)),
            ("absent", parsed.absent),
            ("malformed", parsed.malformed),
        )
        if holds
    ]
    assert len(held) == 1, f"exactly one outcome must hold, got {held}"
    return held[0]


def as_json(parsed: ParsedReply) -> list[dict[str, Any]]:
    return [
        {
            "box": None if item.box_xyxy is None else list(item.box_xyxy),
            "points": [list(p) for p in item.points_xy],
            "label": item.label,
        }
        for item in parsed.items
    ]


def test_corpus_is_there() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_golden_reply(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    expected = case["expected"]
    parsed = parse_reply(case["reply"], load_profile(case["profile"]), finish_reason=case["finish_reason"])
    assert outcome(parsed) == expected["outcome"], parsed
    assert as_json(parsed) == [{"label": "", **item} for item in expected["items"]]
    assert (parsed.n_dropped, parsed.truncated) == (expected["n_dropped"], expected["truncated"]), (
        parsed.notes
    )
    if "rationale" in expected:
        assert parsed.rationale == expected["rationale"]
    if expected["outcome"] == "malformed" or expected["n_dropped"]:
        assert parsed.notes


# --- properties ---

TAGS = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "```json",
    "```",
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
]
MARKS = [
    "[",
    "]",
    "{",
    "}",
    "[[",
    "]]",
    ",",
    ":",
    '"',
    "'",
    "“",
    "，",
    "【",
    "】",
    "-",
    " ",
    "\n",
    "\x00",
    "\ud7ff",
]
WORDS = [
    '"bbox_2d"',
    '"positive_points"',
    "bbox_2d",
    "NaN",
    "Infinity",
    "1e400",
    "null",
    "true",
    "nothing here",
    "𝟙",
]
NUMBERS = ["840", "-3", "17.5", "10, 20, 30, 40", '{"bbox_2d": [1, 2, 30, 40]}']
ITEMS = ['{"bbox_2d": [900, -5, 3, 4], "positive_points": [[5, 6], [7]]}']
fragments = st.sampled_from(TAGS + MARKS + WORDS + NUMBERS + ITEMS)
soup = st.lists(fragments | st.text(max_size=5), max_size=40).map("".join)
finish = st.sampled_from(["stop", "length", None])
profiles = st.sampled_from([THINK2SEG, EMBEDDED, *(load_profile(name) for name in known_profiles())])


def assert_inside(parsed: ParsedReply, profile: Profile) -> None:
    width, height = profile.frame_wh
    for item in parsed.items:
        x0, y0, x1, y1 = item.box_xyxy or (0.0, 0.0, width, height)
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert item.box_xyxy is not None or item.points_xy
        assert len(item.points_xy) <= profile.parser.n_points
        assert all(x0 <= x <= x1 and y0 <= y <= y1 for x, y in item.points_xy)


@settings(PATIENT, max_examples=400)
@given(text=soup, reason=finish, profile=profiles)
@example(text="[" * 5000, reason="stop", profile=THINK2SEG)
@example(text='{"bbox_2d":' * 3000, reason="length", profile=THINK2SEG)
@example(text="[" + "9" * 5000 + ", 1, 2, 3]", reason="stop", profile=EMBEDDED)
def test_any_text_has_one_outcome_inside_the_frame(text: str, reason: str | None, profile: Profile) -> None:
    parsed = parse_reply(text, profile, finish_reason=reason)
    assert outcome(parsed) in ("found", "absent", "malformed")
    assert_inside(parsed, profile)


@settings(PATIENT, max_examples=300)
@given(text=soup, profile=profiles)
def test_absent_needs_a_written_empty_list(text: str, profile: Profile) -> None:
    parsed = parse_reply(text, profile, finish_reason="stop")
    if parsed.absent:
        opened = text.translate(str.maketrans("［［【］】", "[[[]]"))
        assert "[]" in "".join(opened.split())


@settings(PATIENT, max_examples=300)
@given(text=st.text(alphabet=st.characters(exclude_characters="[]［］【】")), profile=profiles)
def test_text_without_brackets_is_never_absent(text: str, profile: Profile) -> None:
    assert not parse_reply(f"<answer>{text}</answer>", profile, finish_reason="stop").absent


boxes = st.tuples(st.integers(0, 41), st.integers(0, 41)).map(
    lambda rc: [rc[1] * 20, rc[0] * 20, rc[1] * 20 + 16, rc[0] * 20 + 16]
)
answers = st.lists(boxes, min_size=1, max_size=12, unique_by=tuple).map(
    lambda found: [
        {"bbox_2d": box, "positive_points": [[box[0] + 4, box[1] + 5], [box[0] + 9, box[1] + 8]]}
        for box in found
    ]
)


def wire(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"box": item["bbox_2d"], "points": item["positive_points"], "label": ""} for item in items]


@settings(PATIENT, max_examples=150)
@given(items=answers, style=st.sampled_from(["fence", "bare", "indent", "python"]))
def test_what_is_written_is_read(items: list[dict[str, Any]], style: str) -> None:
    body = {
        "fence": f"```json{json.dumps(items)}```",
        "bare": json.dumps(items),
        "indent": json.dumps(items, indent=1),
        "python": repr(items),
    }
    parsed = parse_reply(f"<think>x</think><answer>{body[style]}</answer>", THINK2SEG, finish_reason="stop")
    assert as_json(parsed) == wire(items)
    assert (parsed.n_dropped, parsed.truncated) == (0, False)


@settings(PATIENT, max_examples=300)
@given(items=answers, data=st.data())
def test_a_cut_reply_keeps_exactly_the_complete_items(
    items: list[dict[str, Any]], data: st.DataObject
) -> None:
    whole = "<answer>" + json.dumps(items)
    end = data.draw(st.integers(len("<answer>"), len(whole)))
    n_complete = whole[:end].count("}")
    parsed = parse_reply(whole[:end], THINK2SEG, finish_reason="length")
    assert as_json(parsed) == wire(items[:n_complete])
    assert parsed.truncated
    assert parsed.malformed == (n_complete == 0)
    assert not parsed.absent


@settings(PATIENT, max_examples=150)
@given(items=answers, data=st.data())
def test_a_ruined_item_costs_only_itself(items: list[dict[str, Any]], data: st.DataObject) -> None:
    ruined = data.draw(st.integers(0, len(items) - 1))
    junk = data.draw(
        st.sampled_from(
            ['{"bbox_2d": "?"}', '{"bbox_2d": [1, 2, ,}', "{}", '{"bbox_2d": [NaN, 1, 2, 3]}', "{bbox}"]
        )
    )
    texts = [junk if n == ruined else json.dumps(item) for n, item in enumerate(items)]
    parsed = parse_reply(f"<answer>[{', '.join(texts)}]</answer>", THINK2SEG, finish_reason="stop")
    assert as_json(parsed) == wire(items[:ruined] + items[ruined + 1 :])
    assert parsed.n_dropped == 1
    assert parsed.malformed == (len(items) == 1)


@pytest.mark.parametrize("template", ["[%s]", "[%s", "%s"])
def test_ten_thousand_items_are_capped(template: str) -> None:
    item = '{"bbox_2d": [%d, %d, %d, %d], "positive_points": []}'
    texts = ", ".join(
        item % (n % 100 * 8, n // 100 * 8, n % 100 * 8 + 7, n // 100 * 8 + 7) for n in range(10_000)
    )
    parsed = parse_reply(f"<answer>{template % texts}", THINK2SEG, finish_reason="stop")
    assert len(parsed.items) == THINK2SEG.parser.max_items == 1000
    assert parsed.n_dropped == 9000
    assert parsed.items[-1].box_xyxy == (792, 72, 799, 79)  # item 999: column 99, row 9


def test_required_fence(tmp_path: Path) -> None:
    path = tmp_path / "strict.toml"
    text = (Path(__file__).parents[4] / "pipeline/prompt/profiles/think2seg.toml").read_text(encoding="utf-8")
    path.write_text(text.replace('fence = "optional"', 'fence = "required"'), encoding="utf-8")
    strict = load_profile(str(path))
    item = '[{"bbox_2d": [1, 2, 30, 40]}]'
    assert outcome(parse_reply(f"<answer>{item}</answer>", strict, finish_reason="stop")) == "malformed"
    assert outcome(parse_reply("<answer>[]</answer>", strict, finish_reason="stop")) == "malformed"
    assert outcome(parse_reply(f"<answer>```json{item}```</answer>", strict, finish_reason="stop")) == "found"
    assert outcome(parse_reply("<answer>```json[]```</answer>", strict, finish_reason="stop")) == "absent"


def test_negative_points_are_read_where_the_profile_has_them() -> None:
    points = '"positive_points": [[20, 20], [30, 30]], "negative_points": [[1, 1], [900, 2], [5, 6], [7, 7]]'
    text = f'<answer>[{{"bbox_2d": [10, 10, 50, 40], {points}}}]</answer>'
    (item,) = parse_reply(text, load_profile("think2seg-box-points2-negatives2"), finish_reason="stop").items
    assert item.points_xy == ((20, 20), (30, 30))
    assert item.negative_xy == ((1, 1), (5, 6)), (
        "outside its box is where they belong, outside the image is not"
    )
    (item,) = parse_reply(text, load_profile("think2seg"), finish_reason="stop").items
    assert item.negative_xy == ()
