"""How much memory a prompter's engine needs at least, from config.json and the sizes of files.

1. `shape_of` reads what the key-value cache follows from: layers, key-value heads and their width.
2. `engine_memory` gives the bytes of the weights in the numbers that they are served in, and of the cache
   for one request of the greatest length and for all that may be in the engine at once.

What activations and compiled graphs take comes on top. vLLM measures it when it starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.prompt.vllm_engine import GIB, VllmOptions

NUMBER_BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}
"""Bytes of a number, by its type in vLLM's words and in those of config.json."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineShape:
    """What a checkpoint's memory follows from. None: config.json does not say it."""

    layers: int | None = None
    kv_heads: int | None = None
    head_width: int | None = None
    """In numbers."""
    stored: str = "bfloat16"
    """Type of the numbers in the files."""

    @property
    def cache_numbers(self) -> int | None:
        """Numbers that the cache holds for a token: a key and a value per layer and head."""
        if self.layers is None or self.kv_heads is None or self.head_width is None:
            return None
        return 2 * self.layers * self.kv_heads * self.head_width


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineMemory:
    """Bytes that an engine needs. None: unknown."""

    weights: int | None
    cache_one: int | None
    """Key-value cache of one request of max_model_len tokens; without it the engine does not start."""
    cache_all: int | None
    """Cache of all requests that may be in the engine at once; with less, some wait."""
    served: str
    """Type of the numbers of weights and cache."""

    @property
    def least(self) -> int | None:
        """Weights and the cache of one request. None: not all of it is known."""
        return None if self.weights is None or self.cache_one is None else self.weights + self.cache_one


def shape_of(config: Mapping[str, Any]) -> EngineShape:
    """Read the shape of the language model from config.json. Its keys are there or under `text_config`."""
    text = config.get("text_config")
    text = {**config, **text} if isinstance(text, Mapping) else config
    heads = _whole(text.get("num_attention_heads"))
    hidden = _whole(text.get("hidden_size"))
    head = _whole(text.get("head_dim"))
    if head is None and heads and hidden:
        head = hidden // heads
    stored = text.get("dtype") or text.get("torch_dtype") or "bfloat16"
    return EngineShape(
        layers=_whole(text.get("num_hidden_layers")),
        kv_heads=_whole(text.get("num_key_value_heads")) or heads,
        head_width=head,
        stored=str(stored).removeprefix("torch."),
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def engine_memory(shape: EngineShape, options: VllmOptions, *, weights_bytes: int | None) -> EngineMemory:
    """Work out what an engine needs. `weights_bytes`: size of the weights as they are stored."""
    served = shape.stored if options.dtype == "auto" else options.dtype
    size = NUMBER_BYTES.get(served, 2)
    stored = NUMBER_BYTES.get(shape.stored, 2)
    numbers = shape.cache_numbers
    one = None if numbers is None else numbers * size * options.max_model_len
    fixed = None if options.kv_cache_gib is None else int(options.kv_cache_gib * GIB)
    return EngineMemory(
        weights=None if weights_bytes is None else weights_bytes * size // stored,
        cache_one=one if fixed is None else fixed,
        cache_all=fixed if fixed is not None or one is None else one * options.max_num_seqs,
        served=served,
    )
