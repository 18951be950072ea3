"""Starting a Ray of our own on a machine that is too busy for Ray's own time limit."""

from __future__ import annotations

import pytest
import ray

from pipeline.errors import ModelError
from pipeline.run import ray_engine

SLOW = (
    "The current node timed out during startup. This could happen because some of the raylet failed to "
    "startup."
)


class Starts:
    """`ray.init` that fails with the given errors, one per call, then works; counts calls and clean-ups."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.cleaned = 0
        monkeypatch.setattr(ray, "init", self.init)
        monkeypatch.setattr(ray, "shutdown", self.shutdown)

    def init(self, **settings: object) -> None:
        assert settings["address"] == "local"
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)

    def shutdown(self) -> None:
        self.cleaned += 1


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
