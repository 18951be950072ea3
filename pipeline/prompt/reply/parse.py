"""Read a model's reply: items in the checkpoint's frame, an explicit "nothing here", or malformed.

1. `split_reply` (reply_text.py, like step 2) finds the places where the answer may stand.
2. `read_values` decodes the items of one place. A bad item costs only itself.
3. `read_item` checks one item, orders its corners and clamps its box to the frame. A point outside the box is
   dropped.
4. `larger_boxes` keeps the larger of two boxes whose IoU is above `nms_iou`, as in the authors' evaluation.
5. The first place that gives items, or an explicit `[]`, decides. Without one the reply is malformed, even if
   it holds a list whose items were all dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.prompt.profile import ParserSettings, Profile
from pipeline.prompt.reply.reply_text import AnswerPlace, ReplyLog, is_empty_list, read_values, split_reply

MAX_REPLY_CHARS = 1_000_000
"""Characters of a reply that are read (8,000 tokens are about 30,000 characters)."""

MAX_LABEL_CHARS = 200
"""Longest label that is kept, in characters."""

Box = tuple[float, float, float, float]
"""Corners x0, y0, x1, y1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyItem:
    """One object of a reply, in units of the profile's frame: x right, y down.

    `parse_reply` gives items inside the frame. released_parser.py leaves the numbers as the reply has them,
    inside the frame or not.
    """

    box_xyxy: Box | None
    """x0 < x1, y0 < y1. None: the item has points only."""
    points_xy: tuple[tuple[float, float], ...] = ()
    """Inside the box, edges included."""
    negative_xy: tuple[tuple[float, float], ...] = ()
    """Points beside the object, inside the frame; they need not lie in the box."""
    label: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedReply:
    """What a reply says. Exactly one of `items`, `absent`, `malformed` holds.

    Published parsers reject a whole answer for one bad item (Think2Seg-RS, see released_parser.py), or take
    an unreadable answer for "absent" (VisionReasoner, RemoteReasoner).
    """

    items: tuple[ReplyItem, ...] = ()
    absent: bool = False
    malformed: bool = False
    n_dropped: int = 0
    """Items that could not be used: undecodable, degenerate, outside the image, duplicate, or too many."""
    rationale: str = ""
    """What the model thought before it answered, verbatim."""
    truncated: bool = False
    """The reply hit the token limit or ends inside an item. Complete items were kept."""
    notes: tuple[str, ...] = ()
    """What was mended or dropped, one sentence each, none twice."""


def parse_reply(text: str, profile: Profile, *, finish_reason: str | None) -> ParsedReply:
    """Read one reply. Never raises.

    Items come in the order of the reply, in the frame of `profile.frame_wh`. `finish_reason` is the engine's:
    "stop", "length", or None when unknown.
    """
    hit_limit = finish_reason == "length"
    rationale, places = split_reply(text[:MAX_REPLY_CHARS])
    first: ReplyLog | None = None
    for place in places:
        log = ReplyLog()
        if profile.parser.fence == "required" and not place.fenced:
            log.note("the answer does not stand in a code fence, which this profile requires")
        else:
            items = _read_place(place, profile, log, hit_limit=hit_limit)
            truncated = hit_limit or log.cut_open
            if items:
                return ParsedReply(
                    items=items,
                    n_dropped=log.n_dropped,
                    rationale=rationale,
                    truncated=truncated,
                    notes=log.notes,
                )
            if is_empty_list(place) and not log.n_dropped:
                return ParsedReply(absent=True, rationale=rationale, truncated=truncated, notes=log.notes)
        first = first or log
    first = first or ReplyLog()
    if not first.notes:
        first.note("no item and no empty list was found in the reply")
    truncated = hit_limit or first.cut_open
    return ParsedReply(
        malformed=True, n_dropped=first.n_dropped, rationale=rationale, truncated=truncated, notes=first.notes
    )


def _read_place(
    place: AnswerPlace, profile: Profile, log: ReplyLog, *, hit_limit: bool
) -> tuple[ReplyItem, ...]:
    items: list[ReplyItem] = []
    for value in read_values(place.text, profile.parser, log, hit_limit=hit_limit):
        item = read_item(value, profile, log)
        if item is not None:
            items.append(item)
    return _without_duplicates(items, profile.parser.nms_iou, log)


def read_item(value: object, profile: Profile, log: ReplyLog) -> ReplyItem | None:
    """Check one item. None: it cannot be used, and `log` counts it as dropped."""
    settings = profile.parser
    if isinstance(value, list):
        value = {settings.box_keys[0]: value}
    if not isinstance(value, Mapping):
        log.drop("an item is neither an object nor a list of four numbers")
        return None
    known = (settings.box_keys, settings.points_keys, settings.negative_keys, settings.label_keys)
    given = {keys[0]: _first_of(value, keys) for keys in known if keys}
    if missing := [key for key in settings.required if given[key] is None]:
        log.drop(f"an item lacks {', '.join(missing)}")
        return None
    raw_box = given[settings.box_keys[0]]
    box = None if raw_box is None else _box(raw_box, profile, log)
    if raw_box is not None and box is None:
        return None
    area = box or (0.0, 0.0, *profile.frame_wh)
    raw_points = _raw_points(value, given, settings)
    points = _points(raw_points, area, settings.n_points, log) if settings.points_keys else ()
    frame = (0.0, 0.0, *profile.frame_wh)
    negative = (
        _points(given[settings.negative_keys[0]], frame, settings.n_negative, log)
        if settings.negative_keys
        else ()
    )
    if box is None and not points:
        log.drop("an item has neither a box nor a usable point")
        return None
    label = _label(given[settings.label_keys[0]] if settings.label_keys else None)
    return ReplyItem(box_xyxy=box, points_xy=points, negative_xy=negative, label=label)


def _raw_points(
    value: Mapping[object, object], given: Mapping[str, object], settings: ParserSettings
) -> object:
    """Collect the points of an item where every key holds one; otherwise give what the first key holds."""
    if settings.points_form == "list" or not settings.points_keys:
        return given.get((*settings.points_keys, "")[0])
    raw: list[object] = []
    for key in settings.points_keys:
        held = value.get(key)
        if isinstance(held, list) and held and all(isinstance(entry, list) for entry in held):
            raw.extend(held)
        elif held is not None:
            raw.append(held)
    return raw or None


def _first_of(value: Mapping[object, object], keys: tuple[str, ...]) -> object:
    return next((value[key] for key in keys if value.get(key) is not None), None)


def _numbers(value: object, count: int) -> tuple[float, ...] | None:
    """Read `count` finite numbers, or None. Booleans and quoted numbers do not count."""
    if not isinstance(value, list) or len(value) != count:
        return None
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in value):
        return None
    try:
        numbers = tuple(float(v) for v in value)
    except OverflowError:
        return None
    return numbers if all(math.isfinite(v) for v in numbers) else None


def _box(raw: object, profile: Profile, log: ReplyLog) -> Box | None:
    if isinstance(raw, list) and raw and all(isinstance(v, list) for v in raw):
        raw = [number for corner in raw for number in corner]
        log.note("a box came as nested lists")
    numbers = _numbers(raw, 4)
    if numbers is None:
        log.drop("a box is not four finite numbers")
        return None
    (x0, x1), (y0, y1) = sorted((numbers[0], numbers[2])), sorted((numbers[1], numbers[3]))
    if (x0, y0, x1, y1) != numbers:
        log.note("the corners of a box were swapped")
    width, height = profile.frame_wh
    box = max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height)
    if box != (x0, y0, x1, y1):
        log.note("a box reached out of the image and was clamped")
    shortest = profile.frame_step * (1 - 1e-9)  # shares such as 0.30 - 0.29 are a hair below their step
    if box[2] - box[0] < shortest or box[3] - box[1] < shortest:
        log.drop("a box is degenerate or lies outside the image")
        return None
    return box


def _points(raw: object, area: Box, n_points: int, log: ReplyLog) -> tuple[tuple[float, float], ...]:
    """Read the points of one item inside `area` (its box, or the frame): at most `n_points`, none twice."""
    if not isinstance(raw, list) or not raw:
        if raw is not None:
            log.note("an item's points are not a list of points")
        return ()
    if not any(isinstance(v, list) for v in raw) and len(raw) % 2 == 0:
        raw = [raw[i : i + 2] for i in range(0, len(raw), 2)]
        log.note("points came as one flat list")
    x0, y0, x1, y1 = area
    kept: dict[tuple[float, float], None] = {}
    for entry in raw:
        point = _numbers(entry, 2)
        if point is None:
            log.note("a point is not two finite numbers and was dropped")
        elif not (x0 <= point[0] <= x1 and y0 <= point[1] <= y1):
            log.note("a point outside its box was dropped")
        else:
            kept.setdefault((point[0], point[1]))
    if len(kept) > n_points:
        log.note(f"only the first {n_points} points of an item were kept")
    return tuple(kept)[:n_points]


def _label(value: object) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(char for char in value if char.isprintable())[:MAX_LABEL_CHARS].strip()


def _without_duplicates(
    items: list[ReplyItem], nms_iou: float | None, log: ReplyLog
) -> tuple[ReplyItem, ...]:
    """Drop equal items, and boxes that a larger one overlaps by more than `nms_iou`. Order is kept."""
    unique = list(dict.fromkeys(items))
    kept = tuple(unique) if nms_iou is None else larger_boxes(unique, nms_iou)
    if len(kept) < len(items):
        log.drop("duplicate items were dropped", len(items) - len(kept))
    return kept


def larger_boxes(items: Sequence[ReplyItem], nms_iou: float) -> tuple[ReplyItem, ...]:
    """Leave out every item whose box a larger one overlaps by more than `nms_iou`. Order is kept.

    Of equal sizes the first stays, and items without a box stay. Areas are signed: a box whose corners are
    swapped on one axis ranks last and overlaps nothing. A box with a number that is not finite overlaps
    nothing either.
    """
    boxed = [n for n, item in enumerate(items) if item.box_xyxy is not None]
    if len(boxed) < 2:
        return tuple(items)
    boxes = np.array([items[n].box_xyxy for n in boxed], dtype=np.float64)
    alive = np.ones(len(boxed), dtype=bool)
    with np.errstate(invalid="ignore", over="ignore"):
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        for rank in np.argsort(-areas, kind="stable"):
            if alive[rank]:
                wh = np.minimum(boxes[:, 2:], boxes[rank, 2:]) - np.maximum(boxes[:, :2], boxes[rank, :2])
                shared = np.prod(np.clip(wh, 0.0, None), axis=1)
                union = areas + areas[rank] - shared
                alive &= ~((union > 0) & (shared > nms_iou * union))
                alive[rank] = True
    dead = {boxed[n] for n in np.flatnonzero(~alive)}
    return tuple(item for n, item in enumerate(items) if n not in dead)
