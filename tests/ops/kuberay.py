"""What KubeRay does with the RayJobs of `kube_api`, in a thread. Its clusters are one Ray head that is there.

The steps are those of KubeRay's rayjob_controller.go (ray-project/kuberay @feeaf72) in HTTPMode: New ->
Initializing -> Running -> Complete or Failed, with Ray's status and message copied; a resource that is being
deleted has its job stopped, and then its finalizer taken off.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kube_api import FINALIZER, KubeApi
from kuberay_rules import broken_rules
from manifests import Document
from ray_heads import Head, token_file

LOOK_S = 0.3
TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")


@contextmanager
def kuberay(api: KubeApi, head: Head) -> Iterator[None]:
    """Look after RayJobs until the end."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(LOOK_S):
            for name in list(api.resources):
                with api.turn:
                    if name in api.resources:
                        _reconcile(api, name, head)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _reconcile(api: KubeApi, name: str, head: Head) -> None:
    resource = api.resources[name]
    status: Document = resource.get("status", {})
    job = status.get("jobId", "")
    if resource["metadata"].get("deletionTimestamp"):
        if job and status.get("jobStatus") not in TERMINAL:
            _ask(head, "POST", f"/api/jobs/{job}/stop")
        api.finish_deletion(name)
        return
    stage = status.get("jobDeploymentStatus", "")
    if stage == "":
        broken = broken_rules(resource)
        if broken:
            refused = {"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed"}
            api.set_status(name, **refused, message="; ".join(broken))
            return
        resource["metadata"]["finalizers"] = [FINALIZER]
        api.set_status(
            name, jobDeploymentStatus="Initializing", jobId=f"{name}-x7k2p", rayClusterName=f"{name}-q9d4t"
        )
    elif stage == "Initializing":
        where = head.jobs.removeprefix("http://")
        api.set_status(name, jobDeploymentStatus="Running", dashboardURL=where)
    elif stage == "Running":
        _copy(api, name, head, resource, job)


def _copy(api: KubeApi, name: str, head: Head, resource: Document, job: str) -> None:
    found = _ask(head, "GET", f"/api/jobs/{job}")
    if found is None:
        wanted = {"submission_id": job, "entrypoint": resource["spec"]["entrypoint"]}
        _ask(head, "POST", "/api/jobs/", wanted)
        return
    now = found["status"]
    stage = "Running"
    if now in TERMINAL:
        stage = "Failed" if now == "FAILED" else "Complete"
    reason = {"reason": "AppFailed"} if stage == "Failed" else {}
    api.set_status(name, jobStatus=now, jobDeploymentStatus=stage, message=found["message"], **reason)


def _ask(head: Head, method: str, path: str, body: object = None) -> Any:
    """Ask Ray's job server. None: it does not know the job."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token_file().read_text()}", "Content-Type": "application/json"}
    asked = urllib.request.Request(head.jobs + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
