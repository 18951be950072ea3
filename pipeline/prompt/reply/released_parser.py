"""Read a reply as the released code of Think2Seg-RS does: all of it or nothing.

1. `released_items` decodes the text from the first `[` to the last `]` of the first `<answer>`, or of the
   whole reply when it has no `<answer>`.
2. `_fault` checks every object. One bad object refuses the whole reply.
3. `parse_released` follows the evaluation (`parse_sam_json_test`). An empty list is "nothing here". Of two
   boxes whose IoU is above 0.5 the larger stays. Boxes outside the image are neither clipped nor dropped.
4. The training rewards (`parse_sam_json`, `ReleasedRule.training`) also require a json fence, and points in
   every object.
5. An object that passes but would fail in SAM makes the reply malformed (`_read`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, cast

from pipeline.prompt.profile import Profile
from pipeline.prompt.reply.parse import (
    MAX_REPLY_CHARS,
    Box,
    ParsedReply,
    ReplyItem,
    larger_boxes,
    parse_reply,
)
from pipeline.prompt.reply.reply_text import decode_json, split_reply

ParserName = Literal["robust", "think2seg"]
"""`robust`: parse.py, which keeps what can be used. `think2seg`: `parse_released`, all or nothing."""

RELEASED_NMS_IOU = 0.5
"""IoU of two boxes above which only the larger stays."""

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_FENCE = re.compile(r"```json(.*?)```", re.DOTALL)
_LARGEST = 3.4e38
"""Close to the largest 32-bit float; SAM computes in these."""


class ReplyParser(Protocol):
    """Reads one reply, and never raises."""

    def __call__(self, text: str, profile: Profile, *, finish_reason: str | None) -> ParsedReply:
        """Read `text`. `finish_reason` is the engine's: "stop", "length", or None when unknown."""
        ...


class RefusedReplyError(ValueError):
    """The released code refuses a reply; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleasedRule:
    """Which of the two released parsers to follow, and what it expects of a reply."""

    box_key: str
    points_key: str
    negative_key: str
    n_points: int
    """Points of every item. 0: items have none."""
    n_negative: int
    training: bool = False
    """True: the training rewards' parser, for which `n_points` and `n_negative` hold for every item."""
    needs_fence: bool = False


def released_rule(profile: Profile, *, training: bool = False) -> ReleasedRule:
    """Choose the rule for a profile's contract.

    The training parser requires a fence when the profile's own example has one.
    """
    settings = profile.parser
    return ReleasedRule(
        box_key=settings.box_keys[0],
        points_key=(*settings.points_keys, "positive_points")[0],
        negative_key=(*settings.negative_keys, "negative_points")[0],
        n_points=settings.n_points if settings.points_keys else 0,
        n_negative=settings.n_negative if settings.negative_keys else 0,
        training=training,
        needs_fence=training and "```" in profile.user,
    )


def released_items(text: str, rule: ReleasedRule) -> list[Mapping[str, object]]:
    """Decode the objects of a reply, in order, if need be with json_repair, and check each.

    Raises RefusedReplyError.
    """
    found = _ANSWER.search(text)
    body = found.group(1) if found else text
    if rule.needs_fence:
        fence = _FENCE.search(body)
        if fence is None:
            raise RefusedReplyError("the answer does not stand in a json fence")
        body = fence.group(1)
    if "[" in body and "]" in body:
        body = body[body.find("[") : body.rfind("]") + 1]
    items = decode_json(body)
    if not isinstance(items, list):
        raise RefusedReplyError("the answer is not a JSON list")
    for number, item in enumerate(items, start=1):
        fault = _fault(item, rule)
        if fault:
            raise RefusedReplyError(
                f"item {number} of {len(items)} {fault}, and one bad item refuses the reply"
            )
    numbers = (value for item in items for value in item.get(rule.box_key, ()))
    if len(items) > 1 and not all(isinstance(value, int | float) for value in numbers):
        raise RefusedReplyError("boxes of several items are compared, and one is not of numbers")
    return items


def parse_released(text: str, profile: Profile, *, finish_reason: str | None) -> ParsedReply:
    """Read one reply as the released evaluation does. Never raises.

    The published figures were made this way. Items come in the order of the reply, in units of the frame
    (`profile.frame_wh`), inside it or not.
    """
    return parse_by(released_rule(profile), text, finish_reason=finish_reason)


def parse_by(rule: ReleasedRule, text: str, *, finish_reason: str | None) -> ParsedReply:
    """Read one reply by one of the two released rules. Never raises."""
    text = text[:MAX_REPLY_CHARS]
    rationale = split_reply(text)[0]
    truncated = finish_reason == "length"
    try:
        items = [_read(item, rule) for item in released_items(text, rule)]
    except RefusedReplyError as refusal:
        return ParsedReply(malformed=True, rationale=rationale, truncated=truncated, notes=(str(refusal),))
    if not items:
        return ParsedReply(absent=True, rationale=rationale, truncated=truncated)
    unlike = larger_boxes(items, RELEASED_NMS_IOU)
    kept = tuple(item for item in unlike if _is_finite(item))
    notes = {
        "duplicate items were dropped": len(unlike) < len(items),
        "an item holds a number that is not finite": len(kept) < len(unlike),
    }
    return ParsedReply(
        items=kept,
        malformed=not kept,
        n_dropped=len(items) - len(kept),
        rationale=rationale,
        truncated=truncated,
        notes=tuple(note for note, holds in notes.items() if holds),
    )


def _fault(item: object, rule: ReleasedRule) -> str:
    """Say what the released check finds wrong with one item; empty: nothing."""
    if not isinstance(item, Mapping):
        return "is not an object"
    if rule.box_key not in item and rule.points_key not in item:
        return "has neither a box nor points"
    if rule.box_key in item and not _is_list(item[rule.box_key], 4):
        return "has a box that is not a list of four"
    for key, count in ((rule.points_key, rule.n_points), (rule.negative_key, rule.n_negative)):
        if (rule.training or key in item) and not _are_points(item.get(key), count):
            return f"has `{key}` that are not exactly {count} points"
    return ""


def _are_points(value: object, count: int) -> bool:
    """Whether a value is `count` pairs that `float` accepts; texts such as "3" are accepted too.

    For a count of 0 the value must be missing or null.
    """
    if count == 0 or not isinstance(value, list):
        return count == 0 and value is None
    try:
        return len(value) == count and all(
            _is_list(point, 2) and [float(v) for v in point] for point in value
        )
    except (TypeError, ValueError, OverflowError):
        return False


def _is_list(value: object, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


def _read(item: Mapping[str, object], rule: ReleasedRule) -> ReplyItem:
    """Turn a checked item into numbers.

    Raises RefusedReplyError for a box of words or null points. The released call of SAM fails on these, and
    the whole sample is lost.
    """
    box: Box | None = None
    if rule.box_key in item:
        x0, y0, x1, y1 = (_number(value) for value in cast("list[object]", item[rule.box_key]))
        box = x0, y0, x1, y1
    points, negative = (_points(item, key) for key in (rule.points_key, rule.negative_key))
    return ReplyItem(box_xyxy=box, points_xy=points, negative_xy=negative)


def _points(item: Mapping[str, object], key: str) -> tuple[tuple[float, float], ...]:
    if key not in item:
        return ()
    if item[key] is None:
        raise RefusedReplyError(f"`{key}` is null, which passes the check and fails in SAM")
    return tuple((_number(x), _number(y)) for x, y in cast("list[list[object]]", item[key]))


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise RefusedReplyError(
            f"{str(value)[:40]!r} is not a number, which passes the check and fails in SAM"
        )
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _is_finite(item: ReplyItem) -> bool:
    """Whether all numbers are finite as 32-bit floats. Otherwise SAM draws nothing for the item."""
    numbers = (*(item.box_xyxy or ()), *(v for point in (*item.points_xy, *item.negative_xy) for v in point))
    return all(abs(value) <= _LARGEST for value in numbers)


PARSERS: Mapping[ParserName, ReplyParser] = {"robust": parse_reply, "think2seg": parse_released}
"""The two ways to read a reply."""
