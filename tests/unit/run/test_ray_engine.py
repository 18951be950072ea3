"""Starting a Ray of our own on a machine that is too busy for Ray's own time limit, and joining another."""

from __future__ import annotations

import pytest
import ray

from pipeline.errors import InputError, ModelError
from pipeline.run import ray_engine

SLOW = (
    "The current node timed out during startup. This could happen because some of the raylet failed to "
    "startup."
)


class Starts:
    """`ray.init` that fails with the given errors, one per call, then works; counts calls, clean-ups and
    tokens.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.cleaned = 0
        self.tokens = 0
        monkeypatch.setattr(ray_engine, "own_token", self.own_token)
        monkeypatch.setattr(ray, "init", self.init)
        monkeypatch.setattr(ray, "shutdown", self.shutdown)

    def init(self, **settings: object) -> None:
        assert settings["address"] == "local"
        assert settings["include_dashboard"] is False
        assert self.tokens == 1
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)

    def shutdown(self) -> None:
        self.cleaned += 1

    def own_token(self) -> None:
        self.tokens += 1


def test_a_slow_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch, Exception(SLOW), Exception(SLOW))
    ray_engine._start_own_ray()
    assert (starts.calls, starts.cleaned) == (3, 2)


def test_a_start_that_never_comes_up_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch, *(Exception(SLOW) for _ in range(5)))
    with pytest.raises(ModelError, match="lower the load of the machine"):
        ray_engine._start_own_ray()
    assert starts.calls == ray_engine.RAY_STARTS


def test_another_failure_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch, ValueError("no such option"))
    with pytest.raises(ValueError, match="no such option"):
        ray_engine._start_own_ray()
    assert starts.calls == 1


class Joined:
    """What `ray.init` gives."""

    def __init__(self, dashboard: str) -> None:
        self.address_info = {"webui_url": dashboard}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    return monkeypatch


def test_a_cluster_that_is_joined_is_asked_whether_it_is_closed(cluster: pytest.MonkeyPatch) -> None:
    asked = list[str]()
    cluster.setattr(ray, "init", lambda **_: Joined("192.0.2.1:8265"))
    cluster.setattr(ray_engine, "require_closed", asked.append)
    ray_engine._join_cluster()
    assert asked == ["192.0.2.1:8265"]


@pytest.mark.parametrize(
    "error", [ConnectionError("Failed to connect"), ray.exceptions.AuthenticationError("no token")]
)
def test_a_cluster_that_lets_nobody_in_is_an_error_in_words(
    cluster: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(**_: object) -> None:
        raise error

    cluster.setattr(ray, "init", refuse)
    with pytest.raises(InputError, match="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"):
        ray_engine._join_cluster()
