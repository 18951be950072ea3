"""Times as catalogues and people write them.

1. `moments` reads one RFC 3339 time, or a year, month or day, as the first moment of it and the first one
   after it.
2. `time_range` reads `--datetime`: one of these, or `A/B` with `..` for an open end.
3. `item_times` reads when an item was taken. `datetime: null` with a start and an end is a range (STAC
   common metadata, "Date and Time Range").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.errors import InputError

_CALENDAR = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_OPEN = ("", "..")


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeRange:
    """Half-open range of times in UTC; None: open on this side."""

    first: datetime | None
    after: datetime | None
    """The first moment behind the range."""

    def holds(self, start: str, end: str) -> bool:
        """Whether any moment from `start` to `end` (RFC 3339, as `item_times` writes them) lies in it."""
        return (self.first is None or datetime.fromisoformat(end) >= self.first) and (
            self.after is None or datetime.fromisoformat(start) < self.after
        )

    def as_interval(self) -> str:
        """Write it as a STAC API wants it. The end is one moment too late, because APIs count it in."""
        first, after = (
            ".." if moment is None else rfc3339_utc(moment) for moment in (self.first, self.after)
        )
        return f"{first}/{after}"


def time_range(text: str) -> TimeRange:
    """Read `--datetime`. Raises InputError."""
    first_text, slash, last_text = (part.strip() for part in text.partition("/"))
    last_text = last_text if slash else first_text
    if first_text in _OPEN and last_text in _OPEN:
        raise _no_range(text)
    try:
        first = None if first_text in _OPEN else moments(first_text)[0]
        after = None if last_text in _OPEN else moments(last_text)[1]
    except ValueError:
        raise _no_range(text) from None
    if first is not None and after is not None and first >= after:
        raise InputError("--datetime A/B must begin before it ends", came=repr(text), remedy="swap A and B")
    return TimeRange(first=first, after=after)


def _no_range(text: str) -> InputError:
    return InputError(
        "--datetime must be a time or A/B",
        came=repr(text),
        remedy="for example 2024-06-01, 2024-06/2024-08, 2024-06-01T10:00:00Z/.. or ../2024",
    )


def moments(text: str) -> tuple[datetime, datetime]:
    """Read one time as the first moment of it and the first one after it, in UTC. Raises ValueError.

    A year, month or day means all of it. A time of day without an offset is UTC.
    """
    try:
        if found := len(text) <= len("2024-06-01") and _CALENDAR.fullmatch(text):
            year, month, day = (int(part) if part else None for part in found.groups())
            first = datetime(year or 1, month or 1, day or 1, tzinfo=UTC)
            if day:
                return first, first + timedelta(days=1)
            if month:
                return first, (first + timedelta(days=31)).replace(day=1)
            return first, first.replace(year=first.year + 1)
        moment = datetime.fromisoformat(text.strip().upper())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return moment, moment + timedelta(microseconds=1)
    except OverflowError as error:
        raise ValueError(text) from error


def rfc3339_utc(moment: datetime) -> str:
    """Write a moment in UTC, RFC 3339, with microseconds only where it has some."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def item_times(properties: Mapping[str, Any]) -> tuple[str, str] | None:
    """Find the first and the last moment of an item, RFC 3339 in UTC; the same one twice where it has one.

    None: it says nothing. Raises ValueError, with the reason, for what is no time.
    """
    found = {}
    for name in ("datetime", "start_datetime", "end_datetime"):
        value = properties.get(name)
        if value is None:
            continue
        try:
            found[name] = moments(value)[0] if isinstance(value, str) else _no_time(value)
        except ValueError:
            raise ValueError(f"its {name} is no RFC 3339 time: {str(value)[:60]!r}") from None
    start = found.get("start_datetime", found.get("datetime", found.get("end_datetime")))
    end = found.get("end_datetime", found.get("datetime", start))
    if "datetime" in found:
        start = end = found["datetime"]
    if start is None or end is None:
        return None
    if end < start:
        raise ValueError("its end_datetime lies before its start_datetime")
    first = rfc3339_utc(start)
    return first, first if end == start else rfc3339_utc(end)


def _no_time(value: object) -> datetime:
    raise ValueError(str(value)[:60])
