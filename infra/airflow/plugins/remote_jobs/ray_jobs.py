"""Jobs of a Ray cluster, by its REST interface (Ray 2.60, `/api/jobs/`) with a bearer token.

All calls raise `httpx.HTTPError` where the server does not answer or refuses. Nothing here imports Airflow.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from remote_jobs.job_end import UNKNOWN, JobState
from remote_jobs.job_server import ServerJobs, checked


class RayJobs(ServerJobs):
    """The jobs of one cluster."""

    async def look(self, name: str) -> JobState:
        """How the job is; UNKNOWN where there is none of this name."""
        answer = await self._client.get(f"/api/jobs/{name}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return JobState(status=UNKNOWN)
        found = checked(answer).json()
        return JobState(
            status=found["status"],
            exit_code=found.get("driver_exit_code"),
            message=found.get("message") or "",
        )

    async def start(self, name: str, command: Sequence[str], settings: Mapping[str, Any]) -> None:
        """Start a job. `settings`: `runtime_env`, `metadata`, `entrypoint_num_cpus` and the like."""
        wanted = {**settings, "submission_id": name, "entrypoint": shlex.join(command)}
        checked(await self._client.post("/api/jobs/", json=wanted))

    async def stop(self, name: str) -> None:
        """Ask the job to stop: SIGTERM, and SIGKILL when its patience (RAY_JOB_STOP_WAIT_TIME_S) is over."""
        answer = await self._client.post(f"/api/jobs/{name}/stop")
        if answer.status_code != httpx.codes.NOT_FOUND:
            checked(answer)

    async def log(self, name: str) -> str:
        """All that the driver has printed so far."""
        answer = await self._client.get(f"/api/jobs/{name}/logs")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return ""
        return str(checked(answer).json().get("logs") or "")
