"""The embedded prompter: a Qwen2.5-VL of a few million parameters, built from nothing and exported for vLLM.

1. `PrompterShape` holds the sizes.
2. `build_model` makes the transformers model on the CPU, in float32.
3. `export_checkpoint` writes all that vLLM and transformers need.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.finetune.prompter.samples import IMAGE_PX
from pipeline.finetune.prompter.tokenizer import CELL_SIDE, cell_token_ids, number_token_ids, write_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor
    from torch.nn import Module
    from transformers import Qwen2_5_VLConfig

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
"""Channel statistics of the Qwen2-VL image processor, on RGB scaled to 0..1."""

NUMBER_PERIODS_PX = (600.0, 300.0, 150.0, 80.0, 40.0, 20.0, 10.0, 5.0)
"""Periods of the sines with which number embeddings begin, so that close numbers begin close together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrompterShape:
    """Sizes of vision tower and language model. head_dim is 32 in both."""

    vision_width: int = 192
    vision_depth: int = 6
    vision_mlp: int = 512
    text_width: int = 256
    text_depth: int = 5
    text_mlp: int = 640
    head_dim: int = 32
    text_kv_heads: int = 4
    mrope_section: tuple[int, int, int] = (2, 7, 7)
    rope_theta: float = 10.0
    """Base of the rotary positions. It is small, with wide height and width sections, because cells of a
    9 x 9 grid must be told apart: with the usual 1e6 the width section would turn by less than a degree per
    cell.
    """
    max_positions: int = 2048


def vision_settings(shape: PrompterShape) -> dict[str, object]:
    """List keyword arguments of Qwen2_5_VLVisionConfig.

    The tower attends within windows of 3 x 3 merged cells, and in every second layer to the whole image.
    """
    return {
        "depth": shape.vision_depth,
        "hidden_size": shape.vision_width,
        "intermediate_size": shape.vision_mlp,
        "num_heads": shape.vision_width // shape.head_dim,
        "out_hidden_size": shape.text_width,
        "window_size": 3 * 28,
        "fullatt_block_indexes": list(range(1, shape.vision_depth, 2)),
    }


def model_config(shape: PrompterShape, tokenizer: Tokenizer) -> Qwen2_5_VLConfig:
    """Make the Qwen2_5_VLConfig of this shape and tokenizer."""
    from transformers import Qwen2_5_VLConfig

    token = tokenizer.token_to_id
    return Qwen2_5_VLConfig(
        architectures=["Qwen2_5_VLForConditionalGeneration"],
        text_config={
            "vocab_size": -(-tokenizer.get_vocab_size() // 64) * 64,
            "hidden_size": shape.text_width,
            "intermediate_size": shape.text_mlp,
            "num_hidden_layers": shape.text_depth,
            "num_attention_heads": shape.text_width // shape.head_dim,
            "num_key_value_heads": shape.text_kv_heads,
            "max_position_embeddings": shape.max_positions,
            "max_window_layers": shape.text_depth,
            "rms_norm_eps": 1e-6,
            "bos_token_id": token("<|endoftext|>"),
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": shape.rope_theta,
                "mrope_section": list(shape.mrope_section),
            },
        },
        vision_config=vision_settings(shape),
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
        dtype="bfloat16",
    )


def build_model(shape: PrompterShape, tokenizer: Tokenizer, *, seed: int) -> Module:
    """Build a new float32 Qwen2_5_VLForConditionalGeneration.

    Matrices start with deviation 1/sqrt(fan-in). Outputs of every block start at zero, so each block begins
    as the identity. Number embeddings start at sines of their value.
    """
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(model_config(shape, tokenizer)).float()
    _start_weights(model)
    with torch.no_grad():
        _start_numbers(model.model.language_model.embed_tokens.weight, tokenizer)
        _start_cells(model.model.language_model.embed_tokens.weight, tokenizer)
    return model


def build_vision(shape: PrompterShape, *, seed: int) -> Module:
    """Build only the vision tower, initialised as in `build_model`."""
    import torch
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
        Qwen2_5_VisionTransformerPretrainedModel,
        Qwen2_5_VLVisionConfig,
    )

    torch.manual_seed(seed)
    vision = Qwen2_5_VisionTransformerPretrainedModel(
        Qwen2_5_VLVisionConfig(**vision_settings(shape))
    ).float()
    _start_weights(vision)
    return vision


def _start_weights(module: Module) -> None:
    import torch

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "embed_tokens" in name or "lm_head" in name:
                parameter.normal_(0.0, 0.02)
            elif name.endswith(("o_proj.weight", "down_proj.weight", "attn.proj.weight")):
                parameter.zero_()
            elif parameter.ndim >= 2:
                parameter.normal_(0.0, 1.0 / math.sqrt(parameter[0].numel()))
            elif name.endswith("bias"):
                parameter.zero_()


def _start_numbers(embeddings: Tensor, tokenizer: Tokenizer) -> None:
    """Add sines and cosines of the value to the number rows of an embedding (vocab, width), in place."""
    import torch

    ids = torch.from_numpy(number_token_ids(tokenizer))
    angles = torch.arange(len(ids))[:, None] * 2 * math.pi / torch.tensor(NUMBER_PERIODS_PX)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    mix = torch.randn(waves.shape[1], embeddings.shape[1])
    mix = torch.linalg.qr(mix.T)[0].T if embeddings.shape[1] >= waves.shape[1] else mix
    embeddings[ids] += 0.12 * waves @ mix


def _start_cells(embeddings: Tensor, tokenizer: Tokenizer) -> None:
    """Add a random direction for each grid row and column to the cell rows of an embedding, in place."""
    import torch

    ids = torch.from_numpy(cell_token_ids(tokenizer))
    rows, cols = (torch.randn(CELL_SIDE, embeddings.shape[1]) for _ in range(2))
    grid = rows[:, None] + cols[None, :]
    embeddings[ids] += 0.35 * torch.nn.functional.normalize(grid.flatten(0, 1), dim=1)


EXPORT_FILES = frozenset({
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    "preprocessor_config.json", "generation_config.json", "MODEL_CARD.md",
})  # fmt: skip
"""All files that `export_checkpoint` writes."""


def check_export_folder(folder: Path) -> None:
    """Check that an export may replace `folder`: new, empty, or an earlier export. Raises InputError."""
    remedy = "name a new folder, an empty one, or that of an earlier export (--out)"
    nearest = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not nearest.is_dir():
        raise InputError("the export needs a folder", came=f"{nearest}, which is a file", remedy=remedy)
    held = {path.name for path in folder.iterdir()} if nearest == folder else set()
    if held and (held - EXPORT_FILES or not held >= {"config.json", "model.safetensors"}):
        other = ", ".join(sorted(held - EXPORT_FILES)[:3]) or "no whole export"
        raise InputError(
            "the export replaces its folder as a whole", came=f"{folder}, which holds {other}", remedy=remedy
        )


def export_checkpoint(model: Module, tokenizer: Tokenizer, folder: Path, *, card: str) -> None:
    """Write config, bfloat16 weights, tokenizer, processor and generation settings.

    An earlier export in `folder` is replaced. Raises InputError when the folder holds anything else.
    """
    import torch
    from safetensors.torch import save_file

    check_export_folder(folder)
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    weights = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    state = {name: tensor.detach().cpu().to(torch.bfloat16).contiguous() for name, tensor in weights.items()}
    save_file(state, str(fresh / "model.safetensors"), metadata={"format": "pt"})
    config = model.config.to_dict()
    (fresh / "config.json").write_text(json.dumps(config, indent=2, default=str) + "\n")
    write_tokenizer(tokenizer, fresh)
    _write_json(fresh / "preprocessor_config.json", image_processor_settings())
    end = tokenizer.token_to_id("<|im_end|>")
    pad = tokenizer.token_to_id("<|endoftext|>")
    generation = {"do_sample": False, "eos_token_id": [end, pad], "pad_token_id": pad, "bos_token_id": pad}
    _write_json(fresh / "generation_config.json", generation)
    (fresh / "MODEL_CARD.md").write_text(card)
    fresh.chmod(0o755)
    (fresh / "model.safetensors").chmod(0o644)
    _take_place(fresh, folder)


def _take_place(fresh: Path, folder: Path) -> None:
    """Move `fresh` to the place of `folder`. The old folder is renamed first, and deleted at the end."""
    if not folder.exists():
        fresh.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    folder.rename(aside)
    try:
        fresh.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def image_processor_settings() -> dict[str, object]:
    """Make preprocessor_config.json. The image size is fixed, and with it the frame of the numbers."""
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "min_pixels": IMAGE_PX * IMAGE_PX,
        "max_pixels": IMAGE_PX * IMAGE_PX,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
    }


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
