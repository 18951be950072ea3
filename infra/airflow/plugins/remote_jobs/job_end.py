"""What a remote job is called, how it is, and what its end means for the task that waits for it.

1. `job_name` is the same for the same try of a task: a worker that comes after a lost one finds the job.
2. `JobState` is what a server says about it.
3. `judge` turns the end of a job into what Airflow shall do: go on, fail for good, or try again. Another try
   is a resumption, because a run keeps what is committed; so it is the rule. What it cannot mend is named.
4. `unread` cuts from a growing log what was not shown yet.

Nothing here imports Airflow.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

LONGEST_NAME = 47
"""KubeRay refuses longer names of a RayJob: it adds to them."""

PENDING = "PENDING"
RUNNING = "RUNNING"
SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"
STOPPED = "STOPPED"
UNKNOWN = "UNKNOWN"
"""The server does not know the job: it was never there, or the head is another one by now."""
UNREACHABLE = "UNREACHABLE"
"""The server has not answered for so long that the task gives up waiting. The job may go on."""
REFUSED = "REFUSED"
"""The server has taken the job, and refuses what it says."""
LATE = "LATE"
"""The task's time is over, and the job is not."""

BAD_INPUT = (
    "bad input: nothing was started, and another try would be told the same. Correct what the log names"
)
SEGMENT_ENDS: dict[int, str] = {
    2: BAD_INPUT,
    3: (
        "the run is complete, but more tiles failed than --max-failed-share allows (coverage.parquet says "
        "which and why). Another try would leave them as they are: run the job with --retry-failed, or "
        "accept a higher share"
    ),
    6: (
        "the run has spent what --max-cost or --max-hours allows. What is committed is kept; run the job "
        "again with a higher limit"
    ),
}
"""Exit codes of jobs/segment_region.py that another try cannot mend, with what they mean."""
VERIFY_ENDS: dict[int, str] = {
    2: BAD_INPUT,
    4: "the run is not sound. Damaged records heal when its own command is started again (clear `segment`)",
}
"""The same of jobs/verify_run.py."""
BUSY = 5
"""Exit code of a job that meets another driver in its run: one that lives, or one that died without giving
the lock back. Such a lock counts for nothing after five minutes; later tries go on."""


@dataclass(frozen=True, kw_only=True)
class JobState:
    """How a job is.

    `exit_code`: the driver's own; None while it runs, and where it never started or went with its node.
    `message`: what the server says about it.
    """

    status: str
    exit_code: int | None = None
    message: str = ""

    @property
    def alive(self) -> bool:
        """Whether the job waits or runs."""
        return self.status in (PENDING, RUNNING)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What Airflow shall do about a job that ended, and the words for a person."""

    outcome: Literal["done", "skip", "fail", "again"]
    text: str


def job_name(parts: tuple[str, ...], inputs: object, try_number: int) -> str:
    """Name a job after what it does.

    parts: who asks, from coarse to fine (DAG, task, run, map index); the first two are readable in the name.
    inputs: what the job is given, as JSON can hold it. Returns at most 47 of a-z, 0-9 and `-`.
    """
    told = json.dumps([parts, inputs], sort_keys=True, ensure_ascii=True)
    digest = hashlib.sha256(told.encode()).hexdigest()[:12]
    tail = f"-{digest}-{try_number}"
    readable = re.sub(r"[^a-z0-9]+", "-", "-".join(parts[:2]).lower()).strip("-")
    return "job-" + readable[: LONGEST_NAME - len(tail) - 4].strip("-") + tail


def judge(
    name: str, state: JobState, *, ends: Mapping[int, str], log: str = "", nothing_to_do: str | None = None
) -> Verdict:
    """Say what the end of a job means.

    ends: exit codes that another try cannot mend. nothing_to_do: words with which a job that ends with one of
    these says that there is nothing to do for it; they are looked for in `log`.
    """
    if state.status == SUCCEEDED:
        return Verdict(outcome="done", text=f"{name} is complete")
    if state.status == STOPPED:
        return Verdict(
            outcome="again", text=f"{name} was stopped. Another try goes on from what is committed"
        )
    if state.status == UNKNOWN:
        text = (
            f"{name} is not known to the server any more: it was deleted, or the cluster is a new one. "
            "Another try goes on from what is committed"
        )
        return Verdict(outcome="again", text=text)
    if state.status in (UNREACHABLE, LATE):
        return Verdict(outcome="again", text=f"{name}: {state.message}")
    if state.status == REFUSED:
        text = f"{name} was refused, and another try would be. Correct the manifest: {state.message}"
        return Verdict(outcome="fail", text=text)
    code = state.exit_code
    if code is not None and code in ends:
        if nothing_to_do is not None and nothing_to_do in log:
            return Verdict(outcome="skip", text=f"{name} found nothing to do: {last_line(log)}")
        return Verdict(
            outcome="fail", text=f"{name} ended with exit code {code}: {ends[code]}. {last_line(log)}"
        )
    how = "did not start, or went with its node" if code is None else f"ended with exit code {code}"
    if code == BUSY:
        how += f": another driver is at work in its run. {last_line(log)}"
    text = f"{name} {how}. Another try goes on from what is committed. {state.message.strip()[-2000:]}"
    return Verdict(outcome="again", text=text.strip())


def unread(log: str, offset: int, *, ended: bool) -> str:
    """Cut what comes after the first `offset` characters: whole lines only, unless nothing more will come."""
    rest = log[offset:]
    return rest if ended else rest[: rest.rfind("\n") + 1]


def last_line(log: str) -> str:
    """The last line that says something. Of a line that was written over itself, what it said last."""
    lines = [line.rpartition("\r")[2].strip() for line in log.rstrip().split("\n")]
    return next((line for line in reversed(lines) if line), "")
