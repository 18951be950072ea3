"""Every branch of the choice between this process and Ray."""

from __future__ import annotations

import pytest

from pipeline.run.choose_runner import choose_runner, cluster_named
from pipeline.run.config import RunnerChoice

CLUSTER = {"RAY_ADDRESS": "127.0.0.1:6379"}


@pytest.mark.parametrize(
    ("asked", "n_tiles", "environ", "name", "why"),
    [
        ("local", 10_000, CLUSTER, "local", "as asked"),
        ("ray", 1, {}, "ray", "as asked"),
        ("auto", 1, CLUSTER, "ray", "RAY_ADDRESS names a cluster"),
        ("auto", 65, {}, "ray", "more than 64 tiles"),
        ("auto", 64, {}, "local", "no cluster is named, and at most 64 tiles"),
        ("auto", 1, {"RAY_ADDRESS": ""}, "local", "no cluster is named, and at most 64 tiles"),
    ],
)
def test_choice(asked: RunnerChoice, n_tiles: int, environ: dict[str, str], name: str, why: str) -> None:
    chosen = choose_runner(asked, n_tiles, environ)
    assert (chosen.name, chosen.why) == (name, why)
    assert str(chosen) == f"{name} ({why})"


def test_the_environment_of_this_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert cluster_named()
    assert choose_runner("auto", 1).name == "ray"
    monkeypatch.delenv("RAY_ADDRESS")
    assert not cluster_named()
    assert choose_runner("auto", 1).name == "local"
