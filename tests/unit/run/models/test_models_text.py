"""What a plan says of published models: with a hub, with a cache, and with neither."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_server import serving_hub, use_hub
from whole_checkpoint import write_whole_checkpoint

from pipeline.run.config import build_preset, preset_tables
from pipeline.run.models.device_memory import DeviceMemory
from pipeline.run.models.hub_pins import fetch_small, pin_models
from pipeline.run.models.memory_needs import memory_needs
from pipeline.run.models.model_checks import CheckedModels
from pipeline.run.models.models_text import models_rows

PROMPTER = "RicardoString/Think2Seg-RS-3B"
SEGMENTER = "facebook/sam2.1-hiera-small"
GPU = DeviceMemory(name="GPU 0, Test", total=24_000_000_000, is_gpu=True)


def rows(device: DeviceMemory | None = GPU) -> dict[str, str]:
    preset, pinned = pin_models(build_preset(preset_tables("think2seg-3b")), {})
    checked = CheckedModels(pinned=pinned, needs=memory_needs(preset, pinned), device=device)
    return models_rows(preset, checked)


def test_with_a_hub_then_with_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_whole_checkpoint(tmp_path / "whole")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with serving_hub() as hub:
        use_hub(monkeypatch, hub, tmp_path / "cache")
        commit = hub.add(PROMPTER, {**files, "model.safetensors": bytes(7_000_000)})
        hub.add(SEGMENTER, {"sam2.1_hiera_small.pt": bytes(2_000_000)})
        said = rows()
        assert said["prompter"] == f"{PROMPTER}, commit {commit} (main, resolved now)"
        assert said["prompter files"].startswith("to download: 6, 7.0 MB (model.safetensors 7.0 MB, ")
        assert said["segmenter files"] == "to download: 1, 2.0 MB (sam2.1_hiera_small.pt 2.0 MB)"
        assert said["memory"].startswith("prompter: weights 7.0 MB (bfloat16)")
        assert "segmenter: weights 2.0 MB" in said["memory"]
        fetch_small(pin_models(build_preset(preset_tables("think2seg-3b")), {})[1])
        assert rows()["prompter files"] == "to download: 1, 7.0 MB (model.safetensors 7.0 MB); 5 here"
    use_hub(monkeypatch, None, tmp_path / "cache")
    away = rows()
    assert away["prompter"].startswith(f"{PROMPTER}, commit {commit} (main of the cache; the hub does not")
    assert away["prompter files"].startswith("all 5 here")


def test_with_neither_published_facts_speak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, None, tmp_path / "cache")
    said = rows()
    assert said["prompter"].startswith(f"{PROMPTER}, commit resolved at start: the hub does not answer now (")
    assert said["prompter files"] == (
        "to download: weights, settings and tokenizer, about 7.5 GB of weights, as published"
    )
    assert said["segmenter files"] == (
        "to download: sam2.1_hiera_small.pt, about 184.2 MB of weights, as published"
    )
    assert "Qwen Research License: not for commercial use" in said["prompter licence"]
    assert said["segmenter licence"].startswith("Apache-2.0 (source: README of facebookresearch/sam2")
    assert said["memory"] == (
        "prompter: weights 7.5 GB (bfloat16); cache 151.0 MB for a request of 4096 tokens, 9.7 GB for 64; "
        "segmenter: weights 184.2 MB; activations come on top"
    )
    assert said["device"] == "GPU 0, Test, 24.0 GB: enough for weights and the cache of one request"
    small = rows(DeviceMemory(name="GPU 0, Test", total=8_000_000_000, is_gpu=True))
    assert small["device"].startswith("GPU 0, Test, 8.0 GB: too small. weights and cache of the prompter")
    assert rows(None)["device"] == "of the cluster's nodes; not looked at from here"


def test_models_that_are_here_need_no_rows() -> None:
    preset = build_preset(preset_tables("embedded"))
    assert models_rows(preset, CheckedModels()) == {}
