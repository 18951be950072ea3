"""Load a checkpoint for training (in float32, partly frozen or with adapters) and export it for inference.

1. `load_policy` loads the weights and freezes the vision tower where asked.
2. `lora_config` puts adapters on all linear layers that learn.
3. `export_prompter` writes a folder that vLLM and transformers load like the starting checkpoint: the same
   settings, and the new weights in bfloat16.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ModelError
from pipeline.finetune.grpo.grpo_options import ModelOptions

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig
    from transformers import PreTrainedModel

SHARD_SIZE = "4GB"
"""Size limit of one file of exported weights."""

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".index.json")
"""Suffixes of files that hold or list weights. All other files of a checkpoint are copied."""


def load_policy(checkpoint: str, options: ModelOptions) -> PreTrainedModel:
    """Load the model to train: float32, in training mode, with the vision tower frozen if asked.

    A bfloat16 weight would lose its updates: with a learning rate of 1e-6 they are smaller than the spacing
    of such numbers. Raises ModelError.
    """
    import torch

    model = load_weights(checkpoint, torch.float32)
    model.set_attn_implementation(options.attention)
    if options.vision == "frozen":
        model.model.visual.requires_grad_(False)
    return model.train()


def load_weights(checkpoint: str, dtype: torch.dtype) -> PreTrainedModel:
    """Load a vision-language model from a checkpoint directory or hub id. Raises ModelError."""
    from transformers import AutoModelForImageTextToText

    try:
        return AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=dtype, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"the prompter {checkpoint} does not load: {error}") from error


def lora_config(options: ModelOptions) -> LoraConfig | None:
    """Make peft's LoraConfig. None: the weights themselves are trained.

    A frozen vision tower gets no adapters.
    """
    if options.lora_rank == 0:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        target_modules="all-linear",
        exclude_modules=r".*visual.*" if options.vision == "frozen" else None,
        task_type="CAUSAL_LM",
    )


def export_prompter(trained: Path, base: str, out: Path, *, card: str) -> Path:
    """Export the weights in the trainer's folder `trained` as a checkpoint like `base`; replaces `out`.

    Adapters (adapter_config.json) are merged into the base weights. Call it after the last step, in one
    process. Raises ModelError.
    """
    write_weights = _merge_adapters if (trained / "adapter_config.json").is_file() else _copy_weights
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        write_weights(trained, base, fresh)
        _copy_settings(_local_folder(base), fresh)
        (fresh / "MODEL_CARD.md").write_text(card)
        fresh.chmod(0o755)
        for path in fresh.iterdir():
            path.chmod(0o644)
        shutil.rmtree(out, ignore_errors=True)
        fresh.rename(out)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return out


def _copy_weights(trained: Path, _base: str, out: Path) -> None:
    """Copy the checkpoint's tensors under their names; floating point becomes bfloat16. Raises ModelError."""
    import torch
    from huggingface_hub import save_torch_state_dict
    from safetensors.torch import load_file

    files = sorted(trained.glob("model*.safetensors"))
    if not files:
        raise ModelError(
            f"{trained} holds no model*.safetensors to export; DeepSpeed writes them with "
            "zero3_save_16bit_model"
        )
    weights: dict[str, torch.Tensor] = {}
    for path in files:
        weights |= {
            name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
            for name, tensor in load_file(path).items()
        }
    save_torch_state_dict(weights, out, max_shard_size=SHARD_SIZE, metadata={"format": "pt"})


def _merge_adapters(trained: Path, base: str, out: Path) -> None:
    """Write the weights of `base` plus the adapters, as bfloat16. Raises ModelError."""
    import torch
    from peft import PeftModel
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    # While the trainer's ZeRO-3 is active, all processes must load together: one alone would wait for ever.
    unset_hf_deepspeed_config()
    model = PeftModel.from_pretrained(load_weights(base, torch.float32), str(trained)).merge_and_unload()
    model.to(torch.bfloat16).save_pretrained(out, max_shard_size=SHARD_SIZE)


def _local_folder(base: str) -> Path:
    """Find the folder of a checkpoint; for a hub id, the one to which it was downloaded."""
    if Path(base).is_dir():
        return Path(base)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(base, local_files_only=True))


def _copy_settings(base: Path, out: Path) -> None:
    """Copy all files of `base` but weights over those in `out`; the configuration then says bfloat16."""
    for path in base.iterdir():
        if path.is_file() and not path.name.endswith(WEIGHT_SUFFIXES) and path.suffix != ".md":
            shutil.copyfile(path, out / path.name)
    config = json.loads((out / "config.json").read_text())
    key = "dtype" if "dtype" in config else "torch_dtype"
    if config.get(key) != "bfloat16":
        config[key] = "bfloat16"
        (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
