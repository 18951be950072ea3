"""The export of a trainer's checkpoint, against the weights that were put into it; also with DeepSpeed's
ZeRO-3 settings in place.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grpo_scenes import write_tiny_prompter

from pipeline.errors import ModelError
from pipeline.finetune.grpo import grpo_model
from pipeline.finetune.grpo.grpo_options import ModelOptions

torch = pytest.importorskip("torch")

QUERY = "model.language_model.layers.0.self_attn.q_proj"
RANK = 2
ALPHA = 6


class ZeroInit(contextlib.AbstractContextManager["ZeroInit"]):
    """Stands for deepspeed.zero.Init, which talks to all processes: entering it alone fails, as it does
    without a process group.
    """

    entered = 0

    def __init__(self, **_: Any) -> None:
        ZeroInit.entered += 1
        raise ValueError("Default process group has not been initialized")

    def __exit__(self, *_: object) -> None: ...


class Zero3:
    """Stands for the settings that a trainer under ZeRO-3 leaves with transformers while it lives."""

    config: dict[str, Any] = {"zero_optimization": {"stage": 3}}  # noqa: RUF012

    def is_zero3(self) -> bool:
        return True


@pytest.fixture
def zero3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zero3]:
    from transformers.integrations import deepspeed as settings

    stub: Any = types.ModuleType("deepspeed")
    stub.__spec__ = importlib.machinery.ModuleSpec("deepspeed", None)
    stub.zero = types.SimpleNamespace(Init=ZeroInit, GatheredParameters=ZeroInit)
    monkeypatch.setitem(sys.modules, "deepspeed", stub)
    monkeypatch.setattr(ZeroInit, "entered", 0)
    held = Zero3()
    settings.set_hf_deepspeed_config(held)
    yield held
    settings.unset_hf_deepspeed_config()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_prompter(tmp_path_factory.mktemp("base") / "tiny")


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in two files, every weight 0.01 above the base's, float32."""
    from huggingface_hub import save_torch_state_dict

    out = tmp_path_factory.mktemp("trainer") / "checkpoint-3"
    out.mkdir()
    moved = {name: tensor.float() + 0.01 for name, tensor in weights(base).items()}
    largest = max(tensor.nbytes for tensor in moved.values())
    save_torch_state_dict(moved, out, max_shard_size=largest + 1)
    assert len(list(out.glob("*.safetensors"))) > 1
    (out / "optimizer.pt").write_bytes(b"no weights")
    return out


@pytest.fixture(scope="module")
def adapted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters on the first layer's query projection; all numbers of A are 0.1 and of B 0.2."""
    from peft import LoraConfig, get_peft_model

    out = tmp_path_factory.mktemp("trainer") / "checkpoint-3"
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=[QUERY], task_type="CAUSAL_LM")
    model = get_peft_model(grpo_model.load_weights(str(base), torch.float32), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.constant_(parameter, 0.1 if "lora_A" in name else 0.2)
    model.save_pretrained(out)
    return out


def check_moved(base: Path, out: Path) -> None:
    before = weights(base)
    after = weights(out)
    assert before.keys() == after.keys()
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    assert all(torch.equal(after[name], (before[name].float() + 0.01).bfloat16()) for name in before)


def test_the_export_is_the_checkpoint_in_bfloat16_with_the_base_s_settings(
    base: Path, trained: Path, tmp_path: Path
) -> None:
    out = grpo_model.export_prompter(trained, str(base), tmp_path / "prompter", card="# card\n")
    check_moved(base, out)
    assert {path.name for path in out.iterdir()} == {path.name for path in base.iterdir()}
    assert json.loads((out / "config.json").read_text()) == json.loads((base / "config.json").read_text())
    model = grpo_model.load_weights(str(out), torch.float32)
    assert torch.equal(model.state_dict()[f"{QUERY}.weight"], weights(out)[f"{QUERY}.weight"].float())


def test_large_weights_are_written_in_several_files(
    base: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpo_model, "SHARD_SIZE", "300KB")
    out = grpo_model.export_prompter(trained, str(base), tmp_path / "prompter", card="")
    check_moved(base, out)
    assert (
        json.loads((out / "model.safetensors.index.json").read_text())["weight_map"].keys()
        == weights(base).keys()
    )
    grpo_model.load_weights(str(out), torch.float32)


def test_adapters_are_merged(base: Path, adapted: Path, tmp_path: Path) -> None:
    out = grpo_model.export_prompter(adapted, str(base), tmp_path / "prompter", card="")
    before = weights(base)
    after = weights(out)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys()
    assert moved == {f"{QUERY}.weight"}
    by_hand = before[f"{QUERY}.weight"].float() + ALPHA / RANK * RANK * 0.1 * 0.2
    assert torch.allclose(after[f"{QUERY}.weight"].float(), by_hand, atol=2e-3)


@pytest.mark.usefixtures("zero3")
def test_one_process_exports_while_zero3_is_in_place(
    base: Path, trained: Path, adapted: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="process group"):  # what loading a model as usual does then
        grpo_model.load_weights(str(base), torch.float32)
    assert ZeroInit.entered == 1
    check_moved(base, grpo_model.export_prompter(trained, str(base), tmp_path / "whole", card=""))
    merged = grpo_model.export_prompter(adapted, str(base), tmp_path / "merged", card="")
    assert not torch.equal(weights(base)[f"{QUERY}.weight"], weights(merged)[f"{QUERY}.weight"])
    assert ZeroInit.entered == 1


def test_a_checkpoint_without_weights_is_said_and_nothing_is_replaced(
    base: Path, trained: Path, tmp_path: Path
) -> None:
    out = grpo_model.export_prompter(trained, str(base), tmp_path / "prompter", card="")
    empty = tmp_path / "checkpoint-4"
    empty.mkdir()
    with pytest.raises(ModelError, match="zero3_save_16bit_model"):
        grpo_model.export_prompter(empty, str(base), out, card="")
    check_moved(base, out)
    assert {path.name for path in tmp_path.iterdir()} == {"prompter", "checkpoint-4"}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_policy_computes_with_the_attention_that_was_asked_for(tmp_path: Path, attention: Any) -> None:
    policy = grpo_model.load_policy(
        str(write_tiny_prompter(tmp_path / "tiny")), ModelOptions(checkpoint="tiny", attention=attention)
    )
    assert policy.config._attn_implementation == attention
    assert policy.model.language_model.config._attn_implementation == attention


def test_a_folder_without_a_model_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"the prompter {tmp_path} does not load"):
        grpo_model.load_weights(str(tmp_path), torch.float32)
