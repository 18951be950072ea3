"""What a run checks before it starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_worlds import write_label_world

from pipeline.errors import InputError
from pipeline.grid.source import SourceOptions
from pipeline.run import flow
from pipeline.run.config import (
    AreaOptions,
    GridChoice,
    RunConfig,
    Runner,
    build_preset,
    merge_tables,
    preset_tables,
)
from pipeline.run.prepare import RunRequest


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


def test_a_missing_gpu_is_said_before_anything_is_written_or_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "blocks",
        "plan.parquet",
        "run.json",
    ]
