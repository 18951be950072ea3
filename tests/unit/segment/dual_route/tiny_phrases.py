"""CLIP and SAM3 of the real classes with random weights, small enough to build in a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_tokenizer(folder: Path, longest: int) -> int:
    """A byte-level tokenizer between a start and an end token; returns the id of the latter."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: number for number, token in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    start, end = vocab["<|startoftext|>"], vocab["<|endoftext|>"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", start), ("<|endoftext|>", end)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=longest,
    ).save_pretrained(folder)
    return end


def text_settings(end: int, longest: int, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": longest,
        "projection_dim": 32,
        "eos_token_id": end,
        "bos_token_id": end - 1,
        "pad_token_id": end,
        **more,
    }


def write_clip(folder: Path, *, seed: int = 0) -> Path:
    """A CLIP with four vision layers and patches of 8 px, trained for pictures of 32 px."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    folder.mkdir(parents=True, exist_ok=True)
    end = write_tokenizer(folder, 77)
    torch.manual_seed(seed)
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": 32,
    }
    config = CLIPConfig(text_config=text_settings(end, 77), vision_config=vision, projection_dim=32)
    model = CLIPModel(config)
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder


def write_sam3(folder: Path, *, seed: int = 0) -> Path:
    """A SAM3 with two vision layers, for pictures of 112 px."""
    import torch
    from transformers import Sam3Config, Sam3ImageProcessor, Sam3Model

    folder.mkdir(parents=True, exist_ok=True)
    end = write_tokenizer(folder, 32)
    torch.manual_seed(seed)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "dropout": 0.0}
    config = Sam3Config(
        vision_config={
            "backbone_config": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 112,
                "pretrain_image_size": 56,
                "patch_size": 14,
                "window_size": 4,
                "global_attn_indexes": [1],
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config=text_settings(end, 32),
        geometry_encoder_config={**small, "num_layers": 1},
        detr_encoder_config={**small, "num_layers": 1},
        detr_decoder_config={**small, "num_layers": 1, "num_queries": 8},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )
    Sam3Model(config).save_pretrained(folder)
    Sam3ImageProcessor(
        size={"height": 112, "width": 112}, mask_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder
