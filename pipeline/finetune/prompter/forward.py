"""Compute the embedded prompter's forward pass for a batch of images, with the transformers model's weights.

transformers attends image by image and cannot pack, but training on a CPU needs batches. A test compares the
results of both.

1. `patches_of`: images -> normalised patches in merge order.
2. `vision_tokens`: patches -> merged vision tokens; `encode` does both.
3. `rotary`: positions (3 axes) -> cosines and sines.
4. `language_hidden`: embeddings -> hidden states, under any attention mask.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from pipeline.finetune.prompter.prompter_model import IMAGE_MEAN, IMAGE_STD
from pipeline.finetune.prompter.samples import GRID

if TYPE_CHECKING:
    import torch
    from _typeshed import DataclassInstance
    from torch import Tensor
    from torch.nn import Module

N_IMAGE_TOKENS = GRID * GRID
WINDOW_CELLS = 3
"""Side of an attention window in merged cells. It divides GRID, so all windows are full."""
PATCHES_SIDE = 2 * GRID
PATCH_PX = 14


def fast_products(device_type: str) -> AbstractContextManager[object]:
    """Context in which matrix products use bfloat16, where that is faster, and float32 elsewhere.

    It is faster on a GPU, and on a CPU with AMX tiles or AVX-512's bf16 products. Without these instructions
    a CPU computes bfloat16 more slowly than float32.
    """
    import torch

    pays = device_type != "cpu" or torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    context: AbstractContextManager[object] = torch.autocast(device_type, torch.bfloat16, enabled=pays)
    return context


def patches_of(rgb: Tensor) -> Tensor:
    """Cut images (B, 252, 252, 3), uint8 or float 0..255, into normalised patches (B, 324, 588) float32.

    Cells come in raster order, each with its 2 x 2 patches.
    """
    import torch

    mean = torch.tensor(IMAGE_MEAN, device=rgb.device) * 255
    std = torch.tensor(IMAGE_STD, device=rgb.device) * 255
    image = (rgb.float() - mean) / std
    batch = image.shape[0]
    cut = image.view(batch, GRID, 2, PATCH_PX, GRID, 2, PATCH_PX, 3).permute(0, 1, 4, 2, 5, 7, 3, 6)
    return cut.reshape(batch, PATCHES_SIDE**2, 3 * PATCH_PX * PATCH_PX)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    import torch

    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + turned * sin


def _norm(x: Tensor, module: Module) -> Tensor:
    from torch.nn import functional

    result: Tensor = functional.rms_norm(x, x.shape[-1:], module.weight.to(x.dtype), module.variance_epsilon)
    return result


def _gated(x: Tensor, mlp: Module) -> Tensor:
    from torch.nn import functional

    result: Tensor = mlp.down_proj(functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x))
    return result


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attend; returns the weighted values and the attention (B, heads, S, S_all).

    `mask` is additive and broadcastable to the attention. Plain matrix products are used: for these short
    sequences, on CPUs with bfloat16 products, they train up to ten times faster than the fused kernel.
    """
    import torch

    with torch.autocast(query.device.type, enabled=False):
        score = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if mask is not None:
            score = score + mask.to(score.dtype)
        attention = torch.softmax(score, dim=-1)
        return attention @ value, attention


def _window_order() -> Tensor:
    """List the raster indexes (81,) of the merged cells, window by window."""
    import torch

    side = GRID // WINDOW_CELLS
    return (
        torch.arange(N_IMAGE_TOKENS)
        .view(side, WINDOW_CELLS, side, WINDOW_CELLS)
        .permute(0, 2, 1, 3)
        .reshape(-1)
    )


def _vision_angles(head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Compute cosines and sines (324, head_dim) for patches in merge order.

    The base is 10000; the first half of the dimensions encodes rows, the second columns.
    """
    import torch

    index = torch.arange(PATCHES_SIDE, device=device)
    rows = index[:, None].expand(-1, PATCHES_SIDE).reshape(GRID, 2, GRID, 2).permute(0, 2, 1, 3).reshape(-1)
    cols = index[None, :].expand(PATCHES_SIDE, -1).reshape(GRID, 2, GRID, 2).permute(0, 2, 1, 3).reshape(-1)
    spatial = head_dim // 2
    frequency = 1.0 / (10000.0 ** (torch.arange(0, spatial, 2, device=device).float() / spatial))
    angle = torch.cat([rows[:, None] * frequency, cols[:, None] * frequency], dim=1)
    angle = torch.cat([angle, angle], dim=1)
    return angle.cos(), angle.sin()


def vision_tokens(vision: Module, patches: Tensor) -> Tensor:
    """Run tower and merger: patches (B, 324, 588) -> tokens (B, 81, text width) in raster order."""
    import torch
    from torch.nn import functional

    batch, count, features = patches.shape
    order = _window_order().to(patches.device)
    kernel = vision.patch_embed.proj.weight
    cut = patches.view(batch, N_IMAGE_TOKENS, 4, features)[:, order].reshape(batch, count, features)
    x = functional.linear(cut, kernel.sum(2).flatten(1))
    heads = vision.config.num_heads
    head_dim = x.shape[-1] // heads
    cos, sin = (
        part.view(N_IMAGE_TOKENS, 4, -1)[order].reshape(count, -1).to(x.dtype)
        for part in _vision_angles(head_dim, patches.device)
    )
    n_windows = (GRID // WINDOW_CELLS) ** 2
    for index, block in enumerate(vision.blocks):
        qkv = (
            block.attn.qkv(_norm(x, block.norm1))
            .view(batch, count, 3, heads, head_dim)
            .permute(2, 0, 3, 1, 4)
        )
        query = _rotate(qkv[0], cos, sin)
        key = _rotate(qkv[1], cos, sin)
        value = qkv[2]
        if index not in vision.fullatt_block_indexes:
            query, key, value = (
                part.reshape(batch, heads * n_windows, count // n_windows, head_dim)
                for part in (query, key, value)
            )
        seen = _attend(query, key, value)[0].reshape(batch, heads, count, head_dim)
        x = x + block.attn.proj(seen.transpose(1, 2).reshape(batch, count, -1))
        x = x + _gated(_norm(x, block.norm2), block.mlp)
    merger = vision.merger
    merged: Tensor = merger.mlp(_norm(x, merger.ln_q).reshape(batch, N_IMAGE_TOKENS, -1))
    return merged[:, torch.argsort(order)]


def encode(vision: Module, rgb: Tensor) -> Tensor:
    """Encode images (B, 252, 252, 3) uint8 to vision tokens (B, 81, width), in bfloat16 where that helps."""
    with fast_products(rgb.device.type):
        return vision_tokens(vision, patches_of(rgb))


def to_device[T: DataclassInstance](batch: T, device: str) -> T:
    """Move every tensor of a dataclass to `device`."""
    return replace(batch, **{part.name: getattr(batch, part.name).to(device) for part in fields(batch)})


def rotary(text_model: Module, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Compute cosines and sines (B, 1, S, head_dim) float32 of positions (3, B, S)."""
    embedding = text_model.rotary_emb
    angle = position_ids[..., None].float() * embedding.inv_freq.float()
    sections = angle.split(embedding.mrope_section, dim=-1)
    import torch

    angle = torch.cat([section[axis] for axis, section in enumerate(sections)], dim=-1)
    angle = torch.cat([angle, angle], dim=-1)[:, None]
    return angle.cos(), angle.sin()


@dataclass(slots=True)
class Memory:
    """Keys and values of the tokens so far, one pair per layer, each (B, kv heads, S, head_dim)."""

    keys: list[Tensor]
    values: list[Tensor]


@dataclass(kw_only=True, slots=True)
class Probe:
    """Inner states of the language model that training needs. `language_hidden` fills them in."""

    after: tuple[int, ...]
    """Layers whose hidden states are kept, without normalisation."""
    attention_of: int
    """The layer whose attention is kept."""
    states: list[Tensor] = field(default_factory=list)
    attention: Tensor | None = None
    """Attention of that layer, (B, heads, S, S_all)."""


def language_hidden(
    text_model: Module,
    embeds: Tensor,
    *,
    angles: tuple[Tensor, Tensor],
    mask: Tensor,
    memory: Memory | None = None,
    probe: Probe | None = None,
) -> Tensor:
    """Compute the normalised hidden states after the last layer.

    embeds: (B, S, d); angles: from `rotary`, for these S positions; mask: (B, 1, S, S_all) float, 0 where a
    token attends, very negative where not. With `memory`, new keys and values are appended to it in place,
    and S_all counts old and new ones.
    """
    import torch

    x = embeds
    batch, count, _ = x.shape
    for index, layer in enumerate(text_model.layers):
        attention = layer.self_attn
        head_dim = attention.head_dim
        seen = _norm(x, layer.input_layernorm)
        cos = angles[0].to(seen.dtype)
        sin = angles[1].to(seen.dtype)
        query = _rotate(attention.q_proj(seen).view(batch, count, -1, head_dim).transpose(1, 2), cos, sin)
        key = _rotate(attention.k_proj(seen).view(batch, count, -1, head_dim).transpose(1, 2), cos, sin)
        value = attention.v_proj(seen).view(batch, count, -1, head_dim).transpose(1, 2)
        query, key = query.to(value.dtype), key.to(value.dtype)
        if memory is not None:
            if index < len(memory.keys):
                key = torch.cat([memory.keys[index], key], dim=2)
                value = torch.cat([memory.values[index], value], dim=2)
                memory.keys[index], memory.values[index] = key, value
            else:
                memory.keys.append(key)
                memory.values.append(value)
        groups = attention.num_key_value_groups
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        out, attention_map = _attend(query, key, value, mask)
        x = x + attention.o_proj(out.transpose(1, 2).reshape(batch, count, -1))
        x = x + _gated(_norm(x, layer.post_attention_layernorm), layer.mlp)
        if probe is not None:
            probe.states.extend([x] if index in probe.after else [])
            probe.attention = attention_map if index == probe.attention_of else probe.attention
    return _norm(x, text_model.norm)
