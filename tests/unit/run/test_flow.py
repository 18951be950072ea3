"""What a run checks before it starts."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from label_worlds import write_label_world
from run.infer.oracle_context import oracle_context

from pipeline.errors import InputError
from pipeline.files.store.local_store import SWAP_LOCK
from pipeline.grid.source import SourceOptions
from pipeline.run import flow
from pipeline.run.budget import SpendingOptions, open_budget
from pipeline.run.config import (
    AreaOptions,
    GridChoice,
    RunConfig,
    RunnerChoice,
    build_preset,
    merge_tables,
    preset_tables,
)
from pipeline.run.events.event_log import EventLog, read_events
from pipeline.run.prepare import RunRequest, plan_request, start_info
from pipeline.run.screen import Screen
from pipeline.run.summary import plan_text
from pipeline.run.todo import Changes, Todo
from pipeline.write.run_dir import RunDir


def request(folder: Path, runner: RunnerChoice) -> RunRequest:
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
        os.write(2, b"a library's noise\n")
        raise KeyboardInterrupt

    monkeypatch.setattr(flow, "infer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        flow.run_region(request(tmp_path, "ray"), say=lambda _: None)
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name != SWAP_LOCK) == [
        "logs",
        "plan.parquet",
        "run.json",
        "run.log",
        "scenes.parquet",
    ]
    told = [event.event for event in read_events(RunDir(tmp_path / "out"))]
    assert [name for name in told if name != "traffic"] == ["started", "failed"]


def test_auto_is_settled_by_the_plan_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fingerprint does not depend on who does the work."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    auto = request(tmp_path, "auto")
    small = plan_request(auto)
    assert small.runner.name == "local"
    assert "runner         local (no cluster is named, and at most 64 tiles)\n" in plan_text(small)
    asked = plan_request(replace(auto, runner="ray"))
    assert "runner         ray (as asked)\n" in plan_text(asked)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    named = plan_request(auto)
    assert "runner         ray (RAY_ADDRESS names a cluster)\n" in plan_text(named)
    assert small.fingerprint == asked.fingerprint == named.fingerprint
    assert start_info(small, ()).settings["runner"] == "local"
    assert start_info(named, ()).settings["runner"] == "ray"


def test_a_note_of_a_block_that_is_done_by_now_goes(tmp_path: Path) -> None:
    """Its process died between the record and the end of the attempt, and no block is left to be done."""
    context = oracle_context(tmp_path)
    context.journal.begin("b00000_00000", "segment")
    screen = Screen(say=lambda _: None, out=io.StringIO())
    nothing = Changes(n_stay=1, again={}, n_new=0, n_out=0)
    flow.infer(
        [(context, Todo(blocks=(), done_tiles=4, changes=nothing))],
        runner="local",
        screen=screen,
        events=EventLog(RunDir(tmp_path / "out")),
        budget=open_budget(SpendingOptions(), list, ()),
    )
    assert context.journal.noted() == {}
