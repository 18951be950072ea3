"""Find the answer in a reply and decode its raw items: steps 1 and 2 of parse.py.

No item is judged here. `read_values` yields what it could decode, and None for what it could not, so that the
caller can count it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.prompt.profile import ParserSettings

_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL | re.IGNORECASE)
_THINK_OPEN = re.compile(r"<think>", re.IGNORECASE)
_THINK_CLOSE = re.compile(r"</think>", re.IGNORECASE)
_ANSWER_OPEN = re.compile(r"<answer>", re.IGNORECASE)
_ANSWER_CLOSE = re.compile(r"</answer>", re.IGNORECASE)
_ANSWER_OR_FENCE = re.compile(r"<answer>|```", re.IGNORECASE)
_FENCE = re.compile(r"```[ \t]*[a-zA-Z]*(.*?)(?:```|\Z)", re.DOTALL)
_BRACKET = re.compile(r"[\[{［【｛]")
_EMPTY_LIST = re.compile(r"\[\s*\]")
_OBJECT = re.compile(r"\{[^{}]*\}?")
_FLAT_BOX = re.compile(r"\[\s*-?[\d.eE+-]+(?:\s*,\s*-?[\d.eE+-]+){3}\s*\]")
_REF_BOX = re.compile(
    r"(?:<ref>(?P<ref>.*?)</ref>\s*)?<box>(?P<boxes>.*?)(?:</box>|(?=<ref>|<box>)|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_WIDE = str.maketrans(
    "，：；、［］【】｛｝" + "“”„‟＂「」" + "‘’＇" + "－−．０１２３４５６７８９",
    ",:,,[][]{}" + '"' * 7 + "'" * 3 + "--.0123456789",
)
"""Wide punctuation and digits, as bilingual checkpoints write them, to their ASCII meaning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerPlace:
    """A part of a reply in which the answer may stand."""

    text: str
    marked: bool
    """The part stood in an `<answer>` block or a fence, so an empty list counts even with prose beside it."""
    fenced: bool
    """The part stood in a code fence."""


class ReplyLog:
    """Counts dropped items and collects notes while one place is read."""

    def __init__(self) -> None:
        self.n_dropped = 0
        self.cut_open = False
        """The text ends inside an item."""
        self._notes: dict[str, None] = {}

    def note(self, text: str) -> None:
        self._notes.setdefault(text)

    def drop(self, text: str, count: int = 1) -> None:
        self.n_dropped += count
        self.note(text)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences in order, none twice."""
        return tuple(self._notes)


def split_reply(text: str) -> tuple[str, list[AnswerPlace]]:
    """Split a reply into the thinking and the places where the answer may stand, most likely first.

    The places are the `<answer>` blocks in order, or the whole text if there is none. Inside each, its code
    fences come first, then all of it. A thinking block that is never closed ends only at an `<answer>` or a
    code fence. If the chat template opened it, it begins with the reply.
    """
    rationale = ""
    rest = text
    if found := _THINK.search(text):
        rationale = found.group(1)
        rest = text[: found.start()] + text[found.end() :]
    elif close := _THINK_CLOSE.search(text):
        rationale = text[: close.start()]
        rest = text[close.end() :]
    elif opened := _THINK_OPEN.search(text):
        answer = _ANSWER_OR_FENCE.search(text, opened.end())
        end = answer.start() if answer else len(text)
        rationale = text[opened.end() : end]
        rest = text[: opened.start()] + text[end:]
    return rationale.strip(), list(_places(rest))


def _places(rest: str) -> Iterator[AnswerPlace]:
    blocks = [_ANSWER_CLOSE.split(block, maxsplit=1)[0] for block in _ANSWER_OPEN.split(rest)[1:]]
    for block in blocks or [_ANSWER_CLOSE.sub(" ", rest)]:
        for fence in _FENCE.finditer(block):
            yield AnswerPlace(text=fence.group(1), marked=True, fenced=True)
        yield AnswerPlace(text=block, marked=bool(blocks), fenced=False)


def is_empty_list(place: AnswerPlace) -> bool:
    """Whether a place holds an explicit `[]`, and nothing else that could be an item.

    Stray closing brackets are allowed.
    """
    body = place.text.translate(_WIDE)
    beside, n_lists = _EMPTY_LIST.subn("", body, count=1)
    return n_lists == 1 and not re.search(r"[\d{}\[]" if place.marked else r"[^\s\]`.]", beside)


def read_values(body: str, settings: ParserSettings, log: ReplyLog, *, hit_limit: bool) -> Iterator[object]:
    """Yield the raw items of one place, at most `max_items`.

    They are mappings, lists of plain values, or rubbish that the caller drops. `hit_limit`: the reply hit its
    token limit.
    """
    for n, value in enumerate(_all_values(body, settings, log, hit_limit=hit_limit)):
        if n < settings.max_items:
            yield value
        else:
            log.drop(f"only the first {settings.max_items} items were read")


def _all_values(body: str, settings: ParserSettings, log: ReplyLog, *, hit_limit: bool) -> Iterator[object]:
    if settings.reply_form == "ref_box" and (tagged := list(_REF_BOX.finditer(body))):
        yield from _ref_boxes(tagged, settings, log)
        return
    decoder = json.JSONDecoder()
    at = 0
    while start := _BRACKET.search(body, at):
        try:
            value, at = decoder.raw_decode(body, start.start())
        except (ValueError, RecursionError):
            log.note("the answer is not valid JSON; its items were read one by one")
            yield from _salvaged(body[start.start() :].translate(_WIDE), settings, log, hit_limit=hit_limit)
            return
        yield from _flattened(value, settings)


def _ref_boxes(tagged: list[re.Match[str]], settings: ParserSettings, log: ReplyLog) -> Iterator[object]:
    """Yield one item per box of every `<box>` element; the text of the `<ref>` before it is its label."""
    for found in tagged:
        label = (found["ref"] or "").strip()
        boxes = found["boxes"]
        if not re.search(r"\d", boxes):
            log.note("a <box> element holds no numbers")
        for value in _salvaged_lists(boxes.translate(_WIDE), log):
            yield {settings.box_keys[0]: value, **dict.fromkeys(settings.label_keys[:1], label)}


def _flattened(value: object, settings: ParserSettings) -> Iterator[object]:
    """Yield the items of a decoded value.

    Nested lists are opened, and so is a mapping that only wraps a list of mappings.
    """
    pending = [value]
    while pending:
        value = pending.pop(0)
        if isinstance(value, Mapping) and not any(
            key in value for key in settings.box_keys + settings.points_keys
        ):
            inner = [v for v in value.values() if isinstance(v, list) and v and isinstance(v[0], Mapping)]
            if len(inner) == 1:
                pending[:0] = inner[0]
                continue
        if isinstance(value, list) and (not value or any(isinstance(v, list | Mapping) for v in value)):
            pending[:0] = value
        else:
            yield value


def _salvaged(body: str, settings: ParserSettings, log: ReplyLog, *, hit_limit: bool) -> Iterator[object]:
    """Yield the items of text that is no JSON, each from its `{` to its `}` or to the next `{`."""
    if "{" not in body:
        yield from _salvaged_lists(body, log)
        return
    for n, found in enumerate(_OBJECT.finditer(body)):
        chunk = found.group()
        at_end = found.end() == len(body)
        if n >= settings.max_items:
            yield None  # counted by the caller, not worth decoding
        elif chunk.endswith("}"):
            yield decode_json(chunk)
        elif at_end and (hit_limit or chunk.count("[") > chunk.count("]")):
            log.cut_open = True
            log.drop("the last item is cut off")
        elif re.search(r"\d", chunk):
            log.note("an item lacks its closing brace")
            yield decode_json(_closed(chunk))


def _salvaged_lists(body: str, log: ReplyLog) -> Iterator[object]:
    """Yield the flat lists of four numbers in text that holds no `{`."""
    for found in _FLAT_BOX.finditer(body):
        yield decode_json(found.group())
    tail = body[body.rfind("[") :]
    if "]" not in tail and re.search(r"\d", tail):
        log.cut_open = True
        log.drop("the last item is cut off")


def _closed(chunk: str) -> str:
    """Close an item that ran into the next one or the list's end: balance brackets, add the brace."""
    text = chunk.rstrip(" \t\r\n,")
    while text.endswith("]") and text.count("]") > text.count("["):
        text = text[:-1].rstrip(" \t\r\n,")
    return text + "]" * max(text.count("[") - text.count("]"), 0) + "}"


def decode_json(text: str) -> Any:
    """Decode text as JSON, or failing that with json_repair. None: neither can read it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    from json_repair import repair_json  # imported here: only broken replies need it

    try:
        return repair_json(text, return_objects=True)
    except Exception:
        # If a repair heuristic fails in a new way, this text is lost, but never the tile.
        return None
