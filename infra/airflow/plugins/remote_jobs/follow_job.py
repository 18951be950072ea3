"""Start a job once, and wait for its end: the same for whatever server, in a worker and in a triggerer.

A job that this try or an earlier one has started is found by its name. While it runs, every whole new line of
its log is said, and what the server says about it whenever that changes. What the log has said is given back
with the end, too: a cluster may be gone before a worker can ask it again.

Nothing here imports Airflow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import httpx

from remote_jobs.job_end import LATE, SUCCEEDED, UNKNOWN, UNREACHABLE, JobState, unread

UNREACHABLE_S = 300.0
"""Seconds without any answer after which a task stops waiting. Its next try finds the job, if it lives."""
SOONEST_S = 1.0
"""Seconds after which a server is asked again about a job that has just been begun to watch."""
MOST_STOPPING_S = 120.0
"""Seconds that are waited for jobs to end that were told to stop."""
MOST_KEPT = 200_000
"""Characters of a log that are given back with the end."""


class RemoteJobs(Protocol):
    """A server of jobs."""

    async def look(self, name: str) -> JobState: ...

    async def start(self, name: str, command: Sequence[str], settings: Mapping[str, Any]) -> None: ...

    async def stop(self, name: str) -> None: ...

    async def log(self, name: str) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How to wait: the longest time between two looks, and when it is over, if ever (seconds since 1970)."""

    poll_s: float
    until: float | None = None

    def pause_s(self, waited_s: float) -> float:
        """How long to wait for the next look: a tenth of what was waited. So a short job is seen to end soon,
        and a long one asks for little.
        """
        return min(self.poll_s, max(SOONEST_S, waited_s / 10))


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a job ended, and the last characters of what it printed."""

    state: JobState
    log: str


@dataclass(kw_only=True)
class _Heard:
    """What the log has said so far."""

    say: Callable[[str], None]
    log: str = ""
    said: int = field(default=0)
    told: str = ""
    """What the server said about the job."""

    def note(self, message: str) -> None:
        if message and message != self.told:
            self.told = message
            self.say(message)

    def hear(self, log: str, *, ended: bool) -> None:
        if len(log) >= len(self.log):  # a server that lost its log does not take what was heard
            self.log = log
        new = unread(self.log, self.said, ended=ended)
        self.said += len(new)
        if new.strip():
            self.say(new.rstrip("\n"))


async def start_or_find(
    jobs: RemoteJobs, names: Sequence[str], command: Sequence[str], settings: Mapping[str, Any]
) -> tuple[str, bool]:
    """Make sure that one job runs; returns its name and whether it was there.

    names: of this try, then of earlier ones, newest first. A job of this try is taken as it is. One of an
    earlier try is taken while it lives or if it succeeded: its task has lost sight of it. Airflow does so
    when a job ends before the scheduler is told that its task was deferred.
    """
    own = names[0]
    if (await jobs.look(own)).status != UNKNOWN:
        return own, True
    for name in names[1:]:
        state = await jobs.look(name)
        if state.alive or state.status == SUCCEEDED:
            return name, True
        if state.status != UNKNOWN:
            break
    try:
        await jobs.start(own, command, settings)
    except httpx.HTTPError:
        if (
            await jobs.look(own)
        ).status == UNKNOWN:  # otherwise only the answer was lost, or another was quicker
            raise
    return own, False


async def stop_all(jobs: RemoteJobs, names: Sequence[str], poll_s: float) -> None:
    """Stop those of the jobs that live, and wait until they have ended: they hold their run until then."""
    until = time.monotonic() + MOST_STOPPING_S
    for name in names:
        if not (await jobs.look(name)).alive:
            continue
        await jobs.stop(name)
        while (await jobs.look(name)).alive and time.monotonic() < until:
            await asyncio.sleep(min(poll_s, SOONEST_S))


async def follow(jobs: RemoteJobs, name: str, watch: Watch, say: Callable[[str], None]) -> Ending:
    """Wait until the job has ended or `watch` is over, and say its log meanwhile."""
    heard = _Heard(say=say)
    began = answered = time.monotonic()
    while True:
        try:
            state = await jobs.look(name)
            if state.alive:
                heard.note(state.message)
            if state.status != UNKNOWN:
                heard.hear(await jobs.log(name), ended=not state.alive)
            answered = time.monotonic()
        except httpx.HTTPError as error:
            silent_s = time.monotonic() - answered
            text = f"no answer about it for {silent_s:.0f} s ({error or type(error).__name__})"
            state = JobState(status=UNREACHABLE, message=text)
            if silent_s < UNREACHABLE_S:
                say(text)
                await asyncio.sleep(watch.pause_s(time.monotonic() - began))
                continue
        if state.alive and watch.until is not None and time.time() >= watch.until:
            state = replace(state, status=LATE, message="its time (execution_timeout) is over; it is stopped")
        if not state.alive:
            return Ending(state=state, log=heard.log[-MOST_KEPT:])
        await asyncio.sleep(watch.pause_s(time.monotonic() - began))


async def whole_log(jobs: RemoteJobs, name: str, known: str) -> str:
    """The log of a job that has ended; `known` where the server cannot give more than that."""
    try:
        found = await jobs.log(name)
    except httpx.HTTPError:
        return known
    return found if len(found) >= len(known) else known
