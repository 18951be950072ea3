"""Operators for Airflow 3 that run a job elsewhere and wait for it without a worker.

1. `execute` starts the job, or finds the one that this try or an earlier one has started, and defers.
2. `JobTrigger` watches it, and writes new lines of its log to the triggerer's log of the task.
3. `resume` writes all of its log to the task's own log, which is kept, and ends the task by the exit code.

A task that is cancelled (marked as failed or succeeded, cleared) stops its job, also while it is deferred.

`RayJobOperator` asks a Ray cluster that is there. `RayJobResourceOperator` asks Kubernetes for a RayJob, that
brings a cluster of its own.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import Any

import httpx
from airflow.sdk import BaseHook, BaseOperator, Connection
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from remote_jobs.follow_job import Ending, RemoteJobs, Watch, follow, start_or_find, stop_all, whole_log
from remote_jobs.job_end import LATE, SEGMENT_ENDS, JobState, job_name, judge
from remote_jobs.job_server import JobServer
from remote_jobs.ray_job_resources import RayJobResources, ray_job_in
from remote_jobs.ray_jobs import RayJobs

_STOPPING: set[asyncio.Task[None]] = set()
"""Work that goes on when its trigger has ended; the event loop alone would forget it."""
_MALFORMED = (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY)


def server_of(connection: Connection) -> JobServer:
    """The server of a Connection: host (a URL, or a name with port and schema), password (the token), and in
    `extra` perhaps `ca_file`, and `token_file` instead of a password."""
    host = connection.host or ""
    if host and "://" not in host:
        host = f"{connection.schema or 'http'}://{host}"
    if host and connection.port:
        host = f"{host.rstrip('/')}:{connection.port}"
    extra = connection.extra_dejson
    return JobServer(
        url=host,
        token=connection.password or "",
        token_file=extra.get("token_file"),
        ca_file=extra.get("ca_file"),
    )


@dataclass(frozen=True, kw_only=True)
class JobPlace:
    """Where jobs are, with what it takes to get in.

    namespace: of RayJobs in Kubernetes; None: they are a Ray cluster's own. dashboard: as `RayJobResources`.
    """

    server: JobServer
    namespace: str | None = None
    dashboard: JobServer | None = None

    def jobs(self) -> AbstractAsyncContextManager[RemoteJobs]:
        """The jobs there, open while it is used as a context."""
        if self.namespace is None:
            return RayJobs(self.server)
        return RayJobResources(self.server, namespace=self.namespace, dashboard=self.dashboard)


class JobTrigger(BaseTrigger):
    """Watch a job from the triggerer. Its event holds the end of the job, and of its log.

    place: `namespace` and `ray_conn_id` of a RayJob; of a Ray cluster's own jobs nothing.
    """

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
        async with (await self._place()).jobs() as jobs:
            watch = Watch(poll_s=self.poll_s, until=self.until)
            ending = await follow(jobs, self.name, watch, self.log.info)
        yield TriggerEvent({"name": self.name, "log": ending.log, **asdict(ending.state)})

    async def on_kill(self) -> None:
        """Stop the job of a deferred task that a person has cancelled.

        Airflow 3.3 cancels this call itself about a second later, and again every second. So the work is done
        beside it.
        """
        stopping = asyncio.create_task(self._stop_unless_waited_for())
        _STOPPING.add(stopping)
        stopping.add_done_callback(_STOPPING.discard)
        await asyncio.shield(stopping)

    async def _stop_unless_waited_for(self) -> None:
        """Stop the job, unless its task is deferred: another triggerer took it over, because this one was
        silent for a while, and nobody has cancelled anything. Or a cleared task is so far already, and has
        stopped the job itself.
        """
        try:
            if await self._is_waited_for():
                self.log.info("Job %s goes on: another triggerer waits for it", self.name)
                return
            async with (await self._place()).jobs() as jobs:
                await jobs.stop(self.name)
            self.log.info("Job %s was told to stop", self.name)
        except Exception:  # nobody else would say it
            self.log.exception("Job %s could not be stopped", self.name)

    async def _is_waited_for(self) -> bool:
        task = self.task_instance
        if task is None:
            return False
        states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=task.dag_id, task_ids=[task.task_id], run_ids=[task.run_id], map_index=task.map_index
        )
        return "deferred" in states.get(task.run_id, {}).values()

    async def _place(self) -> JobPlace:
        server = server_of(await BaseHook.aget_connection(self.conn_id))
        ray = self.place.get("ray_conn_id")
        dashboard = server_of(await BaseHook.aget_connection(ray)) if ray else None
        return JobPlace(server=server, namespace=self.place.get("namespace"), dashboard=dashboard)


class RemoteJobOperator(BaseOperator):
    """What both operators share.

    command: words of the command; they reach it as they are, whatever they hold.
    conn_id: Connection of the server that is asked.
    ends: exit codes that another try cannot mend, with what they mean. By default those of segment_region.py.
    nothing_to_do: words with which the job says that there is nothing to do; the task is then skipped.
    poll_s: longest time between two looks at the job, in seconds. The first come sooner (`Watch.pause_s`).
    deferrable: False waits in the worker.

    `execution_timeout` counts from the start of a try, and includes the time in which the task is deferred.
    """

    def __init__(
        self,
        *,
        command: Sequence[str],
        conn_id: str,
        ends: Mapping[int, str] = SEGMENT_ENDS,
        nothing_to_do: str | None = None,
        poll_s: float = 30.0,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.command = command
        self.conn_id = conn_id
        self.ends = ends
        self.nothing_to_do = nothing_to_do
        self.poll_s = poll_s
        self.deferrable = deferrable
        self._job: tuple[JobPlace, str] | None = None

    @abstractmethod
    def told(self) -> dict[str, Any]:
        """What the server is told beside the command."""

    @abstractmethod
    def whereabouts(self) -> dict[str, str]:
        """What else than a server the jobs need to be found: the `place` of a trigger."""

    def execute(self, context: Any) -> str:
        """Start or find the job, and wait for its end. Returns its name."""
        place = self._place()
        try:
            names, cleared = self.names(context["ti"])
        except ValueError as error:
            raise AirflowFailException(str(error)) from error
        self._job = (place, names[0])  # known before it starts: it can be stopped from now on
        name, was_there = self._begin(place, names, cleared)
        self._job = (place, name)
        self.log.info("Job %s at %s: %s", name, place.server.url, "found again" if was_there else "started")
        until = (
            None if self.execution_timeout is None else time.time() + self.execution_timeout.total_seconds()
        )
        if self.deferrable:
            trigger = JobTrigger(
                conn_id=self.conn_id, place=self.whereabouts(), name=name, poll_s=self.poll_s, until=until
            )
            self.defer(trigger=trigger, method_name="resume")
        ending = _apart(self._wait(place, name, until))
        return self.conclude(place, name, ending)

    def resume(self, context: Any, event: dict[str, Any]) -> str:
        """Go on where the trigger has seen the job's end."""
        del context
        place = self._place()
        state = JobState(status=event["status"], exit_code=event["exit_code"], message=event["message"])
        log = _apart(self._whole_log(place, event["name"], event["log"]))
        self.log.info("All that job %s has printed:\n%s", event["name"], log)
        return self.conclude(place, event["name"], Ending(state=state, log=log))

    def conclude(self, place: JobPlace, name: str, ending: Ending) -> str:
        """End the task as the job has ended. Raises what Airflow understands."""
        if ending.state.status == LATE:
            _apart(self._stop(place, name))
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
            place, name = self._job
            self.log.info("Stopping job %s", name)
            _apart(self._stop(place, name))

    def names(self, instance: Any) -> tuple[list[str], list[str]]:
        """Names of the job of this try and of earlier ones, newest first, and of those before the task was
        cleared: a person wants it to begin anew.
        """
        parts = (instance.dag_id, instance.task_id, instance.run_id, str(instance.map_index))
        inputs = [list(self.command), self.told(), self.whereabouts()]
        names = [job_name(parts, inputs, number) for number in range(instance.try_number, 0, -1)]
        since = instance.try_number - max(0, instance.max_tries - self.retries)
        return names[: max(since, 1)], names[max(since, 1) :]

    def _place(self) -> JobPlace:
        found = self.whereabouts()
        ray = found.get("ray_conn_id")
        return JobPlace(
            server=server_of(BaseHook.get_connection(self.conn_id)),
            namespace=found.get("namespace"),
            dashboard=server_of(BaseHook.get_connection(ray)) if ray else None,
        )

    def _begin(self, place: JobPlace, names: list[str], cleared: list[str]) -> tuple[str, bool]:
        """Raises AirflowFailException where the server does not understand what it is told."""

        async def begin() -> tuple[str, bool]:
            async with place.jobs() as jobs:
                await stop_all(jobs, cleared, self.poll_s)
                return await start_or_find(jobs, names, self.command, self.told())

        try:
            return _apart(begin())
        except httpx.HTTPStatusError as error:
            if error.response.status_code in _MALFORMED:
                raise AirflowFailException(str(error)) from error
            raise

    async def _wait(self, place: JobPlace, name: str, until: float | None) -> Ending:
        async with place.jobs() as jobs:
            return await follow(jobs, name, Watch(poll_s=self.poll_s, until=until), self.log.info)

    async def _whole_log(self, place: JobPlace, name: str, known: str) -> str:
        async with place.jobs() as jobs:
            return await whole_log(jobs, name, known)

    async def _stop(self, place: JobPlace, name: str) -> None:
        async with place.jobs() as jobs:
            await jobs.stop(name)


class RayJobOperator(RemoteJobOperator):
    """Run a command on a Ray cluster as a job.

    conn_id: Connection of the cluster's job server: host, and the token as its password.
    settings: further fields of Ray's request, such as {"runtime_env": {"env_vars": {...}}}.
    """

    template_fields: Sequence[str] = ("command", "settings", "conn_id")

    def __init__(
        self,
        *,
        command: Sequence[str],
        conn_id: str = "ray_jobs",
        settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(command=command, conn_id=conn_id, **kwargs)
        self.settings = settings

    def told(self) -> dict[str, Any]:
        return dict(self.settings or {})

    def whereabouts(self) -> dict[str, str]:
        return {}


class RayJobResourceOperator(RemoteJobOperator):
    """Create a RayJob in Kubernetes, which brings a Ray cluster and takes it away, and wait for its job.

    manifest: the RayJob, as a document or as YAML that holds no other one, such as what `kubectl kustomize
        infra/kubernetes/overlays/gpu-spot` prints. Its name is replaced, and its `backoffLimit` is 0.
    command: instead of the manifest's entrypoint. Empty: that one.
    conn_id: Connection of the API server: host, and in its extra `ca_file` and `token_file`; or a password.
    ray_conn_id: Connection of which the password is the token of the job's cluster. With it the log is read
        while the job runs. Its host, if it has one, stands for the address that KubeRay names.
    """

    template_fields: Sequence[str] = ("command", "manifest", "namespace", "conn_id", "ray_conn_id")

    def __init__(
        self,
        *,
        manifest: str | Mapping[str, Any],
        command: Sequence[str] = (),
        namespace: str = "terraquery",
        conn_id: str = "kubernetes_api",
        ray_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(command=command, conn_id=conn_id, **kwargs)
        self.manifest = manifest
        self.namespace = namespace
        self.ray_conn_id = ray_conn_id

    def told(self) -> dict[str, Any]:
        return ray_job_in(self.manifest)

    def whereabouts(self) -> dict[str, str]:
        found = {"namespace": self.namespace}
        if self.ray_conn_id:
            found["ray_conn_id"] = self.ray_conn_id
        return found


def _apart[Result](work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work in a thread of its own: Airflow calls `on_kill` in the midst of another one's loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
