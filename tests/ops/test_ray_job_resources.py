"""RayJobs of Kubernetes as jobs, by HTTP against a stand-in of the API server."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kube_api import FINALIZER, PATH, KubeApi, kube_api, small_ray_job
from kuberay_rules import broken_rules
from manifests import OWN_KUBECTL, one, schema_errors
from remote_jobs.follow_job import Ending, Watch, follow, start_or_find
from remote_jobs.job_end import SEGMENT_ENDS, JobState, judge
from remote_jobs.job_server import JobServer
from remote_jobs.ray_job_resources import RayJobResources, ray_job_in, resource_of, state_of

pytestmark = pytest.mark.ops

COMMAND = ["python", "a.py", "--query", "tanks; $(echo not a shell's)"]
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "j-x"}
THREE = (
    "Job entrypoint command failed with exit code 3, last available logs (truncated to 20,000 chars):\n"
    "7 of 9 tiles failed\n"
)


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api() as server:
        yield server


def at[Result](
    api: KubeApi,
    do: Callable[[RayJobResources], Awaitable[Result]],
    *,
    server: JobServer | None = None,
    dashboard: JobServer | None = None,
) -> Result:
    """Do something with the RayJobs."""
    server = server or JobServer(url=api.url, token=api.token)

    async def work() -> Result:
        async with RayJobResources(server, namespace="terraquery", dashboard=dashboard) as jobs:
            return await do(jobs)

    return asyncio.run(work())


def begun(api: KubeApi, *names: str) -> tuple[str, bool]:
    return at(api, lambda jobs: start_or_find(jobs, names, COMMAND, small_ray_job()))


def followed(api: KubeApi, name: str, steps: list[Callable[[], Any]]) -> tuple[Ending, list[str]]:
    """Wait for the end, and take a step whenever something is said."""
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if steps:
            steps.pop(0)()

    return at(api, lambda jobs: follow(jobs, name, Watch(poll_s=0.01), say)), said


def test_a_resource_is_created_once_whoever_is_quicker(api: KubeApi) -> None:
    assert begun(api, "j-1") == ("j-1", False)
    assert begun(api, "j-1") == ("j-1", True)
    api.failures = [404]  # another one creates it between our look and our request: 409
    assert begun(api, "j-1") == ("j-1", False)
    assert [method for method, _ in api.asked] == ["GET", "POST", "GET", "GET", "POST", "GET"]
    assert {path for _, path in api.asked} == {PATH, f"{PATH}/j-1"}


@pytest.mark.skipif(
    not OWN_KUBECTL.is_file() and shutil.which("kubectl") is None, reason="no kubectl: make test-ops makes it"
)
def test_the_manifest_of_the_nights_becomes_a_resource_that_kuberay_takes() -> None:
    manifest = one("overlays/gpu-spot", "RayJob", "segment")
    made = resource_of(manifest, "job-nightly-region-segment-0123456789ab-1", COMMAND)
    assert broken_rules(made) == []
    assert schema_errors(made) == []
    assert made["spec"]["entrypoint"] == "python a.py --query 'tanks; $(echo not a shell'\"'\"'s)'"
    assert made["spec"]["backoffLimit"] == 0, "tries are the task's"
    kept = {"entrypoint", "backoffLimit"}
    assert {name: value for name, value in made["spec"].items() if name not in kept} == {
        name: value for name, value in manifest["spec"].items() if name not in kept
    }
    assert resource_of(manifest, "j", ())["spec"]["entrypoint"] == manifest["spec"]["entrypoint"]


def test_the_only_rayjob_of_a_rendered_folder_is_taken() -> None:
    job = small_ray_job()
    text = yaml.safe_dump_all([{"kind": "RayCluster"}, job, None])
    assert ray_job_in(text) == job == ray_job_in(job)
    for wrong in ("", "kind: RayCluster", yaml.safe_dump_all([job, job])):
        with pytest.raises(ValueError, match="one document of kind RayJob"):
            ray_job_in(wrong)


@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [
        ({}, "PENDING", None),
        ({"jobDeploymentStatus": "Initializing"}, "PENDING", None),
        ({"jobDeploymentStatus": "Waiting"}, "PENDING", None),
        (RUNNING, "RUNNING", None),
        ({"jobDeploymentStatus": "Suspending", "jobStatus": "RUNNING"}, "PENDING", None),
        ({"jobDeploymentStatus": "Suspended"}, "PENDING", None),
        ({"jobDeploymentStatus": "Retrying", "jobStatus": "FAILED"}, "PENDING", None),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, "SUCCEEDED", 0),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, "STOPPED", None),
        (
            {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed", "message": THREE},
            "FAILED",
            3,
        ),
        (
            {"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING", "reason": "DeadlineExceeded"},
            "FAILED",
            None,
        ),
        ({"jobDeploymentStatus": "Failed", "reason": "PreRunningDeadlineExceeded"}, "FAILED", None),
        ({"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed"}, "REFUSED", None),
    ],
)
def test_what_kuberay_says_becomes_a_state(status: dict[str, str], expected: str, code: int | None) -> None:
    state = state_of({"metadata": {"name": "j"}, "status": status})
    assert (state.status, state.exit_code) == (expected, code)
    assert status.get("reason", "") in state.message


def test_a_job_is_followed_from_nothing_to_its_exit_code(api: KubeApi) -> None:
    begun(api, "j-1")
    steps = [
        lambda: api.set_status("j-1", jobDeploymentStatus="Initializing", rayClusterName="j-1-x"),
        lambda: api.set_status("j-1", jobDeploymentStatus="Suspended", rayClusterName=""),
        lambda: api.set_status("j-1", **RUNNING),
        lambda: api.set_status(
            "j-1", jobDeploymentStatus="Failed", jobStatus="FAILED", reason="AppFailed", message=THREE
        ),
    ]
    ending, said = followed(api, "j-1", steps)
    assert said == [
        "RayJob New, job not submitted, no cluster yet",
        "RayJob Initializing, job not submitted, j-1-x",
        "RayJob Suspended, job not submitted, no cluster yet",
        "RayJob Running, job RUNNING, j-x",
        "7 of 9 tiles failed",
    ]
    assert (ending.state.status, ending.state.exit_code) == ("FAILED", 3)
    verdict = judge("j-1", ending.state, ends=SEGMENT_ENDS, log=ending.log)
    assert verdict.outcome == "fail"
    assert "more tiles failed than --max-failed-share allows" in verdict.text


def test_what_passes_is_waited_for(api: KubeApi) -> None:
    begun(api, "j-1")
    api.set_status("j-1", **RUNNING)
    api.failures = [410, 500]
    done = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
    steps = [lambda: None, lambda: None, lambda: api.set_status("j-1", **done)]
    ending, said = followed(api, "j-1", steps)
    assert ending.state.status == "SUCCEEDED"
    assert "answered 410" in said[0]
    assert "Expired" in said[0]
    assert "answered 500" in said[1]


def test_a_resource_that_somebody_deletes_is_tried_again(api: KubeApi) -> None:
    begun(api, "j-1")
    ending, _ = followed(api, "j-1", [lambda: api.resources.clear()])
    assert ending.state == JobState(status="UNKNOWN")
    assert judge("j-1", ending.state, ends=SEGMENT_ENDS).outcome == "again"
    assert begun(api, "j-2", "j-1") == ("j-2", False)


def test_stopping_deletes_and_nobody_takes_over_what_is_going(api: KubeApi) -> None:
    begun(api, "j-1")
    api.resources["j-1"]["metadata"]["finalizers"] = [FINALIZER]
    api.set_status("j-1", **RUNNING)
    at(api, lambda jobs: jobs.stop("j-1"))
    assert at(api, lambda jobs: jobs.look("j-1")).status == "STOPPED"
    assert begun(api, "j-2", "j-1") == ("j-2", False)
    api.finish_deletion("j-1")
    at(api, lambda jobs: jobs.stop("j-1"))
    assert set(api.resources) == {"j-2"}


def test_an_earlier_try_that_lives_is_taken_over(api: KubeApi) -> None:
    begun(api, "j-1")
    api.set_status("j-1", **RUNNING)
    assert begun(api, "j-2", "j-1") == ("j-1", True)


def test_a_token_that_is_renewed_in_its_file_is_read_again(api: KubeApi, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("an old one\n")
    server = JobServer(url=api.url, token_file=str(file))

    async def look_twice(jobs: RayJobResources) -> JobState:
        with pytest.raises(httpx.HTTPStatusError, match=r"answered 401\. The Connection must hold a token"):
            await jobs.look("j-1")
        file.write_text(f"{api.token}\n")
        return await jobs.look("j-1")

    assert at(api, look_twice, server=server).status == "UNKNOWN"


@pytest.mark.parametrize(
    ("spoil", "code"), [({"entrypont": "x"}, 400), ({"activeDeadlineSeconds": "soon"}, 422)]
)
def test_a_manifest_with_a_mistake_is_refused_at_once(
    api: KubeApi, spoil: dict[str, object], code: int
) -> None:
    manifest = small_ray_job()
    manifest["spec"] |= spoil
    schema_errors(manifest)  # skips where the schemas are absent
    with pytest.raises(httpx.HTTPStatusError, match=next(iter(spoil))) as caught:
        at(api, lambda jobs: jobs.start("j-1", COMMAND, manifest))
    assert caught.value.response.status_code == code
    assert api.resources == {}


def test_the_log_is_that_of_the_message_where_no_dashboard_answers(api: KubeApi) -> None:
    begun(api, "j-1")
    assert at(api, lambda jobs: jobs.log("j-1")) == ""
    api.set_status("j-1", **RUNNING, dashboardURL="127.0.0.1:9", jobId="j-1-x", message="Job is running.")
    nobody = JobServer(url="", token="t")
    assert at(api, lambda jobs: jobs.log("j-1"), dashboard=nobody) == ""
    api.set_status("j-1", jobDeploymentStatus="Failed", message=THREE)
    assert at(api, lambda jobs: jobs.log("j-1"), dashboard=nobody) == "7 of 9 tiles failed\n"
    assert at(api, lambda jobs: jobs.log("j-2")) == ""
