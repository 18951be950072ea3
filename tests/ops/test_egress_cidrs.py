"""Addresses for the policies, from a list and a DNS that the test has made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from manifests import KUBERNETES, load_script, rendered

pytestmark = pytest.mark.ops

egress_cidrs = load_script("infra/kubernetes/egress_cidrs.py")

RANGES = {
    "prefixes": [
        {"ip_prefix": "198.51.100.0/25", "region": "us-west-2", "service": "S3"},
        {"ip_prefix": "198.51.100.128/25", "region": "us-west-2", "service": "S3"},
        {"ip_prefix": "203.0.113.0/24", "region": "us-east-1", "service": "S3"},
        {"ip_prefix": "192.0.2.0/24", "region": "us-west-2", "service": "EC2"},
    ]
}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (tmp_path / "ranges.json").write_text(json.dumps(RANGES))
    return ["--ranges", str(tmp_path / "ranges.json"), "--api-server", "10.0.12.7/32"]


def test_what_it_writes_is_what_pods_may_reach(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--region", "us-west-2", "--host", "catalogue.example", "--api-server", "10.0.12.6/32"]
    assert (
        egress_cidrs.main([*words, *more], lambda host: {"catalogue.example": ["203.0.113.9/32"]}[host]) == 0
    )
    copied = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, copied)
    (copied / "site/egress.yaml").write_text(capsys.readouterr().out)
    opened = {
        each["metadata"]["name"]: [peer["ipBlock"]["cidr"] for peer in each["spec"]["egress"][0]["to"]]
        for each in rendered(str(copied / "site"))
        if each["metadata"]["name"] in ("api-server", "outside")
    }
    assert opened == {"api-server": ["10.0.12.6/31"], "outside": ["198.51.100.0/24", "203.0.113.9/32"]}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--region", "eu-west-1"], "S3 in eu-west-1, and has none of it"),
        (["--region", "us-west-2", "--cidr", "0.0.0.0/0"], "is too wide"),
        (["--region", "us-west-2", "--cidr", "somewhere"], "takes IPv4 prefixes"),
        (
            ["--region", "us-west-2", "--host", "nowhere.invalid"],
            "--host nowhere.invalid has no address here",
        ),
    ],
)
def test_what_cannot_be_used_is_said(
    words: list[str], more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert egress_cidrs.main([*words, *more]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
