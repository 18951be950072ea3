"""Starting a Ray of our own on a machine that is too busy for Ray's own time limit, and what a run checks before it starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import ray
from label_worlds import write_label_world

from pipeline import flow
from pipeline.config import AreaOptions, GridChoice, RunConfig, Runner, build_preset, merge_tables, preset_tables
from pipeline.errors import InputError, ModelError
from pipeline.grid.source import SourceOptions
from pipeline.prepare import RunRequest

SLOW = "The current node timed out during startup. This could happen because some of the raylet failed to startup."


class Starts:
    """`ray.init` that fails with the given errors, one per call, and then works; counts calls and clean-ups."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
        self.errors, self.calls, self.cleaned = list(errors), 0, 0
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
    flow._start_own_ray()
    assert (starts.calls, starts.cleaned) == (3, 2)


def test_a_start_that_never_comes_up_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch, *(Exception(SLOW) for _ in range(5)))
    with pytest.raises(ModelError, match="lower the load of the machine"):
        flow._start_own_ray()
    assert starts.calls == flow.RAY_STARTS


def test_another_failure_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch, ValueError("no such option"))
    with pytest.raises(ValueError, match="no such option"):
        flow._start_own_ray()
    assert starts.calls == 1


def request(folder: Path, runner: Runner) -> RunRequest:
    """A run of the embedded models, its segmenter on a GPU that no machine has."""
    world = write_label_world(folder / "world", np.zeros((64, 64), dtype=np.int64))
    config = RunConfig(
        queries=("tanks",),
        area=AreaOptions(whole_scene=True),
        source=SourceOptions(hrefs=(str(world.scene),)),
        grid=GridChoice(),
        preset_name="embedded",
        preset=build_preset(merge_tables(preset_tables("embedded"), {"segmenter": {"device": "cuda:99"}})),
    )
    return RunRequest(config=config, out=str(folder / "out"), runner=runner)


def test_a_missing_gpu_is_said_before_anything_is_written_or_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "infer", lambda *_, **__: pytest.fail("the run was started"))
    with pytest.raises(InputError, match="'cuda:99' needs that GPU"):
        flow.run_region(request(tmp_path, "local"), say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_gives_its_directory_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Ray the models load on other machines, of whose GPUs this one knows nothing: the run starts."""

    def interrupted(*_: object, **__: object) -> None:
        assert (tmp_path / "out" / "run.lock").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(flow, "infer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        flow.run_region(request(tmp_path, "ray"), say=lambda _: None)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["blocks", "plan.parquet", "run.json"]
