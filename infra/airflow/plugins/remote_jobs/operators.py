"""Operators for Airflow 3 that run a job elsewhere and wait for it without a worker.

1. `execute` starts the job, or finds the one that this try or an earlier one has started, and defers.
2. `JobTrigger` watches it, and writes new lines of its log to the triggerer's log of the task.
3. `resume` writes all of its log to the task's own log, which is kept, and ends the task by the exit code.

A task that is cancelled (marked as failed or succeeded, cleared) stops its job, also while it is deferred.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from typing import Any

from airflow.sdk import BaseHook, BaseOperator, Connection
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from remote_jobs.follow_job import Ending, RemoteJobs, Watch, follow, start_or_find, whole_log
from remote_jobs.job_end import LATE, SEGMENT_ENDS, JobState, job_name, judge
from remote_jobs.ray_jobs import JobServer, RayJobs


def server_of(connection: Connection) -> JobServer:
    """The server of a Connection: host (a URL, or a name with port and schema), password (the token), and
    perhaps `ca_file` in `extra`."""
    host = connection.host or ""
    if "://" not in host:
        host = f"{connection.schema or 'http'}://{host}"
    if connection.port:
        host = f"{host.rstrip('/')}:{connection.port}"
    extra = connection.extra_dejson
    return JobServer(url=host, token=connection.password or "", ca_file=extra.get("ca_file"))


def jobs_at(server: JobServer, place: Mapping[str, str]) -> AbstractAsyncContextManager[RemoteJobs]:
    """The jobs there. `place`: what else they need to be found; Ray's need nothing."""
    del place
    return RayJobs(server)


class JobTrigger(BaseTrigger):
    """Watch a job from the triggerer. Its event holds the end of the job, and of its log."""

    def __init__(
        self, *, conn_id: str, place: dict[str, str], name: str, poll_s: float, until: float | None
    ) -> None:
        super().__init__()
        self.conn_id = conn_id
        self.place = place
        self.name = name
        self.poll_s = poll_s
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        kept = {name: getattr(self, name) for name in ("conn_id", "place", "name", "poll_s", "until")}
        return f"{type(self).__module__}.{type(self).__qualname__}", kept

    async def run(self) -> AsyncIterator[TriggerEvent]:
        server = server_of(await BaseHook.aget_connection(self.conn_id))
        async with jobs_at(server, self.place) as jobs:
            watch = Watch(poll_s=self.poll_s, until=self.until)
            ending = await follow(jobs, self.name, watch, self.log.info)
        yield TriggerEvent({"name": self.name, "log": ending.log, **asdict(ending.state)})

    async def on_kill(self) -> None:
        """Stop the job of a deferred task that a person has cancelled."""
        server = server_of(await BaseHook.aget_connection(self.conn_id))
        async with jobs_at(server, self.place) as jobs:
            await jobs.stop(self.name)


class RayJobOperator(BaseOperator):
    """Run a command on a Ray cluster as a job.

    command: words of the command; they reach it as they are, whatever they hold.
    conn_id: Connection of the cluster's job server: host, and the token as its password.
    settings: further fields of Ray's request, such as {"runtime_env": {"env_vars": {...}}}.
    ends: exit codes that another try cannot mend, with what they mean. By default those of segment_region.py.
    nothing_to_do: words with which the job says that there is nothing to do; the task is then skipped.
    poll_s: longest time between two looks at the job, in seconds. The first come sooner (`Watch.pause_s`).
    deferrable: False waits in the worker.

    `execution_timeout` counts from the start of a try, and includes the time in which the task is deferred.
    """

    template_fields: Sequence[str] = ("command", "settings", "conn_id")

    def __init__(
        self,
        *,
        command: Sequence[str],
        conn_id: str = "ray_jobs",
        settings: Mapping[str, Any] | None = None,
        ends: Mapping[int, str] = SEGMENT_ENDS,
        nothing_to_do: str | None = None,
        poll_s: float = 30.0,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.command = command
        self.conn_id = conn_id
        self.settings = settings
        self.ends = ends
        self.nothing_to_do = nothing_to_do
        self.poll_s = poll_s
        self.deferrable = deferrable
        self._job: tuple[JobServer, str] | None = None

    def execute(self, context: Any) -> str:
        """Start or find the job, and wait for its end. Returns its name."""
        server = server_of(BaseHook.get_connection(self.conn_id))
        names = self.names(context["ti"])
        self._job = (server, names[0])  # known before it starts: it can be stopped from now on
        name, was_there = _apart(self._begin(server, names))
        self._job = (server, name)
        self.log.info("Job %s at %s: %s", name, server.url, "found again" if was_there else "started")
        until = (
            None if self.execution_timeout is None else time.time() + self.execution_timeout.total_seconds()
        )
        if self.deferrable:
            trigger = JobTrigger(
                conn_id=self.conn_id, place=self.place(), name=name, poll_s=self.poll_s, until=until
            )
            self.defer(trigger=trigger, method_name="resume")
        ending = _apart(self._wait(server, name, until))
        return self.conclude(server, name, ending)

    def resume(self, context: Any, event: dict[str, Any]) -> str:
        """Go on where the trigger has seen the job's end."""
        del context
        server = server_of(BaseHook.get_connection(self.conn_id))
        state = JobState(status=event["status"], exit_code=event["exit_code"], message=event["message"])
        known = Ending(state=state, log=event["log"])
        log = _apart(self._whole_log(server, event["name"], known.log))
        self.log.info("All that job %s has printed:\n%s", event["name"], log)
        return self.conclude(server, event["name"], Ending(state=state, log=log))

    def conclude(self, server: JobServer, name: str, ending: Ending) -> str:
        """End the task as the job has ended. Raises what Airflow understands."""
        if ending.state.status == LATE:
            _apart(self._stop(server, name))
        verdict = judge(name, ending.state, ends=self.ends, log=ending.log, nothing_to_do=self.nothing_to_do)
        if verdict.outcome == "skip":
            raise AirflowSkipException(verdict.text)
        if verdict.outcome == "fail":
            raise AirflowFailException(verdict.text)
        if verdict.outcome == "again":
            raise AirflowException(verdict.text)
        self.log.info(verdict.text)
        return name

    def on_kill(self) -> None:
        """Stop the job of a task that is cancelled in its worker."""
        if self._job is not None:
            server, name = self._job
            self.log.info("Stopping job %s", name)
            _apart(self._stop(server, name))

    def names(self, instance: Any) -> list[str]:
        """Names of the job of this try and of earlier ones, newest first."""
        parts = (instance.dag_id, instance.task_id, instance.run_id, str(instance.map_index))
        inputs = [list(self.command), dict(self.settings or {}), self.place()]
        return [job_name(parts, inputs, number) for number in range(instance.try_number, 0, -1)]

    def place(self) -> dict[str, str]:
        """What else than a server the jobs need to be found."""
        return {}

    async def _begin(self, server: JobServer, names: list[str]) -> tuple[str, bool]:
        async with jobs_at(server, self.place()) as jobs:
            return await start_or_find(jobs, names, self.command, self.settings or {})

    async def _wait(self, server: JobServer, name: str, until: float | None) -> Ending:
        async with jobs_at(server, self.place()) as jobs:
            return await follow(jobs, name, Watch(poll_s=self.poll_s, until=until), self.log.info)

    async def _whole_log(self, server: JobServer, name: str, known: str) -> str:
        async with jobs_at(server, self.place()) as jobs:
            return await whole_log(jobs, name, known)

    async def _stop(self, server: JobServer, name: str) -> None:
        async with jobs_at(server, self.place()) as jobs:
            await jobs.stop(name)


def _apart[Result](work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work in a thread of its own: Airflow calls `on_kill` in the midst of another one's loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
