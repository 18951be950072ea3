"""Starting once and waiting, against a server in memory that loses answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from remote_jobs import follow_job
from remote_jobs.follow_job import Watch, follow, start_or_find, stop_all, whole_log
from remote_jobs.job_end import JobState

pytestmark = pytest.mark.ops

OFTEN = Watch(poll_s=0.001)
DONE = JobState(status="SUCCEEDED", exit_code=0)


@dataclass
class Server:
    """Jobs in memory; `looks`: what the next looks at a job find, an error is raised."""

    jobs: dict[str, JobState] = field(default_factory=dict)
    looks: list[JobState | Exception] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    lost_answers: int = 0

    async def look(self, name: str) -> JobState:
        if not self.looks:
            return self.jobs.get(name, JobState(status="UNKNOWN"))
        seen = self.looks.pop(0)
        if isinstance(seen, Exception):
            raise seen
        return seen

    async def start(self, name: str, command: Sequence[str], settings: Mapping[str, Any]) -> None:
        if name in self.jobs:
            raise httpx.HTTPError("there already")
        self.started.append(name)
        self.jobs[name] = JobState(status="PENDING")
        if self.lost_answers:
            self.lost_answers -= 1
            raise httpx.ReadTimeout("the answer was lost")

    async def stop(self, name: str) -> None:
        self.jobs[name] = JobState(status="STOPPED")

    async def log(self, name: str) -> str:
        return self.logs.pop(0) if len(self.logs) > 1 else self.logs[0]


def begun(server: Server, *names: str) -> tuple[str, bool]:
    return asyncio.run(start_or_find(server, names, ["true"], {}))


def test_a_job_is_started_once_whatever_is_lost() -> None:
    server = Server(lost_answers=1)
    assert begun(server, "j-1") == ("j-1", False)
    assert begun(server, "j-1") == ("j-1", True)
    assert server.started == ["j-1"]


def test_a_server_that_refuses_is_told() -> None:
    class Refusing(Server):
        async def start(self, name: str, command: Sequence[str], settings: Mapping[str, Any]) -> None:
            raise httpx.HTTPError("refused")

    with pytest.raises(httpx.HTTPError, match="refused"):
        begun(Refusing(), "j-1")


@pytest.mark.parametrize("earlier", ["PENDING", "RUNNING", "SUCCEEDED"])
def test_a_later_try_takes_over_a_job_that_lives_or_was_done_unseen(earlier: str) -> None:
    server = Server(jobs={"j-1": JobState(status=earlier)})
    assert begun(server, "j-3", "j-2", "j-1") == ("j-1", True)
    assert server.started == []


@pytest.mark.parametrize("earlier", ["FAILED", "STOPPED"])
def test_a_later_try_starts_anew_where_the_earlier_job_was_not_done(earlier: str) -> None:
    server = Server(jobs={"j-1": JobState(status=earlier)})
    assert begun(server, "j-2", "j-1") == ("j-2", False)


def test_the_jobs_of_cleared_tries_are_stopped_and_waited_for() -> None:
    class Slow(Server):
        async def stop(self, name: str) -> None:
            self.started.append(f"stop {name}")
            self.looks = [JobState(status="RUNNING"), JobState(status="RUNNING")]
            self.jobs[name] = JobState(status="STOPPED")

    server = Slow(jobs={"j-2": JobState(status="RUNNING"), "j-1": JobState(status="FAILED")})
    asyncio.run(stop_all(server, ["j-3", "j-2", "j-1"], 0.001))
    assert server.started == ["stop j-2"]
    assert server.looks == []


def test_the_log_is_said_line_by_line_and_kept_whole() -> None:
    waits = JobState(status="PENDING", message="no room yet")
    running = JobState(status="RUNNING")
    server = Server(looks=[waits, waits, running, DONE], logs=["a\nb", "a\nbc\n", "a\nbc\n", "a\nbc\nlast"])
    said: list[str] = []
    ending = asyncio.run(follow(server, "j", OFTEN, said.append))
    assert said == ["no room yet", "a", "bc", "last"]
    assert ending.log == "a\nbc\nlast"
    assert ending.state == DONE


@pytest.mark.parametrize(
    ("waited_s", "pause_s"), [(0.0, 1.0), (10.0, 1.0), (40.0, 4.0), (300.0, 30.0), (9000.0, 30.0)]
)
def test_the_first_looks_come_soon(waited_s: float, pause_s: float) -> None:
    assert Watch(poll_s=30.0).pause_s(waited_s) == pause_s
    assert Watch(poll_s=0.5).pause_s(waited_s) == 0.5


def test_a_server_that_comes_back_is_waited_for() -> None:
    away = httpx.ConnectError("away")
    server = Server(looks=[away, JobState(status="RUNNING"), away, away, DONE], logs=["x\n"])
    assert asyncio.run(follow(server, "j", OFTEN, lambda line: None)).state == DONE


def test_a_server_that_stays_away_is_given_up_with_what_was_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_job, "UNREACHABLE_S", 0.05)
    away: list[JobState | Exception] = [httpx.ConnectError("away")] * 1000
    server = Server(looks=[JobState(status="RUNNING"), *away], logs=["x\n"])
    ending = asyncio.run(follow(server, "j", OFTEN, lambda line: None))
    assert (ending.state.status, ending.log) == ("UNREACHABLE", "x\n")


def test_the_time_of_a_task_ends() -> None:
    server = Server(looks=[JobState(status="RUNNING")], logs=["x\n"])
    ending = asyncio.run(follow(server, "j", Watch(poll_s=0.001, until=1.0), lambda line: None))
    assert ending.state.status == "LATE"


def test_a_head_that_lost_the_log_takes_nothing_from_what_was_heard() -> None:
    assert asyncio.run(whole_log(Server(logs=[""]), "j", "heard\n")) == "heard\n"
    assert asyncio.run(whole_log(Server(logs=["all of it\n"]), "j", "it\n")) == "all of it\n"
