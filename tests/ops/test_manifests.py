"""What infra/kubernetes sends to a cluster: schemas, rules, and what its parts promise each other."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest
from kuberay_rules import broken_rules
from manifests import KUBERNETES, ROOT, Document, groups, load_script, one, pods, rendered, schema_errors

from pipeline.run.pods.keep_logs import SESSION
from pipeline.run.pods.keep_logs import parser as keep_logs_parser
from pipeline.run.stop_signals import RAY_WAIT, SUBMITTED, grace_of

pytestmark = pytest.mark.ops

segment_region = load_script("jobs/segment_region.py")

OVERLAYS = ("overlays/dev", "overlays/gpu-spot")
EVERYTHING = (*OVERLAYS, "site")
VERSION = "1.35"
"""Of Kubernetes, for the schemas of its own kinds."""

VALUES = {
    "TERRAQUERY_MODELS": "s3://bucket/models",
    "TERRAQUERY_RUNS": "s3://bucket/runs",
    "CLUSTER": "night-x7k2",
    "POD": "night-x7k2-head",
}
"""What a container's environment says."""

ray_kinds = pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
overlays = pytest.mark.parametrize("overlay", OVERLAYS)


def of_ray(overlay: str, kind: str) -> Document:
    return one(overlay, kind, {"RayCluster": "terraquery", "RayJob": "segment"}[kind])


def containers(pod: Document) -> Iterator[Document]:
    yield from pod["spec"].get("initContainers", [])
    yield from pod["spec"]["containers"]


def told(text: str) -> str:
    """A text of a manifest with its variables put in, as a shell or the kubelet does."""
    for name, value in VALUES.items():
        text = text.replace(f"$({name})", value).replace(f"${name}", value)
    assert "$" not in text
    return text


def seconds_of(hook: Document) -> float:
    """The longest that a preStop hook of ours takes, without its copy of the logs."""
    command = hook["exec"]["command"][-1]
    return sum(float(wait) for wait in re.findall(r"--(?:wait|grace-period) (\d+)", command))


# ---- schemas and rules


@overlays
@ray_kinds
def test_a_cluster_would_take_it(overlay: str, kind: str) -> None:
    document = of_ray(overlay, kind)
    assert schema_errors(document) == []
    assert broken_rules(document) == []


def test_the_schema_refuses_what_it_does_not_know() -> None:
    document = of_ray("overlays/dev", "RayCluster")
    document["spec"]["workerGroupSpecs"][0]["maxReplica"] = 1
    document["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = "x"
    unknown, wrong = sorted(schema_errors(document), key=lambda error: "maxReplica" not in error)
    assert "'maxReplica' was unexpected" in unknown
    assert "'x' is not of type 'integer'" in wrong


@pytest.mark.parametrize("folder", EVERYTHING)
def test_kubernetes_knows_every_field(folder: str) -> None:
    plain = [document for document in rendered(folder) if document["apiVersion"] != "ray.io/v1"]
    templates = [
        pod for document in rendered(folder) if document["kind"] == "RayCluster" for _, pod in pods(document)
    ]
    assert plain or templates
    for document in (*plain, *templates):
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_an_unknown_field_of_a_pod_is_found() -> None:
    _, pod = next(pods(of_ray("overlays/dev", "RayCluster")))
    pod["spec"]["terminationGracePeriod"] = 5
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, VERSION, strict=True)


@overlays
def test_the_job_makes_the_very_cluster(overlay: str) -> None:
    assert of_ray(overlay, "RayJob")["spec"]["rayClusterSpec"] == of_ray(overlay, "RayCluster")["spec"]


@overlays
def test_one_part_can_be_applied_alone(overlay: str) -> None:
    parts = {document["kind"]: document["metadata"]["labels"] for document in rendered(overlay)}
    assert parts == {
        "RayCluster": {"terraquery.dev/part": "cluster"},
        "RayJob": {"terraquery.dev/part": "job"},
    }


# ---- the job in the cluster


@overlays
def test_the_entrypoint_is_a_command_of_ours(overlay: str) -> None:
    python, script, *words = shlex.split(told(of_ray(overlay, "RayJob")["spec"]["entrypoint"]))
    assert (python, script) == ("python", "/opt/terraquery/jobs/segment_region.py")
    args = segment_region.parser().parse_args(words)
    assert args.out.startswith("s3://bucket/runs/")
    assert args.runner == "ray"


@overlays
def test_the_workers_have_room_for_the_pools_from_the_start(overlay: str) -> None:
    """A run refuses a cluster that is too small, and asks but once. The head has no CPU to give."""
    job = of_ray(overlay, "RayJob")["spec"]
    words = shlex.split(told(job["entrypoint"]))
    preset = segment_region.parser().parse_args(words[2:]).preset
    asked = tomllib.loads((ROOT / f"pipeline/presets/{preset}.toml").read_text())["resources"]
    pools = [asked[name] for name in ("reader", "prompter", "segmenter")]
    have = {"cpus": 0.0, "gpus": 0.0}
    for name, group in groups(job["rayClusterSpec"]).items():
        parameters = group["rayStartParams"]
        if name == "head":
            assert parameters["num-cpus"] == "0"
            continue
        assert group["minReplicas"] == group["replicas"]
        have["cpus"] += group["replicas"] * float(parameters["num-cpus"])
        have["gpus"] += group["replicas"] * float(parameters.get("num-gpus", 0))
    count = {each["actors"]: 1 if each["actors"] == "auto" else each["actors"] for each in pools}
    need = {kind: sum(count[pool["actors"]] * pool.get(kind, 0.0) for pool in pools) for kind in have}
    need["cpus"] += asked.get("plan_cpus", 0.1)
    assert all(need[kind] <= have[kind] + 1e-9 for kind in have), (need, have)
    assert (need["gpus"] > 0) == (have["gpus"] > 0), "nobody pays for GPUs that the preset does not use"


@overlays
def test_ray_offers_what_the_pod_has(overlay: str) -> None:
    for name, group in groups(of_ray(overlay, "RayCluster")["spec"]).items():
        if name == "head":
            continue
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert group["rayStartParams"]["num-cpus"] == limits["cpu"]
        assert group["rayStartParams"].get("num-gpus") == limits.get("nvidia.com/gpu")


@overlays
def test_ray_of_the_cluster_is_ray_of_the_package(overlay: str) -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"][0]
    assert of_ray(overlay, "RayCluster")["spec"]["rayVersion"] == wanted.partition("==")[2]


# ---- how pods end


@overlays
def test_a_stopped_job_has_the_time_that_it_takes(overlay: str) -> None:
    head = groups(of_ray(overlay, "RayCluster")["spec"])["head"]["template"]["spec"]
    container = head["containers"][0]
    wait = next(each["value"] for each in container["env"] if each["name"] == RAY_WAIT)
    grace = grace_of({SUBMITTED: "{}", RAY_WAIT: wait})
    assert grace.finish_s >= 20, "a block at hand is finished as it is elsewhere"
    assert grace.finish_s + grace.close_s + grace.last_s <= float(wait)
    hook = container["lifecycle"]["preStop"]
    waited = re.search(r"stop_jobs --wait (\d+)", hook["exec"]["command"][-1])
    assert waited is not None
    assert float(wait) < float(waited[1])


@overlays
def test_a_pod_copies_its_logs_within_its_grace_period(overlay: str) -> None:
    for name, pod in pods(of_ray(overlay, "RayCluster")):
        hook = pod["spec"]["containers"][0]["lifecycle"]["preStop"]
        assert seconds_of(hook) + 30 <= pod["spec"]["terminationGracePeriodSeconds"], name
        assert pod["spec"]["terminationGracePeriodSeconds"] <= (120 if name != "head" else 600)
        assert "ray stop" in hook["exec"]["command"][-1]


@overlays
def test_logs_go_to_one_place_in_the_bucket(overlay: str) -> None:
    for name, pod in pods(of_ray(overlay, "RayCluster")):
        (sidecar,) = [each for each in pod["spec"]["initContainers"] if each["name"] == "logs"]
        assert sidecar["restartPolicy"] == "Always", "a sidecar"
        told_of = keep_logs_parser().parse_args([told(word) for word in sidecar["args"]])
        last = pod["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
        once = told(last).rpartition("pipeline.run.pods.keep_logs ")[2]
        assert keep_logs_parser().parse_args(shlex.split(once)).to == told_of.to
        assert told_of.to == "s3://bucket/runs/_clusters/night-x7k2/night-x7k2-head"
        assert bool(told_of.events_of) == (name == "head"), "workers have no token of the API server"
        for container in (sidecar, pod["spec"]["containers"][0]):
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert SESSION.is_relative_to(mounts["ray-logs"])
            assert {"CLUSTER", "POD"} <= {variable["name"] for variable in container["env"]}
            assert container["envFrom"] == [{"configMapRef": {"name": "site"}}]


@overlays
def test_a_job_waits_and_works_for_a_limited_time(overlay: str) -> None:
    job = of_ray(overlay, "RayJob")["spec"]
    assert 0 < job["preRunningDeadlineSeconds"] < job["activeDeadlineSeconds"] <= 12 * 3600
    assert job["shutdownAfterJobFinishes"] is True


@pytest.mark.parametrize(("name", "more"), [("gpu", []), ("head", ["--largest-mb=1000"])])
def test_weights_are_where_the_image_looks_for_them(name: str, more: list[str]) -> None:
    """The head's driver checks settings and pins commits; the weights of a language model are for GPUs."""
    spec = groups(of_ray("overlays/gpu-spot", "RayCluster")["spec"])[name]["template"]["spec"]
    (fetching,) = [each for each in spec["initContainers"] if each["name"] == "models"]
    assert [told(word) for word in fetching["args"]] == [
        "--from=s3://bucket/models/hub",
        "--to=/opt/terraquery/hub",
        *more,
    ]
    assert "HF_HUB_CACHE=/opt/terraquery/hub" in (ROOT / "infra/docker/Dockerfile").read_text()
    for container in (fetching, spec["containers"][0]):
        assert container["image"] == spec["containers"][0]["image"]
        assert {"name": "models", "mountPath": "/opt/terraquery/hub"}.items() <= {
            **next(mount for mount in container["volumeMounts"] if mount["name"] == "models")
        }.items()


# ---- what pods may do


@overlays
def test_pods_keep_to_the_restricted_profile(overlay: str) -> None:
    """The namespace refuses others (Pod Security Standards, restricted)."""
    spec = of_ray(overlay, "RayCluster")["spec"]
    locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert spec["autoscalerOptions"]["securityContext"] == locked
    for _, pod in pods(of_ray(overlay, "RayCluster")):
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {key for volume in pod["spec"]["volumes"] for key in volume} == {"name", "emptyDir"}
        for container in containers(pod):
            assert container["securityContext"] == locked
            assert set(container["resources"]) == {"requests", "limits"}


@overlays
def test_every_pod_has_shared_memory_within_its_own(overlay: str) -> None:
    for name, pod in pods(of_ray(overlay, "RayCluster")):
        container = pod["spec"]["containers"][0]
        (volume,) = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
        (size,) = [each["emptyDir"]["sizeLimit"] for each in pod["spec"]["volumes"] if each["name"] == volume]
        memory = container["resources"]["limits"]["memory"]
        assert int(size.removesuffix("Gi")) <= 0.35 * int(memory.removesuffix("Gi")), name


@overlays
def test_pods_go_to_their_pools(overlay: str) -> None:
    for name, pod in pods(of_ray(overlay, "RayCluster")):
        assert pod["spec"]["nodeSelector"] == {"terraquery.dev/pool": name}
        account = "ray-head" if name == "head" else "ray-worker"
        assert pod["spec"]["serviceAccountName"] == account
        tolerated = [taint["key"] for taint in pod["spec"].get("tolerations", [])]
        assert tolerated == (["nvidia.com/gpu"] if name == "gpu" else [])


def test_the_scheduler_may_do_three_things() -> None:
    role = one("site", "Role", "scheduler")
    assert role["rules"] == [
        {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get", "delete"]}
    ]


def test_nobody_has_rights_beyond_the_namespace() -> None:
    documents = rendered("site")
    assert not [each for each in documents if each["kind"] in ("ClusterRole", "ClusterRoleBinding")]
    granted = {
        (subject["kind"], subject["name"]): each["roleRef"]["name"]
        for each in documents
        if each["kind"] == "RoleBinding"
        for subject in each["subjects"]
    }
    assert granted == {
        ("ServiceAccount", "ray-head"): "read-events",
        ("ServiceAccount", "scheduler"): "scheduler",
        ("Group", "terraquery:schedulers"): "scheduler",
    }
    tokens = {
        each["metadata"]["name"]: each["automountServiceAccountToken"]
        for each in documents
        if each["kind"] == "ServiceAccount"
    }
    assert tokens == {"ray-head": True, "ray-worker": False, "scheduler": False}


# ---- whom pods may talk to


def policies(folder: str = "site") -> dict[str, Document]:
    return {
        each["metadata"]["name"]: each["spec"] for each in rendered(folder) if each["kind"] == "NetworkPolicy"
    }


def test_everything_is_closed_first() -> None:
    closed = policies()["closed"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_every_door_names_who_and_which_port() -> None:
    """But among Ray's nodes, which use many ports."""
    for name, policy in policies().items():
        for direction, side in (("ingress", "from"), ("egress", "to")):
            for rule in policy.get(direction, []):
                assert rule.get(side), f"{name} opens {direction} to everybody"
                assert rule.get("ports") or name == "ray", name
                for peer in rule[side]:
                    assert peer != {"namespaceSelector": {}}
                    block = peer.get("ipBlock", {}).get("cidr", "")
                    assert block.partition("/")[2] not in ("0", "1", "2", "3", "4", "5", "6", "7"), name


def test_addresses_are_closed_until_somebody_names_them() -> None:
    blocks = {
        name: [peer["ipBlock"]["cidr"] for rule in policy["egress"] for peer in rule["to"]]
        for name, policy in policies().items()
        if any("ipBlock" in peer for rule in policy.get("egress", []) for peer in rule["to"])
    }
    assert blocks == {
        "api-server": ["192.0.2.0/24"],
        "identity": ["169.254.170.23/32"],
        "outside": ["192.0.2.0/24"],
    }


def test_host_names_can_stand_beside_the_addresses(tmp_path: Path) -> None:
    copied = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, copied)
    page = copied / "site/kustomization.yaml"
    page.write_text(page.read_text().replace("# components:", "components:"))
    (hosts,) = [each for each in rendered(str(copied / "site")) if each["kind"] == "CiliumNetworkPolicy"]
    named = [match for rule in hosts["spec"]["egress"] for match in rule.get("toFQDNs", [])]
    catalogues = {match["matchName"] for match in named if "matchName" in match}
    for overlay in OVERLAYS:
        entrypoint = of_ray(overlay, "RayJob")["spec"]["entrypoint"]
        (host,) = re.findall(r"stac:https://([^/]+)/", entrypoint)
        assert host in catalogues
