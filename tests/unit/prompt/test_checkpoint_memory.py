"""Memory of an engine by hand: Qwen2.5-VL-3B has 36 layers, 2 key-value heads of 128 numbers."""

from __future__ import annotations

import pytest

from pipeline.prompt.checkpoint_memory import EngineShape, engine_memory, shape_of
from pipeline.prompt.vllm_engine import VllmOptions

FLAT = {
    "hidden_size": 2048,
    "num_attention_heads": 16,
    "num_hidden_layers": 36,
    "num_key_value_heads": 2,
    "torch_dtype": "bfloat16",
}


def test_the_shape_is_read_from_both_layouts_of_config() -> None:
    shape = EngineShape(layers=36, kv_heads=2, head_width=128, stored="bfloat16")
    assert shape_of(FLAT) == shape
    nested = {"dtype": "bfloat16", "hidden_size": 1, "text_config": {**FLAT, "head_dim": 128}}
    assert shape_of(nested) == shape
    every_head = {name: value for name, value in FLAT.items() if name != "num_key_value_heads"}
    assert shape_of(every_head).kv_heads == 16
    assert shape_of({"text_config": {"model_type": "llama"}}).cache_numbers is None


def test_the_cache_is_that_of_keys_and_values() -> None:
    memory = engine_memory(
        shape_of(FLAT), VllmOptions(max_model_len=4096, max_num_seqs=64), weights_bytes=7_509_245_952
    )
    assert memory.cache_one == 4096 * 2 * 36 * 2 * 128 * 2 == 150_994_944
    assert memory.cache_all == 64 * 150_994_944
    assert memory.least == 7_509_245_952 + 150_994_944
    assert memory.served == "bfloat16"


@pytest.mark.parametrize(("dtype", "times"), [("auto", 1), ("float16", 1), ("float32", 2)])
def test_weights_take_what_they_are_served_in(dtype: str, times: int) -> None:
    memory = engine_memory(shape_of(FLAT), VllmOptions(dtype=dtype), weights_bytes=100)
    assert memory.weights == 100 * times
    assert memory.cache_one == 150_994_944 * times


def test_a_fixed_cache_counts_and_what_is_unknown_stays_so() -> None:
    fixed = engine_memory(EngineShape(), VllmOptions(kv_cache_gib=0.5), weights_bytes=10)
    assert fixed.least == 10 + 2**29
    unknown = engine_memory(EngineShape(), VllmOptions(), weights_bytes=None)
    assert (unknown.weights, unknown.cache_one, unknown.least) == (None, None, None)
