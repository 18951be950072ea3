"""Requests to the roles of the environment: what must be allowed, and what must be denied.

A denied request stands for a mistake or a theft: a neighbouring prefix, a list without a prefix, a key used
for something else, rights that would give further rights.
"""

from __future__ import annotations

from aws_server import ACCOUNT
from policy_evaluation import Ask

REGION = "us-west-2"
NAME = "terraquery-dev"
BUCKET = f"{NAME}-{ACCOUNT}-{REGION}"
OURS = f"arn:aws:s3:::{BUCKET}"
CLUSTER = f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{NAME}"
GPU_POOL = f"arn:aws:eks:{REGION}:{ACCOUNT}:nodegroup/{NAME}/gpu-spot/1"


def get(bucket: str, key: str) -> Ask:
    return Ask(action="s3:GetObject", resource=f"arn:aws:s3:::{bucket}/{key}")


def of(action: str, key: str) -> Ask:
    return Ask(action=action, resource=f"{OURS}/{key}")


def listing(bucket: str, prefix: str | None) -> Ask:
    context = {} if prefix is None else {"s3:prefix": prefix}
    return Ask(action="s3:ListBucket", resource=f"arn:aws:s3:::{bucket}", context=context)


def of_key(action: str, via: str | None, key: str = "ours") -> Ask:
    context = {} if via is None else {"kms:ViaService": f"{via}.{REGION}.amazonaws.com"}
    return Ask(action=action, resource=key, context=context)


def scaling(cluster: str | None, action: str = "SetDesiredCapacity") -> Ask:
    context = {} if cluster is None else {f"aws:ResourceTag/k8s.io/cluster-autoscaler/{cluster}": "owned"}
    group = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:1:autoScalingGroupName/eks-1"
    return Ask(action=f"autoscaling:{action}", resource=group, context=context)


READS = [
    of("s3:GetObject", "runs/first/run.json"),
    of("s3:GetObject", "models/prompter/config.json"),
    get("sentinel-cogs", "sentinel-s2-l2a-cogs/10/T/FK/2026/7/item/B04.tif"),
    get("usgs-landsat", "collection02/level-2/standard/item/B4.TIF"),
    listing(BUCKET, "runs/first/"),
    listing(BUCKET, "runs/first/run.json"),  # S3 asks so before it says that an object is not there
    listing(BUCKET, "models/"),
    listing("sentinel-cogs", "sentinel-s2-l2a-cogs/10/"),
    listing("usgs-landsat", "collection02/level-2/standard/"),
    get("naip-analytic", "ca/2022/60cm/item.tif"),
    listing("naip-analytic", "nv/"),
    of_key("kms:Decrypt", "s3"),
]
WRITES = [
    of("s3:PutObject", "runs/first/blocks/0_0.parquet"),
    of("s3:AbortMultipartUpload", "runs/first/blocks/0_0.parquet"),
    of_key("kms:GenerateDataKey", "s3"),
]
TIDIES = [
    of("s3:DeleteObject", "runs/first/run.lock"),
    Ask(action="s3:ListBucketMultipartUploads", resource=OURS),
]
FORBIDDEN_TO_RAY = [
    of("s3:GetObject", "secrets/token"),
    of("s3:GetObject", "runs-of-others/run.json"),
    of("s3:PutObject", "models/prompter/config.json"),
    of("s3:PutObject", "runs"),
    of("s3:DeleteObject", "models/prompter/config.json"),
    of("s3:DeleteObjectVersion", "runs/first/run.json"),
    of("s3:PutObjectAcl", "runs/first/run.json"),
    get(f"{BUCKET}-access-logs", "runs/first"),
    get("sentinel-cogs", "sentinel-s2-l2a-cogs-private/item.tif"),
    get("usgs-landsat", "collection02/level-1/item.tif"),  # it would cost money, and nobody asked for it
    get("naip-analytic", "tx/2022/item.tif"),
    get("somebody-elses", "runs/first/run.json"),
    Ask(action="s3:PutObject", resource="arn:aws:s3:::sentinel-cogs/sentinel-s2-l2a-cogs/item.tif"),
    listing(BUCKET, None),
    listing(BUCKET, ""),
    listing(BUCKET, "run"),
    listing("usgs-landsat", "collection02/"),
    listing("sentinel-cogs", None),
    of_key("kms:Decrypt", None),
    of_key("kms:Decrypt", "secretsmanager"),
    of_key("kms:Decrypt", "s3", key=f"arn:aws:kms:{REGION}:{ACCOUNT}:key/another"),
    of_key("kms:ScheduleKeyDeletion", "s3"),
    Ask(action="s3:ListAllMyBuckets"),
    Ask(action="s3:DeleteBucket", resource=OURS),
    Ask(action="s3:PutBucketPolicy", resource=OURS),
    Ask(action="eks:DescribeCluster", resource=CLUSTER),
    Ask(action="sts:AssumeRole", resource=f"arn:aws:iam::{ACCOUNT}:role/{NAME}-ray-head"),
]
SEEN_GROUPS = (
    "AutoScalingGroups",
    "AutoScalingInstances",
    "LaunchConfigurations",
    "ScalingActivities",
    "Tags",
)
SEEN_INSTANCES = (
    "DescribeImages",
    "DescribeInstanceTypes",
    "DescribeLaunchTemplateVersions",
    "GetInstanceTypesFromInstanceRequirements",
)
"""What the cluster autoscaler calls, by its own documentation for AWS."""
ALLOWED = {
    "ray-worker": [*READS, *WRITES],
    "ray-head": [*READS, *WRITES, *TIDIES],
    "scheduler": [Ask(action="eks:DescribeCluster", resource=CLUSTER)],
    "cluster-autoscaler": [
        *(Ask(action=f"autoscaling:Describe{what}") for what in SEEN_GROUPS),
        *(Ask(action=f"ec2:{what}") for what in SEEN_INSTANCES),
        Ask(action="eks:DescribeNodegroup", resource=GPU_POOL),
        scaling(NAME),
        scaling(NAME, "TerminateInstanceInAutoScalingGroup"),
    ],
}
DENIED = {
    "ray-worker": [*FORBIDDEN_TO_RAY, *TIDIES],
    "ray-head": FORBIDDEN_TO_RAY,
    "scheduler": [
        *READS,
        *WRITES,
        *TIDIES,
        Ask(action="eks:DescribeCluster", resource=f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/another"),
        Ask(action="eks:ListClusters"),
        Ask(action="eks:CreateAccessEntry", resource=CLUSTER),
        Ask(action="eks:UpdateAccessEntry", resource=f"{CLUSTER.replace(':cluster/', ':access-entry/')}/1"),
        Ask(action="eks:AssociateAccessPolicy", resource=CLUSTER),
        Ask(action="eks:UpdateNodegroupConfig", resource=CLUSTER),
        Ask(action="iam:PassRole", resource=f"arn:aws:iam::{ACCOUNT}:role/{NAME}-ray-head"),
    ],
    "cluster-autoscaler": [
        *READS,
        scaling(None),
        scaling("another"),
        scaling("another", "TerminateInstanceInAutoScalingGroup"),
        Ask(action="eks:DeleteNodegroup", resource=GPU_POOL),
        Ask(action="ec2:RunInstances"),
        Ask(action="autoscaling:CreateAutoScalingGroup"),
    ],
}


def with_key(ask: Ask, key: str) -> Ask:
    """The request with the ARN of the key, which is known after the apply."""
    if ask.resource != "ours":
        return ask
    return Ask(action=ask.action, resource=key, context=ask.context)
