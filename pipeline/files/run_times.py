"""The times that run.json and item.json tell, and how to leave them out of a comparison.

With `SOURCE_DATE_EPOCH` set (reproducible-builds.org: seconds since 1970) every moment is that one and no
durations are told. Then two runs of one command leave the same files with the same bytes. What libraries
print is never the same twice, so the log of such a run lies outside its directory (`RunDir.log`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime

from pipeline.errors import InputError

EPOCH = "SOURCE_DATE_EPOCH"


def moment() -> str:
    """Tell the time as RFC 3339, UTC, whole seconds. Raises InputError for a variable that is no number."""
    fixed = fixed_time()
    now = datetime.now(UTC) if fixed is None else datetime.fromtimestamp(fixed, UTC)
    return now.isoformat(timespec="seconds")


def durations(seconds: Mapping[str, float]) -> dict[str, float]:
    """Round durations for run.json; none where the time is fixed."""
    return {} if fixed_time() is not None else {name: round(value, 3) for name, value in seconds.items()}


def fixed_time() -> int | None:
    """Seconds since 1970 of `SOURCE_DATE_EPOCH`. None: it is not set. Raises InputError for no number."""
    text = os.environ.get(EPOCH, "")
    if not text:
        return None
    if not text.isdecimal():
        raise InputError(f"{EPOCH} must be whole seconds since 1970", came=text, remedy="unset it")
    return int(text)
