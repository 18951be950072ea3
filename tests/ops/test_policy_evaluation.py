"""The evaluation of policies decides the examples of AWS's documentation as it says there."""

from __future__ import annotations

from typing import Any

import pytest
from policy_evaluation import Ask, is_allowed

pytestmark = pytest.mark.ops


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


HOME = document(
    {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::docs/home/*"},
    {
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": "arn:aws:s3:::docs",
        "Condition": {"StringLike": {"s3:prefix": ["home/*"]}},
    },
)


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (Ask(action="s3:GetObject", resource="arn:aws:s3:::docs/home/a/b"), True),
        (Ask(action="S3:getobject", resource="arn:aws:s3:::docs/home/a"), True),
        (Ask(action="s3:GetObject", resource="arn:aws:s3:::docs/homes/a"), False),
        (Ask(action="s3:PutObject", resource="arn:aws:s3:::docs/home/a"), False),
        (Ask(action="s3:ListBucket", resource="arn:aws:s3:::docs", context={"s3:prefix": "home/a/"}), True),
        (Ask(action="s3:ListBucket", resource="arn:aws:s3:::docs", context={"s3:prefix": ""}), False),
        (Ask(action="s3:ListBucket", resource="arn:aws:s3:::docs"), False),
    ],
)
def test_actions_resources_and_conditions(ask: Ask, expected: bool) -> None:
    assert is_allowed([HOME], ask) == expected


def test_a_denial_wins_over_every_permission() -> None:
    everything = document({"Effect": "Allow", "Action": "*", "Resource": "*"})
    tls_only = document(
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )
    plain = Ask(
        action="s3:GetObject", resource="arn:aws:s3:::docs/a", context={"aws:SecureTransport": "false"}
    )
    assert is_allowed([everything], plain)
    assert not is_allowed([everything, tls_only], plain)


def test_trust_is_in_the_named_principal() -> None:
    trust = document(
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    )
    ec2 = Ask(action="sts:AssumeRole", principal=("Service", "ec2.amazonaws.com"))
    assert is_allowed([trust], ec2)
    assert not is_allowed([trust], Ask(action="sts:AssumeRole", principal=("AWS", "ec2.amazonaws.com")))
    assert not is_allowed([trust], Ask(action="sts:AssumeRole"))


def test_what_it_does_not_know_is_an_error() -> None:
    ask = Ask(action="s3:GetObject")
    with pytest.raises(ValueError, match="NotAction"):
        is_allowed([document({"Effect": "Allow", "NotAction": "s3:*", "Action": "*"})], ask)
    strange = {"Effect": "Allow", "Action": "*", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}
    with pytest.raises(ValueError, match="IpAddress"):
        is_allowed([document(strange)], ask)
