"""Read a judge's reply: three marks from 1 to 5, or no verdict at all.

GeoSeg's released code takes a mark that it cannot read for 3, which pulls every mean to the middle. Here such
a verdict is missing: it enters no mean, and is counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.prompt.reply.reply_text import decode_json

CRITERIA = ("faithfulness", "localization", "robustness")
"""What is rated, in the order of GeoSeg's table 2 (F, L, R)."""

LOWEST = 1
HIGHEST = 5

MAX_CHARS = 100_000
"""Characters of a reply that are read."""

_THINK = re.compile(r".*</think>", re.DOTALL | re.IGNORECASE)
_OBJECT = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeMarks:
    """The three marks of one answer, each from 1 to 5."""

    faithfulness: int
    localization: int
    robustness: int


def read_verdict(reply: str) -> JudgeMarks | None:
    """Read the last JSON object of a reply that holds all three marks. None: there is none. Never raises.

    What stands before a closing `</think>` is not read. A mark is a whole number from 1 to 5, or the same as
    text. Anything else (4.5, 0, "good", a range) makes the verdict unreadable: nothing is guessed or rounded.
    """
    text = _THINK.sub("", reply[:MAX_CHARS])
    for found in reversed(_OBJECT.findall(text)):
        value = decode_json(found)
        if isinstance(value, Mapping):
            by_name = {str(key).strip().lower(): mark for key, mark in value.items()}
            marks = [_mark(by_name.get(name)) for name in CRITERIA]
            if all(mark is not None for mark in marks):
                return JudgeMarks(**{n: m for n, m in zip(CRITERIA, marks, strict=True) if m is not None})
    return None


def _mark(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"\s*[1-5]\s*", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value in range(LOWEST, HIGHEST + 1) else None
