"""What makes two runs the same run: sha256 over the canonical JSON of everything that can change the result.

Canonical means sorted keys, strings in Unicode NFC, no white space, no NaN, and hrefs without query strings:
a fresh token is the same scene. The caller leaves out what depends on the machine, such as the runner or the
number of actors.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TypeGuard

import numpy as np

from pipeline.files.hrefs import public_href

MAX_VALUE_CHARS = 240
"""Most characters of a value in a message about differences."""

MOST_TOLD = 8
"""Most keys that a message about differences names."""

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None
"""Plain JSON."""

_ABSENT = object()
"""Stands for the value of a key that one side does not have."""


def fingerprint(parameters: Mapping[str, object]) -> str:
    """Compute the sha256 of `parameters`, 64 hex digits. The order of keys does not matter.

    Raises TypeError for values that JSON cannot hold, and ValueError for NaN and infinity.
    """
    return hashlib.sha256(_to_json(canonical(parameters)).encode()).hexdigest()


def canonical(value: object) -> Json:
    """Turn `value` into plain JSON. Strings are put into NFC, and hrefs lose their query strings.

    Raises TypeError for values that JSON cannot hold.
    """
    if isinstance(value, Mapping):
        return {unicodedata.normalize("NFC", str(key)): canonical(item) for key, item in value.items()}
    if isinstance(value, str | PurePath):
        return public_href(unicodedata.normalize("NFC", str(value)))
    if isinstance(value, np.generic):
        plain: Json = value.item()
        return plain
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, set | frozenset):
        return sorted((canonical(item) for item in value), key=_to_json)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [canonical(item) for item in value]
    raise TypeError(f"a run parameter must be JSON-like, got {type(value).__name__}: {value!r}")


def diff_parameters(a: Mapping[str, object], b: Mapping[str, object]) -> list[str]:
    """List the dotted keys whose values differ between `a` and `b`, sorted.

    Of two lists of tables, only the first entry that differs is named.
    """
    return [change.key for change in _sorted_changes(a, b)]


def describe_difference(a: Mapping[str, object], b: Mapping[str, object]) -> str:
    """Write differences as `key: value in a -> value in b`, joined by `; `. Long values are cut. Of many, the
    MOST_TOLD that lie least deep are written, and the others counted.
    """
    changes = _sorted_changes(a, b)
    keys, left = few([change.key for change in changes])
    told = [f"{each.key}: {each.before} -> {each.after}" for each in changes if each.key in keys]
    return "; ".join([*told, *([f"and {left} more"] if left else [])])


def few(keys: Sequence[str]) -> tuple[list[str], int]:
    """Choose the MOST_TOLD keys that lie least deep, in their order, and count the others."""
    chosen = set(sorted(keys, key=lambda key: (key.count("."), key))[:MOST_TOLD])
    return [key for key in keys if key in chosen], max(len(keys) - MOST_TOLD, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Change:
    """One key whose value differs, and both values as texts."""

    key: str
    before: str
    after: str


def _sorted_changes(a: Mapping[str, object], b: Mapping[str, object]) -> list[_Change]:
    return sorted(_changes(canonical(a), canonical(b), ""), key=lambda change: change.key)


def _changes(a: object, b: object, key: str) -> Iterator[_Change]:
    """Compare leaves as canonical JSON text: 1 and 1.0 differ, as they do in the fingerprint."""
    if _text(a) == _text(b):
        return
    table_a, table_b = ({} if value is _ABSENT else value for value in (a, b))
    if isinstance(table_a, Mapping) and isinstance(table_b, Mapping) and (table_a or table_b):
        for name in table_a.keys() | table_b.keys():
            yield from _changes(
                table_a.get(name, _ABSENT), table_b.get(name, _ABSENT), f"{key}.{name}" if key else name
            )
    elif _is_table_list(a) and _is_table_list(b):
        if len(a) != len(b):
            yield _Change(key=key, before=f"{len(a)} entries", after=f"{len(b)} entries")
        for index, (one, other) in enumerate(zip(a, b, strict=False)):
            if _text(one) != _text(other):
                yield from _changes(one, other, f"{key}[{index}]")
                return
    else:
        yield _Change(key=key, before=_shortened(_text(a)), after=_shortened(_text(b)))


def _is_table_list(value: object) -> TypeGuard[list[dict[str, object]]]:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _text(value: object) -> str:
    return "(not set)" if value is _ABSENT else _to_json(value)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}... ({len(text)} characters)"


def _to_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
