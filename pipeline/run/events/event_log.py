"""One line of JSON per event, in `logs/` of a run, one file per start.

    {"time": "2026-03-01T02:11:09.120Z", "event": "block", "block": "b00003_00001", "found": 3, ...}

1. `EventLog` opens the file of this start. Every line is written when its event happens.
2. Of a run in a bucket, the file lies on the driver's machine and goes to the bucket every UPLOAD_S seconds,
   and at the end: it outlives the machine. A driver that is killed takes the last events with it.
3. `read_events` gives back the events of all starts, the earliest first. A line that was cut by the death of
   its writer is left out.

What the driver itself asked of servers is told at the end of each of its steps. What it asks after the last
event (the copy of the log, cost.json, the lock that it gives back) is told nowhere.

A log never fails a run: what cannot be written is lost, as with `run.log`. Of a run whose times are fixed
(`run_times`), the log lies outside of it. Texts go through `public_text`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.errors import BudgetSpentError
from pipeline.files.public_text import public_text
from pipeline.files.run_times import fixed_time
from pipeline.files.traffic import traffic
from pipeline.write.run_dir import RunDir

UPLOAD_S = 30.0
"""Seconds between two copies of a log to the bucket: one request each."""

ENDS = ("ended", "stopped", "failed")
"""Events that end a start. One without any was killed, or is at work."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of a log."""

    start: str
    """Name of the start it belongs to."""
    time: float
    """Seconds since 1970."""
    event: str
    """What happened."""
    values: dict[str, Any]
    """All that is told of it."""


Hearer = Callable[[str, Mapping[str, Any]], None]
"""Hears an event and its values."""


class EventLog:
    """The log of one start of a run."""

    def __init__(self, run_dir: RunDir, clock: Callable[[], float] = time.time) -> None:
        """Write nothing yet."""
        self._run_dir = run_dir
        self._clock = clock
        began = datetime.fromtimestamp(clock(), UTC)
        self.name = f"{began:%Y%m%dT%H%M%S}.{began.microsecond // 1000:03d}Z-{os.getpid()}.jsonl"
        self._path = run_dir.event_logs / self.name
        self._kept = clock()
        self._hearers: list[Hearer] = []
        self._told: list[tuple[str, Mapping[str, Any]]] = []

    def let_hear(self, hearer: Hearer) -> None:
        """Tell every event to `hearer` too, at first those that were told so far, except for blocks."""
        for event, values in self._told:
            hearer(event, values)
        self._hearers.append(hearer)

    def tell(self, event: str, **values: object) -> None:
        """Write one event. Values are numbers, texts, or lists and dictionaries of them."""
        if event != "block":
            self._told.append((event, values))
        for hear in self._hearers:
            hear(event, values)
        now = self._clock()
        told = {name: _public(value) for name, value in values.items()}
        line = {"time": _text(now), "event": event, **told}
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8", errors="replace") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        if now - self._kept >= UPLOAD_S:
            self.keep()

    def tell_traffic(self, step: str) -> None:
        """Tell what this process asked of servers since it last told. `step`: what it was at."""
        if counts := traffic.take():
            self.tell("traffic", step=step, counts=counts)

    def keep(self) -> None:
        """Copy the log to the bucket of the run, if it lies in one."""
        self._kept = self._clock()
        if self._run_dir.path.is_local or fixed_time() is not None or not self._path.is_file():
            return
        with suppress(OSError):
            (self._run_dir.events / self.name).write_bytes(self._path.read_bytes())


@contextmanager
def told_to_its_end(run_dir: RunDir, **about: object) -> Iterator[EventLog]:
    """Open the log of a start, and close it with how the body ended. `about`: what is told of the start."""
    log = EventLog(run_dir)
    log.tell("started", **about)
    try:
        yield log
    except BaseException as error:
        log.tell_traffic("ending")
        end = "stopped" if isinstance(error, BudgetSpentError) else "failed"
        log.tell(end, error=str(error)[:_MOST_CHARS], kind=type(error).__name__)
        raise
    else:
        log.tell_traffic("ending")
        log.tell("ended")
    finally:
        log.keep()


_MOST_CHARS = 2000


def read_events(run_dir: RunDir) -> list[Event]:
    """Read the events of all starts, the earliest start first. Raises OSError where the store fails."""
    found: list[Event] = []
    if fixed_time() is not None:
        names = {path.name: path.read_bytes() for path in run_dir.event_logs.glob("*.jsonl")}
    else:
        names = {path.name: path.read_bytes() for path in run_dir.events.entries()}
    for name, data in sorted(names.items()):
        found += _events_of(name, data.decode("utf-8", errors="replace"))
    return found


def _events_of(name: str, text: str) -> Iterator[Event]:
    for line in text.splitlines():
        try:
            values = json.loads(line)
            moment = datetime.fromisoformat(values.pop("time")).timestamp()
            event = values.pop("event")
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        yield Event(start=name, time=moment, event=event, values=values)


def _public(value: object) -> object:
    """A value whose texts hold no secret, and nothing that a screen obeys."""
    if isinstance(value, str):
        return public_text(value)
    if isinstance(value, Mapping):
        return {str(name): _public(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_public(one) for one in value]
    return value


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
