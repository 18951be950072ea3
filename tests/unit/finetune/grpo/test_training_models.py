"""A training's hub ids become commits once, and stay; what cannot be had is said before data is decoded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from grpo_scenes import PRESENT, SHIPPED, TARGET, mask_of, write_data
from hub_server import Hub, serving_hub, use_hub

from pipeline.errors import InputError
from pipeline.finetune.grpo.grpo_options import load_training_preset
from pipeline.finetune.grpo.grpo_run import TrainingRequest, prepare_run
from pipeline.finetune.grpo.training_models import commits_before, weights_folder

PROMPTER = "owner/prompter"
FILES = {path.name: path.read_bytes() for path in SHIPPED.iterdir() if path.is_file()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_hub() as hub:
        hub.add(PROMPTER, FILES)
        use_hub(monkeypatch, hub, tmp_path / "cache")
        yield hub


def asked(folder: Path, checkpoint: str = PROMPTER) -> TrainingRequest:
    data = write_data(folder / "data", [(PRESENT, mask_of(TARGET))])
    preset = load_training_preset("embedded", [f"model.checkpoint='{checkpoint}'"])
    return TrainingRequest(stage="sft", out=folder / "out", data=data, preset=preset)


def test_the_commit_is_written_down_kept_and_loaded(hub: Hub, tmp_path: Path) -> None:
    request = asked(tmp_path)
    run = prepare_run(request)
    first = hub.refs[PROMPTER]["main"]
    assert run.preset.model.revision == first
    options = json.loads((request.out / "options.json").read_text())
    assert options["hub"] == {"prompter": {"id": PROMPTER, "asked": None, "commit": first}}
    assert (options["model.checkpoint"], options["model.revision"]) == (PROMPTER, first)
    hub.add(PROMPTER, {**FILES, "README.md": b"another"})
    assert hub.refs[PROMPTER]["main"] != first
    again = prepare_run(request)
    assert again.preset.model.revision == first
    folder = Path(weights_folder(again.preset.model))
    assert folder.name == first
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_model_that_cannot_be_had_is_refused_and_nothing_is_written(hub: Hub, tmp_path: Path) -> None:
    request = asked(tmp_path, "owner/nothing")
    with pytest.raises(InputError, match="owner/nothing, which the hub does not have"):
        prepare_run(request)
    assert not request.out.exists()
    config = FILES["config.json"].replace(b"qwen2_5_vl", b"something_else")
    hub.add(PROMPTER, {**FILES, "config.json": config})
    with pytest.raises(InputError, match="must be of the architecture"):
        prepare_run(asked(tmp_path / "other"))


def test_local_models_ask_no_hub(hub: Hub, tmp_path: Path) -> None:
    run = prepare_run(replace(asked(tmp_path), preset=load_training_preset("embedded")))
    assert run.preset.model.revision is None
    assert weights_folder(run.preset.model) == str(SHIPPED)
    assert not hub.asked
    assert commits_before({"hub": 3}) == {}
