"""RayJobs of Kubernetes, by its API server with a bearer token. Each brings a Ray cluster, and takes it away.

1. `resource_of` makes the resource of one try from a manifest, and `start` creates it. KubeRay makes the
   cluster, and submits the job once its workers are there.
2. `look` reads the status. KubeRay copies Ray's own message into it, which names the driver's exit code.
3. `log` asks the cluster's dashboard, where it can be reached and is still there. Otherwise the last lines of
   a job that failed are in the message.
4. `stop` deletes the resource: KubeRay then sends the job SIGTERM before it takes the cluster away. A
   suspension would take the cluster away alone.

It needs `create`, `get` and `delete` of rayjobs and nothing else. So the status is asked for again and again:
a watch needs another right, and begins anew whenever the server has forgotten its place (410).

All calls raise `httpx.HTTPError` where the server does not answer or refuses. Nothing here imports Airflow.
"""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
import yaml

from remote_jobs.job_end import FAILED, PENDING, REFUSED, RUNNING, STOPPED, SUCCEEDED, UNKNOWN, JobState
from remote_jobs.job_server import JobServer, ServerJobs, checked
from remote_jobs.ray_jobs import RayJobs

_EXIT_CODE = re.compile(r"Job entrypoint command failed with exit code (-?\d+)")
"""How Ray 2.60 begins the message of a job whose driver has ended with another code than 0."""


def ray_job_in(manifest: str | Mapping[str, Any]) -> dict[str, Any]:
    """The RayJob of a manifest: a document, or YAML in which it is the only RayJob. Raises ValueError."""
    documents = list(yaml.safe_load_all(manifest)) if isinstance(manifest, str) else [manifest]
    found = [one for one in documents if isinstance(one, Mapping) and one.get("kind") == "RayJob"]
    if len(found) != 1:
        raise ValueError(f"a manifest must hold one document of kind RayJob, got {len(found)}")
    return copy.deepcopy(dict(found[0]))


def resource_of(manifest: Mapping[str, Any], name: str, command: Sequence[str]) -> dict[str, Any]:
    """Make the resource of one try. Without a command the manifest's entrypoint stays.

    `backoffLimit` is 0: tries are the task's, which knows what another try cannot mend. KubeRay does not.
    """
    spec = {**manifest["spec"], "backoffLimit": 0}
    if command:
        spec["entrypoint"] = shlex.join(command)
    metadata = {**(manifest.get("metadata") or {}), "name": name}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}


def state_of(resource: Mapping[str, Any]) -> JobState:
    """Read how a RayJob is."""
    if resource["metadata"].get("deletionTimestamp"):
        return JobState(status=STOPPED, message="the RayJob is being deleted")
    status: Mapping[str, Any] = resource.get("status") or {}
    stage, job = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    said = status.get("message", "")
    cluster = status.get("rayClusterName") or "no cluster yet"
    told = f"RayJob {stage or 'New'}, job {job or 'not submitted'}, {cluster}"
    if status.get("reason") or said:
        told += f". {': '.join(filter(None, (status.get('reason'), said)))}"
    if stage == "ValidationFailed":
        return JobState(status=REFUSED, message=told)
    if stage == "Failed":
        code = _EXIT_CODE.match(said)
        return JobState(status=FAILED, exit_code=int(code[1]) if code else None, message=told)
    if stage == "Complete" and job != STOPPED:
        return JobState(status=SUCCEEDED, exit_code=0, message=told)
    if stage == "Complete":
        return JobState(status=STOPPED, message=told)
    return JobState(status=RUNNING if stage == "Running" else PENDING, message=told)


class RayJobResources(ServerJobs):
    """The RayJobs of one namespace.

    dashboard: the token of their clusters, and where all of them have one address, that. None: logs are not
    asked for. Without an address each cluster's own is taken, which is known inside of Kubernetes alone.
    """

    def __init__(self, server: JobServer, *, namespace: str, dashboard: JobServer | None = None) -> None:
        super().__init__(server)
        self._path = f"/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
        self._dashboard = dashboard

    async def look(self, name: str) -> JobState:
        """How the job is; UNKNOWN where there is no resource of this name."""
        resource = await self._get(name)
        return JobState(status=UNKNOWN) if resource is None else state_of(resource)

    async def start(self, name: str, command: Sequence[str], settings: Mapping[str, Any]) -> None:
        """Create the resource. `settings`: the manifest. Fields that nobody knows are refused."""
        strictly = {"fieldValidation": "Strict"}
        resource = resource_of(settings, name, command)
        checked(await self._client.post(self._path, params=strictly, json=resource))

    async def stop(self, name: str) -> None:
        """Delete the resource."""
        answer = await self._client.delete(f"{self._path}/{name}")
        if answer.status_code != httpx.codes.NOT_FOUND:
            checked(answer)

    async def log(self, name: str) -> str:
        """What the driver has printed, as far as it can be had."""
        resource = await self._get(name)
        status = (resource or {}).get("status") or {}
        try:
            found = await self._log_of_ray(status)
        except httpx.HTTPError:  # the cluster is not there yet, or gone
            found = ""
        said = status.get("message", "") if status.get("jobDeploymentStatus") == "Failed" else ""
        return found or said.partition(" chars):\n")[2]

    async def _log_of_ray(self, status: Mapping[str, Any]) -> str:
        where, job = status.get("dashboardURL"), status.get("jobId")
        if self._dashboard is None or not where or not job:
            return ""
        server = replace(self._dashboard, url=self._dashboard.url or f"http://{where}")
        async with RayJobs(server) as jobs:
            return await jobs.log(job)

    async def _get(self, name: str) -> dict[str, Any] | None:
        answer = await self._client.get(f"{self._path}/{name}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        found: dict[str, Any] = checked(answer).json()
        return found
