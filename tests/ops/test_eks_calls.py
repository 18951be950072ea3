"""The calls of EKS that stand before moto's own: a lost answer is given again, a second make is refused."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from aws_server import ACCOUNT, AwsServer, serving_aws
from botocore.exceptions import ClientError

pytestmark = pytest.mark.ops

ADDON = {
    "clusterName": "repeated",
    "addonName": "vpc-cni",
    "podIdentityAssociations": [
        {"serviceAccount": "aws-node", "roleArn": f"arn:aws:iam::{ACCOUNT}:role/cni"},
    ],
}


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsServer]:
    with serving_aws("eu-central-1") as server:
        role = f"arn:aws:iam::{ACCOUNT}:role/cluster"
        boto3.client("eks").create_cluster(name="repeated", roleArn=role, resourcesVpcConfig={})
        yield server


def test_a_repeated_request_gets_the_answer_that_was_lost(aws: AwsServer) -> None:
    eks = boto3.client("eks")
    first = eks.create_addon(**ADDON, clientRequestToken="one")["addon"]
    again = eks.create_addon(**ADDON, clientRequestToken="one")["addon"]
    assert again["addonArn"] == first["addonArn"]
    assert [held["serviceAccount"] for held in aws.eks.associations.values()] == ["aws-node"]


def test_a_second_addon_is_refused_and_leaves_nothing(aws: AwsServer) -> None:
    before = dict(aws.eks.associations)
    other = ADDON | {
        "podIdentityAssociations": [{"serviceAccount": "another", "roleArn": "arn:aws:iam::1:role/r"}]
    }
    with pytest.raises(ClientError, match="ResourceInUseException"):
        boto3.client("eks").create_addon(**other, clientRequestToken="two")
    assert aws.eks.associations == before
