"""What KubeRay refuses although its schema allows it, as far as it can be seen in a manifest.

KubeRay's operator checks a RayCluster and a RayJob when it sees them, long after `kubectl apply` has
succeeded. These are its rules at one commit (ray-project/kuberay @feeaf72), in our words. `broken_rules`
returns a sentence for each that a manifest breaks.

Left out, because nothing here uses them: Redis and RocksDB for fault tolerance, TLS, the history server, and
KubeRay's own network policy. A manifest that has one of these is refused, so the gap cannot be missed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

MOST_CLUSTER_NAME = 53
MOST_JOB_NAME = 47

NOT_COVERED = ("gcsFaultToleranceOptions", "tlsOptions", "historyServerOptions", "networkPolicy")
RESOURCES = ("num-cpus", "num-gpus", "memory", "resources")
V2_VARIABLE = "RAY_enable_autoscaler_v2"
DELETION_ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")

Spec = Mapping[str, Any]


def broken_rules(manifest: Spec) -> list[str]:
    """The rules that a RayCluster or a RayJob breaks. Raises ValueError for another kind."""
    kind = manifest["kind"]
    if kind == "RayCluster":
        return [*_name(manifest, MOST_CLUSTER_NAME), *_cluster(manifest["spec"])]
    if kind == "RayJob":
        return [*_name(manifest, MOST_JOB_NAME), *_job(manifest["spec"])]
    raise ValueError(f"rules are known of RayCluster and RayJob, got {kind}")


def _name(manifest: Spec, most: int) -> Iterator[str]:
    name = manifest["metadata"]["name"]
    if len(name) > most:
        yield f"a name has at most {most} characters"
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name):
        yield "a name is a DNS-1035 label"


def _cluster(spec: Spec) -> Iterator[str]:
    for option in NOT_COVERED:
        if spec.get(option):
            yield f"the rules of {option} are not written down here"
    head = spec["headGroupSpec"]
    yield from _group("head", head)
    for group in spec.get("workerGroupSpecs", []):
        yield from _group(group["groupName"], group)
        yield from _worker_group(group, spec)
    yield from _autoscaler(spec)
    yield from _access(spec)


def _group(name: str, group: Spec) -> Iterator[str]:
    parameters = group.get("rayStartParams", {})
    if not containers(group):
        yield f"group {name} has a container"
    if group.get("resources") and any(parameters.get(one) for one in RESOURCES):
        yield f"resources of group {name} stand in rayStartParams or in resources, not in both"
    if "labels" in parameters:
        yield f"labels of group {name} stand in labels, not in rayStartParams"


def _worker_group(group: Spec, spec: Spec) -> Iterator[str]:
    name = group["groupName"]
    least, most = group.get("minReplicas"), group.get("maxReplicas")
    if not autoscales(spec) and (least is None or most is None):
        yield f"group {name} has minReplicas and maxReplicas where nothing scales it"
    if (least or 0) < 0 or (most or 0) < 0:
        yield f"replicas of group {name} are not negative"
    if least is not None and most is not None and least > most:
        yield f"minReplicas of group {name} are not above its maxReplicas"
    if group.get("suspend") and autoscales(spec):
        yield f"group {name} is not suspended where an autoscaler scales it"
    if group.get("idleTimeoutSeconds") is not None:
        if group["idleTimeoutSeconds"] < 0:
            yield f"the idle timeout of group {name} is not negative"
        if not _is_v2(spec):
            yield f"an idle timeout of group {name} needs autoscaler v2"
    if group.get("priority"):
        if _version(spec.get("rayVersion")) < (2, 56, 0):
            yield f"a priority of group {name} needs Ray 2.56.0"
        if not _is_v2(spec):
            yield f"a priority of group {name} needs autoscaler v2"


def _autoscaler(spec: Spec) -> Iterator[str]:
    options = spec.get("autoscalerOptions") or {}
    variable = _variables(spec["headGroupSpec"]).get(V2_VARIABLE)
    if not autoscales(spec) and variable in ("1", "true"):
        yield f"{V2_VARIABLE} needs enableInTreeAutoscaling"
    if autoscales(spec) and options.get("version") and variable is not None:
        yield f"autoscalerOptions.version or {V2_VARIABLE}, not both"
    if autoscales(spec) and options.get("version") == "v2":
        groups = [spec["headGroupSpec"], *spec.get("workerGroupSpecs", [])]
        if any(_restart(group) not in ("", "Never") for group in groups):
            yield "with autoscaler v2 the restartPolicy of pods is Never or unset"
    if (options.get("idleTimeoutSeconds") or 0) < 0:
        yield "the idle timeout is not negative"
    if any(one["name"] == "KUBERAY_GEN_AUTOSCALER_START_CMD" for one in options.get("env", [])):
        yield "KUBERAY_GEN_AUTOSCALER_START_CMD belongs to KubeRay"


def _access(spec: Spec) -> Iterator[str]:
    options = spec.get("authOptions") or {}
    by_kubernetes = options.get("enableK8sTokenAuth")
    if options.get("mode") == "token":
        if _version(spec.get("rayVersion")) < (2, 52, 0):
            yield "tokens need a rayVersion of at least 2.52.0"
        if by_kubernetes and _version(spec.get("rayVersion")) < (2, 55, 0):
            yield "tokens of Kubernetes need a rayVersion of at least 2.55.0"
        if by_kubernetes and options.get("secretName"):
            yield "tokens of Kubernetes have no secretName"
    elif by_kubernetes:
        yield "tokens of Kubernetes need the mode token"


def _job(spec: Spec) -> Iterator[str]:
    cluster = spec.get("rayClusterSpec")
    selector = spec.get("clusterSelector")
    mode = spec.get("submissionMode", "K8sJobMode")
    if not cluster and not selector:
        yield "a job has a rayClusterSpec or a clusterSelector"
    if selector:
        yield from _selected(spec, mode)
    if cluster:
        if (cluster.get("authOptions") or {}).get("enableK8sTokenAuth"):
            yield "a job does not take tokens of Kubernetes"
        yield from _cluster(cluster)
    if mode == "SidecarMode":
        if spec.get("submitterPodTemplate") or spec.get("submitterConfig"):
            yield "SidecarMode has no submitter to describe"
        if cluster and _restart(cluster["headGroupSpec"]) not in ("", "Never"):
            yield "in SidecarMode the restartPolicy of the head is Never or unset"
    yield from _numbers(spec, mode)
    yield from _deletion(spec)


def _selected(spec: Spec, mode: str) -> Iterator[str]:
    if not spec["clusterSelector"].get("ray.io/cluster"):
        yield "a clusterSelector names a cluster"
    if spec.get("suspend"):
        yield "a job on a cluster that is there is not suspended"
    if (spec.get("backoffLimit") or 0) > 0:
        yield "a job on a cluster that is there is not tried again"
    if mode == "SidecarMode":
        yield "a job on a cluster that is there has no sidecar"


def _numbers(spec: Spec, mode: str) -> Iterator[str]:
    for name in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(name) is not None and spec[name] <= 0:
            yield f"{name} is positive"
    for name in ("backoffLimit", "ttlSecondsAfterFinished"):
        if (spec.get(name) or 0) < 0:
            yield f"{name} is not negative"
    if mode == "InteractiveMode" and (spec.get("backoffLimit") or 0) > 0:
        yield "an interactive job is not tried again"
    if not spec.get("shutdownAfterJobFinishes"):
        if (spec.get("ttlSecondsAfterFinished") or 0) > 0:
            yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
        if spec.get("suspend"):
            yield "suspend needs shutdownAfterJobFinishes"


def _deletion(spec: Spec) -> Iterator[str]:
    strategy = spec.get("deletionStrategy")
    if strategy is None:
        return
    rules = strategy.get("deletionRules") or []
    both = [strategy.get(when) for when in ("onSuccess", "onFailure")]
    if rules and spec.get("shutdownAfterJobFinishes"):
        yield "deletionRules or shutdownAfterJobFinishes, not both"
    if rules and any(both):
        yield "deletionRules or onSuccess and onFailure, not both"
    if not rules and not all(both):
        yield "a deletionStrategy has both onSuccess and onFailure, or rules"
    policies = [one.get("policy", "") for one in (*rules, *both) if one]
    if "" in policies:
        yield "a deletion has a policy"
    if "DeleteWorkers" in policies and autoscales(spec.get("rayClusterSpec") or {}):
        yield "DeleteWorkers is refused where an autoscaler scales the cluster"
    if spec.get("clusterSelector") and {"DeleteWorkers", "DeleteCluster"} & set(policies):
        yield "a job does not delete a cluster that was there before it"
    if spec.get("shutdownAfterJobFinishes") and "DeleteNone" in policies:
        yield "DeleteNone contradicts shutdownAfterJobFinishes"
    yield from _deletion_rules(rules)


def _deletion_rules(rules: list[Spec]) -> Iterator[str]:
    waits: dict[tuple[str, str], dict[str, int]] = {}
    for rule in rules:
        condition = rule.get("condition", {})
        named = [one for one in ("jobStatus", "jobDeploymentStatus") if condition.get(one)]
        wait_s = condition.get("ttlSeconds", 0)
        if len(named) != 1:
            yield "a rule has one of jobStatus and jobDeploymentStatus"
            continue
        if wait_s < 0:
            yield "ttlSeconds is not negative"
        known = waits.setdefault((named[0], condition[named[0]]), {})
        policy = rule.get("policy", "")
        if policy in known:
            yield "no two rules are of one policy and status"
        known[policy] = wait_s
    for known in waits.values():
        in_order = [known[policy] for policy in DELETION_ORDER if policy in known]
        if any(later < earlier for earlier, later in pairwise(in_order)):
            yield "workers go before the cluster, and the cluster before the job"


def autoscales(spec: Spec) -> bool:
    """Whether an autoscaler runs in the head."""
    return bool(spec.get("enableInTreeAutoscaling"))


def containers(group: Spec) -> list[Spec]:
    """The containers of a group's pods; the first is Ray's."""
    found: list[Spec] = group["template"].get("spec", {}).get("containers", [])
    return found


def _variables(group: Spec) -> dict[str, str]:
    return {
        one["name"]: one.get("value", "") for first in containers(group)[:1] for one in first.get("env", [])
    }


def _restart(group: Spec) -> str:
    return str(group["template"].get("spec", {}).get("restartPolicy", ""))


def _is_v2(spec: Spec) -> bool:
    by_variable = _variables(spec["headGroupSpec"]).get(V2_VARIABLE) in ("1", "true")
    return by_variable or (spec.get("autoscalerOptions") or {}).get("version") == "v2"


def _version(text: object) -> tuple[int, ...]:
    """The numbers of a version; (0,) for what is none."""
    parts = re.fullmatch(r"v?(\d+)\.(\d+)(?:\.(\d+))?.*", str(text or ""))
    return tuple(int(one or 0) for one in parts.groups()) if parts else (0,)
