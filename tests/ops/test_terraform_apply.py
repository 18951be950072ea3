"""The environment is planned, applied and destroyed against moto, and asked what it lets whom do.

moto has no policy simulator, so `policy_evaluation` decides the `role_requests` by the documents that IAM
holds after the apply. What moto's EKS and Budgets lack stands in `eks_calls` and `budget_calls`.
"""

from __future__ import annotations

import json
import re
import tomllib
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from aws_server import ACCOUNT, NOTED, AwsServer, serving_aws
from job_files import load_job
from label_worlds import blobs, write_label_world
from policy_evaluation import Ask, Document, is_allowed
from role_requests import (
    ALLOWED,
    BUCKET,
    CLUSTER,
    DENIED,
    NAME,
    OURS,
    READS,
    REGION,
    TIDIES,
    WRITES,
    with_key,
)
from terraform_runs import ROOT, SOURCE, Terraform, copied_terraform, terraform_in

pytestmark = [pytest.mark.ops, pytest.mark.timeout(900)]

OVERRIDE = """
terraform {
  backend "local" {}
}
provider "aws" {
  s3_use_path_style = true
}
"""
"""What is different on this machine: where the state lies, and how buckets are addressed."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """The applied environment: how to speak to it, what was planned, and what its roles may do."""

    terraform: Terraform
    aws: AwsServer
    plan: Mapping[str, Any]
    state: Mapping[str, Any]
    key: str


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    copy = copied_terraform(tmp_path_factory.mktemp("apply"))
    dev = terraform_in(copy, "envs/dev")
    (dev.folder / "moto_override.tf").write_text(OVERRIDE)
    (dev.folder / "terraform.tfvars").write_text((dev.folder / "terraform.tfvars.example").read_text())
    with serving_aws(REGION) as aws:
        dev.run("init", "-lockfile=readonly")
        dev.run("plan", "-out=planned")
        dev.run("apply", "planned")
        state = dev.json("show", "-json")
        keys = [r for r in resources(state["values"]) if r["type"] == "aws_kms_key"]
        yield Applied(
            terraform=dev,
            aws=aws,
            plan=dev.json("show", "-json", "planned"),
            state=state,
            key=keys[0]["values"]["arn"],
        )


def resources(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All resources of a plan or state, those of nested modules too."""

    def below(module: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [*module.get("resources", []), *(r for m in module.get("child_modules", []) for r in below(m))]

    return below(values["root_module"])


def test_what_was_planned_exists(applied: Applied) -> None:
    planned = {r["address"] for r in resources(applied.plan["planned_values"])}
    there = {r["address"] for r in resources(applied.state["values"]) if r["mode"] == "managed"}
    assert there == planned
    assert len(there) > 80


def test_nothing_comes_in_from_everywhere(applied: Applied) -> None:
    groups = boto3.client("ec2").describe_security_groups()["SecurityGroups"]
    own = [r["values"] for r in resources(applied.state["values"]) if r["type"] == "aws_vpc"]
    own_groups = [group for group in groups if group["VpcId"] == own[0]["id"]]
    assert own_groups
    rules = [rule for group in own_groups for rule in group["IpPermissions"]]
    assert [rule for rule in rules if "0.0.0.0/0" in json.dumps(rule) or "::/0" in json.dumps(rule)] == []
    for resource in resources(applied.plan["planned_values"]):
        assert "0.0.0.0/0" not in json.dumps(resource.get("values", {}).get("ingress", []))
        assert resource["type"] not in ("aws_security_group_rule", "aws_vpc_security_group_ingress_rule")


def test_the_buckets_are_closed(applied: Applied) -> None:
    s3 = boto3.client("s3")
    for bucket in (BUCKET, f"{BUCKET}-access-logs"):
        block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert set(block.values()) == {True}
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    rule = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == applied.key
    assert rule["BucketKeyEnabled"]


def test_pools_have_the_labels_and_taints_that_pods_ask_for(applied: Applied) -> None:
    eks = boto3.client("eks")
    groups = [
        eks.describe_nodegroup(clusterName=NAME, nodegroupName=name)["nodegroup"]
        for name in eks.list_nodegroups(clusterName=NAME)["nodegroups"]
    ]
    pools = {group["nodegroupName"]: group["labels"]["terraquery.dev/pool"] for group in groups}
    assert pools == {"head": "head", "cpu": "cpu", "gpu-spot": "gpu", "gpu-on-demand": "gpu"}
    for group in groups:
        taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}
        is_gpu = group["labels"]["terraquery.dev/pool"] == "gpu"
        assert group.get("taints", []) == ([taint] if is_gpu else [])
        assert group["scalingConfig"]["minSize"] == (1 if group["nodegroupName"] == "head" else 0)
    manifests = (ROOT / "infra/kubernetes/base/cluster.yaml").read_text()
    assert set(re.findall(r"terraquery\.dev/pool: (\w+)", manifests)) == set(pools.values())


def test_pods_get_the_roles_of_their_accounts(applied: Applied) -> None:
    links = {
        f"{link['namespace']}/{link['serviceAccount']}": link["roleArn"].rpartition("/")[2]
        for link in applied.aws.eks.associations.values()
    }
    assert links == {
        "terraquery/ray-head": f"{NAME}-ray-head",
        "terraquery/ray-worker": f"{NAME}-ray-worker",
        "terraquery/scheduler": f"{NAME}-scheduler",
        "kube-system/cluster-autoscaler": f"{NAME}-cluster-autoscaler",
        "kube-system/aws-node": f"{NAME}-vpc-cni",
    }
    manifests = (ROOT / "infra/kubernetes/namespace").glob("*.yaml")
    accounts = re.findall(
        r"^kind: ServiceAccount\nmetadata:\n  name: (\S+)",
        "\n".join(path.read_text() for path in manifests),
        flags=re.MULTILINE,
    )
    assert {f"terraquery/{account}" for account in accounts} == {k for k in links if k.startswith("terra")}


def documents(account: str) -> dict[str, Document]:
    """The policies of the role of a service account, as IAM holds them."""
    iam = boto3.client("iam")
    role = f"{NAME}-{account}"
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return {
        name: _read(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]) for name in names
    }


def _read(document: Any) -> Document:
    read = json.loads(urllib.parse.unquote(document)) if isinstance(document, str) else document
    assert isinstance(read, dict)
    return read


@pytest.mark.parametrize("account", ALLOWED)
def test_a_role_may_do_its_work_and_nothing_else(applied: Applied, account: str) -> None:
    held = list(documents(account).values())
    refused = [ask for ask in ALLOWED[account] if not is_allowed(held, with_key(ask, applied.key))]
    granted = [ask for ask in DENIED[account] if is_allowed(held, with_key(ask, applied.key))]
    assert (refused, granted) == ([], [])


@pytest.mark.parametrize("account", ALLOWED)
def test_every_action_of_a_role_is_needed(applied: Applied, account: str) -> None:
    """Without it some request of the work above is refused: neither permission nor request is idle."""
    statements = [s for document in documents(account).values() for s in document["Statement"]]
    needless = []
    for number, statement in enumerate(statements):
        for action in statement["Action"]:
            rest = {**statement, "Action": [other for other in statement["Action"] if other != action]}
            fewer = [{"Statement": [*statements[:number], rest, *statements[number + 1 :]]}]
            if all(is_allowed(fewer, with_key(ask, applied.key)) for ask in ALLOWED[account]):
                needless.append((statement["Sid"], action))
    assert needless == []


@pytest.mark.parametrize("account", ALLOWED)
def test_a_role_is_for_one_service_account(applied: Applied, account: str) -> None:
    role = boto3.client("iam").get_role(RoleName=f"{NAME}-{account}")["Role"]
    trust = _read(role["AssumeRolePolicyDocument"])
    own = {
        "aws:RequestTag/eks-cluster-arn": CLUSTER,
        "aws:RequestTag/kubernetes-namespace": "kube-system"
        if account == "cluster-autoscaler"
        else "terraquery",
        "aws:RequestTag/kubernetes-service-account": account,
    }
    pods = ("Service", "pods.eks.amazonaws.com")
    for action in ("sts:AssumeRole", "sts:TagSession"):
        assert is_allowed([trust], Ask(action=action, context=own, principal=pods))
    for tag in own:
        other = own | {tag: "another"}
        assert not is_allowed([trust], Ask(action="sts:AssumeRole", context=other, principal=pods))
    for principal in (("Service", "ec2.amazonaws.com"), ("AWS", f"arn:aws:iam::{ACCOUNT}:root")):
        assert not is_allowed([trust], Ask(action="sts:AssumeRole", context=own, principal=principal))


def test_the_head_may_do_what_a_run_asks_of_its_bucket(applied: Applied, tmp_path: Path) -> None:
    """The requests of a small run, of a second merge and of cleaning: one driver sends them all."""
    boto3.client("s3").create_bucket(Bucket=NOTED, CreateBucketConfiguration={"LocationConstraint": REGION})
    applied.aws.requests.clear()
    world = write_label_world(tmp_path, blobs(np.random.default_rng(5), 130, 130, grain=9))
    options = tmp_path / "options.toml"
    options.write_text("[tiles]\npx = 64\nhalo_px = 12\nblock_tiles = 2\n")
    run = f"s3://{NOTED}/runs/first"
    words = ["--source", world.scene, "--whole-scene", "--query", "anything", "--out", run]
    words += ["--models", f"oracle:{world.labels}", "--config", options, "--runner", "local"]
    assert load_job("segment_region").main([str(word) for word in words]) == 0
    assert (
        load_job("restitch_region").main(
            ["--run", run, "--min-area-px", "40", "--out", f"s3://{NOTED}/runs/second"]
        )
        == 0
    )
    assert load_job("clean_run").main([run, "--keep", "0", "--min-age-hours", "0"]) == 0

    asked = [ask for request in applied.aws.requests for ask in request.asks()]
    assert {ask.action.removeprefix("s3:") for ask in asked} == {
        *("GetObject", "PutObject", "DeleteObject", "ListBucket", "ListBucketMultipartUploads")
    }
    held = list(documents("ray-head").values())
    ours = [replace(ask, resource=ask.resource.replace(f":::{NOTED}", f":::{BUCKET}")) for ask in asked]
    assert [ask for ask in ours if not is_allowed(held, ask)] == []


def test_nobody_reaches_the_bucket_without_tls(applied: Applied) -> None:
    policy = _read(boto3.client("s3").get_bucket_policy(Bucket=BUCKET)["Policy"])
    held = [*documents("ray-worker").values(), policy]
    for tls, expected in (("true", True), ("false", False)):
        context = {"aws:SecureTransport": tls}
        assert (
            is_allowed(held, Ask(action="s3:GetObject", resource=f"{OURS}/runs/a", context=context))
            == expected
        )


def test_the_endpoint_lets_runs_through_and_nothing_else(applied: Applied) -> None:
    """An open bucket is also read without credentials; ours only by this account."""
    endpoint = boto3.client("ec2").describe_vpc_endpoints()["VpcEndpoints"][0]
    policy = [_read(endpoint["PolicyDocument"])]
    for ask in [*READS, *WRITES, *TIDIES]:
        if ask.action.startswith("s3:"):
            inside = Ask(action=ask.action, resource=ask.resource, context={"aws:PrincipalAccount": ACCOUNT})
            assert is_allowed(policy, inside), ask
    for stranger in (None, "999999999999"):
        context = {} if stranger is None else {"aws:PrincipalAccount": stranger}
        assert not is_allowed(policy, Ask(action="s3:GetObject", resource=f"{OURS}/runs/a", context=context))
    # The way out for stolen data: a bucket of somebody else, with his own credentials.
    elsewhere = Ask(
        action="s3:PutObject",
        resource="arn:aws:s3:::somebody-elses/loot",
        context={"aws:PrincipalAccount": "999999999999"},
    )
    assert not is_allowed(policy, elsewhere)
    assert is_allowed(policy, Ask(action="s3:GetObject", resource=READS[2].resource))


def test_the_scheduler_has_no_access_policy_of_eks(applied: Applied) -> None:
    """What it may do in the cluster is the Role of its group alone."""
    entries = {name: entry for (_, name), entry in applied.aws.eks.entries.items()}
    scheduler = f"arn:aws:iam::{ACCOUNT}:role/{NAME}-scheduler"
    assert entries[scheduler]["kubernetesGroups"] == ["terraquery:schedulers"]
    holders = {holder for (_, holder, _) in applied.aws.eks.policies}
    assert holders == {f"arn:aws:iam::{ACCOUNT}:role/platform-engineers"}


def test_the_costs_count_what_is_there(applied: Applied) -> None:
    lines = {line["what"]: line for line in tomllib.loads((SOURCE / "prices.toml").read_text())["idle"]}
    there = [r["type"] for r in resources(applied.state["values"])]
    assert lines["control plane"]["count"] == there.count("aws_eks_cluster")
    assert lines["NAT gateway"]["count"] == there.count("aws_nat_gateway")
    assert lines["its address"]["count"] == there.count("aws_eip")
    assert lines["key"]["count"] == there.count("aws_kms_key")
    assert lines["alarms"]["count"] == there.count("aws_cloudwatch_metric_alarm")
    night = {line["what"]: line for line in tomllib.loads((SOURCE / "prices.toml").read_text())["night"]}
    groups = {
        r["values"]["node_group_name"]: r["values"]
        for r in resources(applied.plan["planned_values"])
        if r["type"] == "aws_eks_node_group"
    }
    assert lines["head node, for the controllers"]["count"] == groups["head"]["scaling_config"][0]["min_size"]
    assert lines["head node, for the controllers"]["price"] in groups["head"]["instance_types"]
    for what, pool in (("GPU nodes, spot", "gpu-spot"), ("CPU nodes, spot", "cpu")):
        assert night[what]["count"] == groups[pool]["scaling_config"][0]["max_size"]
        assert night[what]["price"] in groups[pool]["instance_types"]


def test_destroy_keeps_results_and_their_key(applied: Applied) -> None:
    """The last test: a bucket that holds a run stays, and what decrypts it. Then all of it goes."""
    from moto.s3.models import s3_backends

    s3 = boto3.client("s3")
    kms = boto3.client("kms")
    s3_backends[ACCOUNT]["aws"].buckets.pop(NOTED, None)
    # moto's server has no TLS, and takes no account of conditions: the bucket's policy refuses every call.
    stored = s3_backends[ACCOUNT]["aws"]
    stored.put_object(BUCKET, "runs/first/run.json", b"{}")
    with pytest.raises(pytest.fail.Exception, match="BucketNotEmpty"):
        applied.terraform.run("destroy", "-auto-approve")
    assert stored.get_object(BUCKET, "runs/first/run.json").value == b"{}"
    assert kms.describe_key(KeyId=applied.key)["KeyMetadata"]["KeyState"] == "Enabled"
    stored.buckets[BUCKET].keys.clear()
    applied.terraform.run("destroy", "-auto-approve")
    assert applied.terraform.run("state", "list") == ""
    assert s3.list_buckets()["Buckets"] == []
    assert kms.describe_key(KeyId=applied.key)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert boto3.client("eks").list_clusters()["clusters"] == []
    assert applied.aws.eks.associations == {}
    assert applied.aws.eks.entries == {}
