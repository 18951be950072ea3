"""What a run refuses before a model is loaded, and what a dry run only tells."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_server import use_hub

from pipeline.errors import InputError
from pipeline.run.choose_runner import ChosenRunner
from pipeline.run.config import build_preset, preset_tables
from pipeline.run.models import model_checks
from pipeline.run.models.device_memory import DeviceMemory
from pipeline.run.models.model_checks import check_models, commit_models
from pipeline.write.run_dir import RunDir

HERE = ChosenRunner(name="local", why="")
RAY = ChosenRunner(name="ray", why="")


def test_a_hub_that_is_away_ends_a_run_and_not_a_dry_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub(monkeypatch, None, tmp_path / "cache")
    preset, pinned = commit_models(build_preset(preset_tables("think2seg-3b")), RunDir(tmp_path))
    assert preset.prompter.vllm.revision is None
    assert check_models(preset, pinned, HERE, dry_run=True).pinned == pinned
    with pytest.raises(InputError, match="nothing of it in the cache"):
        check_models(preset, pinned, HERE, dry_run=False)


def test_a_cluster_s_devices_are_not_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = DeviceMemory(name="the CPU", total=10, is_gpu=False)
    monkeypatch.setattr(model_checks, "find_device_memory", lambda: tiny)
    preset, pinned = commit_models(build_preset(preset_tables("embedded")), None)
    assert pinned == ()
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert check_models(preset, pinned, RAY, dry_run=False).device is None
    with pytest.raises(InputError, match="memory of the device"):
        check_models(preset, pinned, HERE, dry_run=False)
    monkeypatch.delenv("RAY_ADDRESS")
    with pytest.raises(InputError, match="memory of the device"):
        check_models(preset, pinned, RAY, dry_run=False)
    assert check_models(preset, pinned, RAY, dry_run=True).device == tiny
