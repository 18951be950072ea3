"""Each rule of KubeRay refuses one small change of a manifest that is in order."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from kuberay_rules import broken_rules

pytestmark = pytest.mark.ops

Document = dict[str, Any]


def pod(**more: Any) -> Document:
    return {"spec": {"containers": [{"name": "ray", "image": "image"}], **more}}


def cluster() -> Document:
    workers = {
        "groupName": "cpu",
        "minReplicas": 1,
        "maxReplicas": 2,
        "rayStartParams": {},
        "template": pod(),
    }
    spec = {
        "rayVersion": "2.60.0",
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"version": "v2"},
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": pod()},
        "workerGroupSpecs": [workers],
    }
    return {"kind": "RayCluster", "metadata": {"name": "one"}, "spec": spec}


def job() -> Document:
    spec = {
        "submissionMode": "HTTPMode",
        "backoffLimit": 2,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 60,
        "rayClusterSpec": cluster()["spec"],
    }
    return {"kind": "RayJob", "metadata": {"name": "night"}, "spec": spec}


def changed(document: Document, path: str, value: Any) -> Document:
    """A copy with one value put, or removed (value ...); `path` has keys and positions, with dots."""
    new = copy.deepcopy(document)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    place: Any = new
    for key in parents:
        if isinstance(place, dict):
            place.setdefault(key, {})
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return new


def rule(**condition: Any) -> Document:
    return {"policy": "DeleteCluster", "condition": condition}


HEAD = "spec/headGroupSpec"
WORKERS = "spec/workerGroupSpecs/0"
JOB_CLUSTER = "spec/rayClusterSpec"
V2 = [{"name": "RAY_enable_autoscaler_v2", "value": "1"}]

OF_CLUSTERS = [
    ("metadata/name", "x" * 54, "at most 53 characters"),
    ("metadata/name", "1st", "DNS-1035"),
    (f"{HEAD}/template/spec/containers", [], "group head has a container"),
    (f"{WORKERS}/template/spec/containers", [], "group cpu has a container"),
    (f"{HEAD}/resources", {"CPU": "1"}, "in rayStartParams or in resources"),
    (f"{WORKERS}/rayStartParams/labels", "a=b", "stand in labels"),
    (f"{WORKERS}/minReplicas", -1, "not negative"),
    (f"{WORKERS}/minReplicas", 3, "not above its maxReplicas"),
    (f"{WORKERS}/suspend", True, "is not suspended"),
    (f"{WORKERS}/idleTimeoutSeconds", -1, "idle timeout of group cpu is not negative"),
    (f"{HEAD}/template/spec/containers/0/env", V2, "not both"),
    (f"{HEAD}/template/spec/restartPolicy", "Always", "restartPolicy of pods"),
    (f"{WORKERS}/template/spec/restartPolicy", "OnFailure", "restartPolicy of pods"),
    ("spec/autoscalerOptions/idleTimeoutSeconds", -1, "idle timeout is not negative"),
    ("spec/autoscalerOptions/env", [{"name": "KUBERAY_GEN_AUTOSCALER_START_CMD"}], "belongs to KubeRay"),
    ("spec/rayVersion", ..., "at least 2.52.0"),
    ("spec/rayVersion", "latest", "at least 2.52.0"),
    ("spec/rayVersion", "2.51.9", "at least 2.52.0"),
    ("spec/authOptions", {"enableK8sTokenAuth": True}, "need the mode token"),
    ("spec/networkPolicy", {"mode": "DenyAll"}, "not written down"),
]

OF_JOBS = [
    ("metadata/name", "x" * 48, "at most 47 characters"),
    (JOB_CLUSTER, ..., "a rayClusterSpec or a clusterSelector"),
    (f"{JOB_CLUSTER}/rayVersion", "2.1", "at least 2.52.0"),
    (f"{JOB_CLUSTER}/authOptions/enableK8sTokenAuth", True, "does not take tokens of Kubernetes"),
    ("spec/activeDeadlineSeconds", 0, "activeDeadlineSeconds is positive"),
    ("spec/preRunningDeadlineSeconds", 0, "preRunningDeadlineSeconds is positive"),
    ("spec/backoffLimit", -1, "backoffLimit is not negative"),
    ("spec/ttlSecondsAfterFinished", -1, "ttlSecondsAfterFinished is not negative"),
    ("spec/submissionMode", "InteractiveMode", "an interactive job is not tried again"),
    ("spec/shutdownAfterJobFinishes", False, "ttlSecondsAfterFinished needs"),
    ("spec/deletionStrategy", {}, "both onSuccess and onFailure, or rules"),
    ("spec/deletionStrategy", {"onSuccess": {"policy": "DeleteSelf"}}, "both onSuccess and onFailure"),
    ("spec/deletionStrategy", {"deletionRules": [rule(jobStatus="FAILED")]}, "or shutdownAfterJobFinishes"),
]


def one_change(cases: list[tuple[str, Any, str]]) -> Any:
    return pytest.mark.parametrize(("path", "value", "said"), cases, ids=lambda value: str(value)[:40])


def test_what_is_in_order_breaks_no_rule() -> None:
    assert broken_rules(cluster()) == []
    assert broken_rules(job()) == []


@one_change(OF_CLUSTERS)
def test_a_cluster_is_refused(path: str, value: Any, said: str) -> None:
    (found,) = broken_rules(changed(cluster(), path, value))
    assert said in found


@one_change(OF_JOBS)
def test_a_job_is_refused(path: str, value: Any, said: str) -> None:
    (found,) = broken_rules(changed(job(), path, value))
    assert said in found


def without_autoscaler(document: Document) -> Document:
    return changed(changed(document, "spec/enableInTreeAutoscaling", False), "spec/autoscalerOptions", ...)


def of_kubernetes(document: Document) -> Document:
    return changed(document, "spec/authOptions/enableK8sTokenAuth", True)


def in_a_selected_cluster(document: Document) -> Document:
    selected = changed(document, "spec/clusterSelector", {"ray.io/cluster": "one"})
    return changed(changed(selected, JOB_CLUSTER, ...), "spec/backoffLimit", 0)


def with_rules(*rules: Document) -> Callable[[Document], Document]:
    def change(document: Document) -> Document:
        plain = changed(
            changed(document, "spec/shutdownAfterJobFinishes", False), "spec/ttlSecondsAfterFinished", 0
        )
        return changed(plain, "spec/deletionStrategy", {"deletionRules": list(rules)})

    return change


def in_a_sidecar(document: Document) -> Document:
    return changed(document, "spec/submissionMode", "SidecarMode")


DELETE_WORKERS = {"policy": "DeleteWorkers", "condition": {"jobStatus": "FAILED", "ttlSeconds": 600}}

OF_TWO_CHANGES = [
    (without_autoscaler, cluster, f"{WORKERS}/maxReplicas", ..., "where nothing scales it"),
    (without_autoscaler, cluster, f"{WORKERS}/idleTimeoutSeconds", 5, "needs autoscaler v2"),
    (without_autoscaler, cluster, f"{WORKERS}/priority", 5, "needs autoscaler v2"),
    (
        without_autoscaler,
        cluster,
        f"{HEAD}/template/spec/containers/0/env",
        V2,
        "needs enableInTreeAutoscaling",
    ),
    (of_kubernetes, cluster, "spec/rayVersion", "2.54.0", "at least 2.55.0"),
    (of_kubernetes, cluster, "spec/authOptions/secretName", "token", "no secretName"),
    (in_a_selected_cluster, job, "spec/clusterSelector", {"name": "one"}, "names a cluster"),
    (in_a_selected_cluster, job, "spec/suspend", True, "is not suspended"),
    (in_a_selected_cluster, job, "spec/backoffLimit", 1, "is not tried again"),
    (in_a_selected_cluster, job, "spec/submissionMode", "SidecarMode", "has no sidecar"),
    (in_a_sidecar, job, "spec/submitterConfig", {"backoffLimit": 1}, "no submitter to describe"),
    (with_rules(rule(jobStatus="FAILED")), job, "spec/suspend", True, "suspend needs"),
    (with_rules(), job, "spec/deletionStrategy/deletionRules", [DELETE_WORKERS], "DeleteWorkers is refused"),
    (with_rules(), job, "spec/deletionStrategy/deletionRules", [rule()], "one of jobStatus and"),
    (
        with_rules(),
        job,
        "spec/deletionStrategy/deletionRules",
        [rule(jobStatus="FAILED")] * 2,
        "no two rules",
    ),
    (
        with_rules(),
        job,
        "spec/deletionStrategy/deletionRules",
        [rule(jobStatus="A", ttlSeconds=-1)],
        "ttlSeconds",
    ),
    (
        with_rules(rule(jobStatus="FAILED", ttlSeconds=9)),
        job,
        "spec/deletionStrategy/deletionRules/0/policy",
        ...,
        "has a policy",
    ),
]


@pytest.mark.parametrize(("first", "document", "path", "value", "said"), OF_TWO_CHANGES)
def test_what_is_refused_together(
    first: Callable[[Document], Document], document: Callable[[], Document], path: str, value: Any, said: str
) -> None:
    found = broken_rules(changed(first(document()), path, value))
    assert any(said in one for one in found), found


def test_workers_are_not_deleted_after_their_cluster() -> None:
    late = rule(jobStatus="FAILED", ttlSeconds=1) | {"policy": "DeleteSelf"}
    rules = with_rules(rule(jobStatus="FAILED", ttlSeconds=9), late)
    assert broken_rules(rules(job())) == ["workers go before the cluster, and the cluster before the job"]


def test_a_selected_cluster_is_not_deleted() -> None:
    chosen = with_rules(rule(jobStatus="FAILED"))(in_a_selected_cluster(job()))
    assert broken_rules(chosen) == ["a job does not delete a cluster that was there before it"]
    both = {"onSuccess": {"policy": "DeleteNone"}, "onFailure": {"policy": "DeleteSelf"}}
    assert broken_rules(changed(job(), "spec/deletionStrategy", both)) == [
        "DeleteNone contradicts shutdownAfterJobFinishes"
    ]


def test_the_head_of_a_sidecar_job_is_not_restarted() -> None:
    plain = changed(job(), JOB_CLUSTER, without_autoscaler(cluster())["spec"])
    restarted = changed(
        in_a_sidecar(plain), f"{JOB_CLUSTER}/headGroupSpec/template/spec/restartPolicy", "Always"
    )
    assert broken_rules(restarted) == ["in SidecarMode the restartPolicy of the head is Never or unset"]


def test_rules_and_policies_exclude_each_other() -> None:
    both = with_rules(rule(jobStatus="FAILED"))(job())
    mixed = changed(both, "spec/deletionStrategy/onFailure", {"policy": "DeleteSelf"})
    assert broken_rules(mixed) == ["deletionRules or onSuccess and onFailure, not both"]


def test_another_kind_has_no_rules() -> None:
    with pytest.raises(ValueError, match="got Pod"):
        broken_rules({"kind": "Pod", "metadata": {"name": "x"}, "spec": {}})
