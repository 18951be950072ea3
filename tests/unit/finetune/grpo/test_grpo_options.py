"""Training presets hold the paper's numbers; settings lie over them; what is wrong is said before a model is
loaded.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from grpo_scenes import SHIPPED

from pipeline.errors import InputError
from pipeline.finetune.grpo.grpo_options import (
    GrpoOptions,
    check_preset,
    flat_parameters,
    known_training_presets,
    load_training_preset,
    uses_vllm,
)


@pytest.mark.parametrize("name", ["think2seg-3b", "think2seg-7b"])
def test_the_paper_s_hyper_parameters(name: str) -> None:
    preset = load_training_preset(name)
    assert (preset.grpo.learning_rate, preset.grpo.weight_decay, preset.grpo.generations, preset.grpo.kl) == (
        1e-6,
        0,
        16,
        1e-3,
    )
    assert (preset.reward.format_weight, preset.reward.iou_weight, preset.reward.rule) == (1, 2, "paper")
    assert preset.grpo.replies_per_step == 16
    assert (preset.model.precision, preset.model.vision) == ("bf16", "trained")
    assert preset.reward_px == preset.contract.profile.image_px == (840, 840)
    assert preset.combination == "box+points2"
    assert preset.segmenter.checkpoint == "facebook/sam2.1-hiera-small"


def test_every_shipped_preset_loads_and_the_embedded_one_passes_its_checks() -> None:
    assert known_training_presets() == ("embedded", "think2seg-3b", "think2seg-7b")
    for name in known_training_presets():
        assert load_training_preset(name).contract.profile.name
    check_preset(load_training_preset("embedded"), by_reward=True)


def test_settings_lie_over_the_preset_and_keep_their_types() -> None:
    settings = [
        "grpo.learning_rate=2e-6",
        "model.vision=trained",
        "model.lora_rank = 8",
        "reward.rule='authors-code'",
        "reward_px=[56, 84]",
    ]
    preset = load_training_preset("embedded", settings)
    assert (preset.grpo.learning_rate, preset.model.vision, preset.model.lora_rank) == (2e-6, "trained", 8)
    assert (preset.contract.rule, preset.reward_px) == ("authors-code", (56, 84))
    flat = flat_parameters(preset)
    assert (flat["model.lora_rank"], flat["reward_px"], flat["profile"]) == (8, [56, 84], "embedded")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["grpo.learning_rat=1"], "did you mean 'learning_rate'"),
        (["grpo.steps=many"], r"grpo\.steps must be of type int"),
        (["model.vision=half"], "must be one of 'trained', 'frozen'"),
        (["grpo.generations=1"], "generations must be at least 2"),
        (["grpo.steps=0"], "the other counts at least 1"),
        (["grpo.max_tokens=0"], "the other counts at least 1"),
        (["grpo.epochs=-1.0"], "epochs above 0"),
        (["grpo.replies_per_pass=5"], "whole number of replies_per_pass"),
        (["grpo.top_p=0"], "top_p a share"),
        (["reward.iou_weight=0"], "iou_weight must be above 0"),
        (["model.lora_rank=-1"], "lora_rank must not be negative"),
        (["sft.batch=0"], "steps, batch and learning_rate"),
        (["grpo"], r"written table\.key=value"),
        (["profile.name=x"], "profile is a value, not a table"),
    ],
)
def test_wrong_settings(settings: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_training_preset("embedded", settings)


def test_wrong_presets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="use one of embedded, think2seg-3b"):
        load_training_preset("big")
    with pytest.raises(InputError, match="readable TOML"):
        load_training_preset(str(tmp_path / "none.toml"))


def test_what_check_preset_finds_in_headers(tmp_path: Path) -> None:
    def check(*settings: str) -> None:
        check_preset(load_training_preset("embedded", settings), by_reward=True)

    with pytest.raises(InputError, match="must be a checkpoint directory"):
        check("model.checkpoint=/nowhere/at/all")
    other = shutil.copytree(SHIPPED, tmp_path / "other")
    (other / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match=r"architecture qwen2_5_vl.*llama"):
        check(f"model.checkpoint={other}")
    with pytest.raises(InputError, match="must pass the checkpoint's processor unchanged"):
        check("profile=think2seg", "combination=box+points2")
    with pytest.raises(InputError, match="segmenter's checkpoint must exist"):
        check(
            "segmenter.checkpoint=/nowhere.safetensors", "segmenter.config=configs/sam2.1/sam2.1_hiera_t.yaml"
        )
    with pytest.raises(InputError, match="unknown profile"):
        check("profile=mine")


def test_vllm_needs_a_gpu_and_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    asked = load_training_preset("embedded", ["model.generation=vllm"])
    either = load_training_preset("embedded", ["model.generation=auto"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"needs a GPU.*torch finds none.*model\.generation=transformers"):
        check_preset(asked, by_reward=True)
    check_preset(asked, by_reward=False)  # the warm start samples nothing
    check_preset(either, by_reward=True)
    assert (uses_vllm(asked.model), uses_vllm(either.model)) == (True, False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "vllm", None)
    for preset in (asked, either):
        assert uses_vllm(preset.model)
        with pytest.raises(InputError, match=r"without the package.*extra `gpu`"):
            check_preset(preset, by_reward=True)
    check_preset(load_training_preset("embedded"), by_reward=True)


def test_replies_of_a_step() -> None:
    assert GrpoOptions(generations=8, questions_per_step=3, replies_per_pass=12).replies_per_step == 24
