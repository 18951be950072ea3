"""Checkpoints in the exact shape of published ones, with random weights: what can be proven without a hub.

    .venv/bin/python tests/published_checkpoints.py qwen2.5-vl-3b /tmp/shape --layers 2 --vision-layers 4

`config.json`, image settings and special tokens have the published values, written down from memory: no hub
could be asked. The tokenizer is the real one (`make tokenizers`). `--layers` and `--vision-layers` cut the
depth, `--narrow` the width to a few numbers, so that an engine starts in seconds. Vocabulary, patches,
and how an image becomes tokens stay. Chat templates are written anew for what a prompter sends (a
system message, one image, text), and give the same bytes.

What could not be had: Qwen3-VL's, InternVL3's and LLaVA's own tokenizers are in no package. Qwen3-VL has the
tokens of Qwen3, InternVL3 those of Qwen2.5 and nine more, LLaVA those of Llama 2 and two more. They are put
together here.
"""

from __future__ import annotations

import argparse
import json
import sys
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKENIZERS = Path("~/.cache/terraquery/tokenizers").expanduser()

QWEN25_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3_TEMPLATE = QWEN25_TEMPLATE.replace(
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}",
    "",
)
INTERNVL_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<IMG_CONTEXT>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% endif %}{% endfor %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def _qwen25(
    hidden: int, inner: int, layers: int, heads: int, kv: int, vocabulary: int, tied: bool
) -> dict[str, Any]:
    """config.json of Qwen2.5-VL, flat as it was published."""
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
        "vision_token_id": 151654,
        "image_token_id": 151655,
        "video_token_id": 151656,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": inner,
        "max_position_embeddings": 128000,
        "max_window_layers": layers,
        "model_type": "qwen2_5_vl",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": 32,
            "hidden_act": "silu",
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "in_chans": 3,
            "out_hidden_size": hidden,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "vocab_size": vocabulary,
        "transformers_version": "4.41.2",
    }


def _internvl3(hidden: int, inner: int, heads: int, kv: int) -> dict[str, Any]:
    """config.json of InternVL3 in the format of transformers (`-hf`)."""
    return {
        "architectures": ["InternVLForConditionalGeneration"],
        "model_type": "internvl",
        "downsample_ratio": 0.5,
        "image_seq_length": 256,
        "image_token_id": 151667,
        "projector_hidden_act": "gelu",
        "torch_dtype": "bfloat16",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "text_config": {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "bos_token_id": 151643,
            "eos_token_id": 151645,
            "hidden_act": "silu",
            "hidden_size": hidden,
            "intermediate_size": inner,
            "max_position_embeddings": 32768,
            "num_attention_heads": heads,
            "num_hidden_layers": 28,
            "num_key_value_heads": kv,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": False,
            "vocab_size": 151674,
        },
        "vision_config": {
            "architectures": ["InternVisionModel"],
            "model_type": "internvl_vision",
            "attention_bias": True,
            "hidden_act": "gelu",
            "hidden_size": 1024,
            "image_size": [448, 448],
            "intermediate_size": 4096,
            "layer_norm_eps": 1e-06,
            "norm_type": "layer_norm",
            "num_attention_heads": 16,
            "num_hidden_layers": 24,
            "patch_size": [14, 14],
            "use_qk_norm": False,
        },
        "tie_word_embeddings": False,
        "transformers_version": "4.53.0",
    }


QWEN3_VL_4B: dict[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "model_type": "qwen3_vl",
    "image_token_id": 151655,
    "video_token_id": 151656,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0",
    "text_config": {
        "model_type": "qwen3_vl_text",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "dtype": "bfloat16",
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 2560,
        "initializer_range": 0.02,
        "intermediate_size": 9728,
        "max_position_embeddings": 262144,
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
        "rope_theta": 5000000,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": 151936,
    },
    "vision_config": {
        "model_type": "qwen3_vl",
        "deepstack_visual_indexes": [5, 11, 17],
        "depth": 24,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1024,
        "in_channels": 3,
        "initializer_range": 0.02,
        "intermediate_size": 4096,
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": 2560,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
}

LLAVA_7B: dict[str, Any] = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "ignore_index": -100,
    "image_token_index": 32000,
    "image_seq_length": 576,
    "pad_token_id": 32001,
    "projector_hidden_act": "gelu",
    "text_config": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "max_position_embeddings": 4096,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 32,
        "rms_norm_eps": 1e-05,
        "torch_dtype": "float16",
        "vocab_size": 32064,
    },
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "image_size": 336,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
        "projection_dim": 768,
        "vocab_size": 32000,
    },
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "transformers_version": "4.36.0",
}

QWEN25_IMAGE = {
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}
QWEN3_IMAGE = {
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor",
    "image_processor_type": "Qwen2VLImageProcessor",
}
INTERNVL_IMAGE = {
    "crop_to_patches": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "image_processor_type": "GotOcr2ImageProcessor",
    "max_patches": 12,
    "min_patches": 1,
    "processor_class": "InternVLProcessor",
    "resample": 3,
    "size": {"height": 448, "width": 448},
}
LLAVA_IMAGE = {
    "crop_size": {"height": 336, "width": 336},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "CLIPImageProcessor",
    "processor_class": "LlavaProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 336},
}


@dataclass(frozen=True, kw_only=True)
class PublishedShape:
    """A published checkpoint, without its weights."""

    config: dict[str, Any]
    image: dict[str, Any]
    """preprocessor_config.json."""
    tokenizer: str
    """Name below TOKENIZERS."""
    template: str
    generation: dict[str, Any]
    """generation_config.json."""
    processor: dict[str, Any] = field(default_factory=dict)
    """processor_config.json; empty: there is none."""
    added: tuple[str, ...] = ()
    """Special tokens beyond those of the tokenizer's package, in the order of their ids."""
    roles: dict[str, str] = field(default_factory=dict)
    """Names of special tokens that the processor asks for."""

    @property
    def has_tokenizer(self) -> bool:
        return (TOKENIZERS / self.tokenizer / "tokenizer.json").is_file()


_QWEN_STOPS = {
    "bos_token_id": 151643,
    "pad_token_id": 151643,
    "eos_token_id": [151645, 151643],
    "do_sample": True,
}
_QWEN25 = {
    "image": QWEN25_IMAGE,
    "tokenizer": "qwen2_5",
    "template": QWEN25_TEMPLATE,
    "generation": {**_QWEN_STOPS, "repetition_penalty": 1.05, "temperature": 0.000001},
}
_INTERNVL = {
    "image": INTERNVL_IMAGE,
    "processor": {"image_seq_length": 256, "processor_class": "InternVLProcessor"},
    "tokenizer": "qwen2_5",
    "template": INTERNVL_TEMPLATE,
    "generation": {"bos_token_id": 151643, "eos_token_id": 151645, "pad_token_id": 151643},
    "added": ("<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"),
    "roles": {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<|video_pad|>",
    },
}
SHAPES: dict[str, PublishedShape] = {
    "qwen2.5-vl-3b": PublishedShape(config=_qwen25(2048, 11008, 36, 16, 2, 151936, True), **_QWEN25),  # type: ignore[arg-type]
    "qwen2.5-vl-7b": PublishedShape(config=_qwen25(3584, 18944, 28, 28, 4, 152064, False), **_QWEN25),  # type: ignore[arg-type]
    "qwen3-vl-4b": PublishedShape(
        config=QWEN3_VL_4B,
        image=QWEN3_IMAGE,
        tokenizer="qwen3",
        template=QWEN3_TEMPLATE,
        generation={**_QWEN_STOPS, "temperature": 0.7, "top_k": 20, "top_p": 0.8},
    ),
    "internvl3-2b": PublishedShape(config=_internvl3(1536, 8960, 12, 2), **_INTERNVL),  # type: ignore[arg-type]
    "internvl3-8b": PublishedShape(config=_internvl3(3584, 18944, 28, 4), **_INTERNVL),  # type: ignore[arg-type]
    "llava-1.5-7b": PublishedShape(
        config=LLAVA_7B,
        image=LLAVA_IMAGE,
        processor={
            "image_token": "<image>",
            "num_additional_image_tokens": 1,
            "patch_size": 14,
            "processor_class": "LlavaProcessor",
            "vision_feature_select_strategy": "default",
        },
        tokenizer="llama2",
        template=LLAVA_TEMPLATE,
        generation={"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 32001},
        added=("<image>", "<pad>"),
        roles={"image_token": "<image>"},
    ),
}


def cut_config(name: str, *, layers: int | None, vision_layers: int | None, narrow: bool) -> dict[str, Any]:
    """A published config.json with less depth, and if asked narrow. None: as published."""
    config = deepcopy(SHAPES[name].config)
    text = config.get("text_config", config)
    vision = config["vision_config"]
    if layers is not None:
        text["num_hidden_layers"] = layers
        if "max_window_layers" in text:
            text["max_window_layers"] = layers
    if vision_layers is not None:
        vision["depth" if "depth" in vision else "num_hidden_layers"] = vision_layers
        for key in ("fullatt_block_indexes", "deepstack_visual_indexes"):
            if key in vision:
                vision[key] = list(range(min(len(vision[key]), vision_layers)))
    if narrow:
        text |= {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
        }
        if "head_dim" in text:
            text["head_dim"] = 32
        if "rope_scaling" in text:
            text["rope_scaling"]["mrope_section"] = [n // 4 for n in text["rope_scaling"]["mrope_section"]]
        vision |= {"hidden_size": 64, "intermediate_size": 128}
        vision["num_heads" if "num_heads" in vision else "num_attention_heads"] = 2
        if "out_hidden_size" in vision:
            vision["out_hidden_size"] = 64
    return config


def model_of(config: dict[str, Any]) -> Any:
    """The model of transformers with this config, its weights random."""
    import transformers

    cls = getattr(transformers, config["architectures"][0])
    return cls(cls.config_class.from_dict(config))


def write_published(
    folder: Path,
    name: str,
    *,
    layers: int | None = None,
    vision_layers: int | None = None,
    narrow: bool = False,
    seed: int = 0,
) -> Path:
    """Write such a checkpoint. The tokenizer must be there (`make tokenizers`)."""
    import torch

    shape = SHAPES[name]
    folder.mkdir(parents=True, exist_ok=True)
    config = cut_config(name, layers=layers, vision_layers=vision_layers, narrow=narrow)
    torch.manual_seed(seed)
    model_of(config).to(torch.bfloat16).save_pretrained(folder)
    if name.startswith("llava"):
        _name_tensors_as_published(folder / "model.safetensors")
    _write_json(folder / "config.json", config)
    _write_json(folder / "preprocessor_config.json", shape.image)
    if shape.processor:
        _write_json(folder / "processor_config.json", shape.processor)
    _write_json(folder / "generation_config.json", shape.generation)
    (folder / "chat_template.jinja").write_text(shape.template)
    _write_tokenizer(folder, shape)
    return folder


def _name_tensors_as_published(path: Path) -> None:
    """Published LLaVA has its image encoder one name deeper than today's transformers writes it."""
    from safetensors.torch import load_file, save_file

    inner = "vision_tower.vision_model."
    named = {
        name.replace("vision_tower.", inner) if inner not in name else name: tensor
        for name, tensor in load_file(path).items()
    }
    save_file(named, path, metadata={"format": "pt"})


def _write_tokenizer(folder: Path, shape: PublishedShape) -> None:
    from tokenizers import AddedToken, Tokenizer

    source = TOKENIZERS / shape.tokenizer
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in shape.added])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    settings.pop("added_tokens_decoder", None)
    settings.pop("additional_special_tokens", None)
    _write_json(
        folder / "tokenizer_config.json",
        {
            **settings,
            **shape.roles,
            "extra_special_tokens": shape.roles,
            "pad_token": settings["pad_token"] or "<pad>",
        },
    )


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n")


def main(argv: list[str] | None = None) -> int:
    top = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    top.add_argument("name", choices=sorted(SHAPES))
    top.add_argument("folder", type=Path)
    top.add_argument("--layers", type=int, help="of the language model; default: all")
    top.add_argument("--vision-layers", type=int, help="of the image encoder; default: all")
    top.add_argument("--narrow", action="store_true", help="heads of 32 numbers, two of them")
    args = top.parse_args(argv)
    if not SHAPES[args.name].has_tokenizer:
        top.error(
            f"the tokenizer {SHAPES[args.name].tokenizer} is not in {TOKENIZERS}. To fix: make tokenizers"
        )
    write_published(
        args.folder, args.name, layers=args.layers, vision_layers=args.vision_layers, narrow=args.narrow
    )
    print(f"{args.name} is in {args.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
