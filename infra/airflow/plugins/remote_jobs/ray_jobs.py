"""Jobs of a Ray cluster, by its REST interface (Ray 2.60, `/api/jobs/`) with a bearer token.

All calls raise `httpx.HTTPError` where the server does not answer or refuses. Nothing here imports Airflow.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from remote_jobs.job_end import UNKNOWN, JobState

ANSWER_S = 60.0
"""Seconds in which the server must answer. To start a job it makes an actor, which takes some."""

logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every request, among those of the job


@dataclass(frozen=True, kw_only=True)
class JobServer:
    """Where jobs are asked for. `ca_file`: who signed its certificate, None: those that the system trusts."""

    url: str
    token: str = ""
    ca_file: str | None = None

    def __repr__(self) -> str:
        return f"JobServer({self.url})"

    def client(self) -> httpx.AsyncClient:
        """A client that follows no redirection: the token is for this server."""
        import ssl

        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        verify = ssl.create_default_context(cafile=self.ca_file) if self.ca_file else True
        return httpx.AsyncClient(base_url=self.url, headers=headers, verify=verify, timeout=ANSWER_S)


class RayJobs:
    """The jobs of one cluster, open while it is used as a context."""

    def __init__(self, server: JobServer) -> None:
        self._client = server.client()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def look(self, name: str) -> JobState:
        """How the job is; UNKNOWN where there is none of this name."""
        answer = await self._client.get(f"/api/jobs/{name}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return JobState(status=UNKNOWN)
        found = _checked(answer).json()
        return JobState(
            status=found["status"],
            exit_code=found.get("driver_exit_code"),
            message=found.get("message") or "",
        )

    async def start(self, name: str, command: Sequence[str], settings: Mapping[str, Any]) -> None:
        """Start a job. `settings`: `runtime_env`, `metadata`, `entrypoint_num_cpus` and the like."""
        wanted = {**settings, "submission_id": name, "entrypoint": shlex.join(command)}
        _checked(await self._client.post("/api/jobs/", json=wanted))

    async def stop(self, name: str) -> None:
        """Ask the job to stop: SIGTERM, and SIGKILL when its patience (RAY_JOB_STOP_WAIT_TIME_S) is over."""
        answer = await self._client.post(f"/api/jobs/{name}/stop")
        if answer.status_code != httpx.codes.NOT_FOUND:
            _checked(answer)

    async def log(self, name: str) -> str:
        """All that the driver has printed so far."""
        answer = await self._client.get(f"/api/jobs/{name}/logs")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return ""
        return str(_checked(answer).json().get("logs") or "")


def _checked(answer: httpx.Response) -> httpx.Response:
    """The answer. Raises httpx.HTTPStatusError with what the server said."""
    if answer.is_success:
        return answer
    hint = ""
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        hint = ". The password of the Connection must be the token of the cluster"
    said = answer.text.strip()[-1000:]
    text = f"{answer.request.url} answered {answer.status_code}{hint}: {said}"
    raise httpx.HTTPStatusError(text, request=answer.request, response=answer)
