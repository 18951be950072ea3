"""What models need, and which device has it. Numbers by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from whole_checkpoint import weights_bytes, write_whole_checkpoint

from pipeline.errors import InputError
from pipeline.run.config import Preset, build_preset, merge_tables, preset_tables
from pipeline.run.models.device_memory import DeviceMemory
from pipeline.run.models.memory_needs import in_gb, memory_needs, require_memory

GB = 10**9


def published(name: str = "think2seg-3b", **tables: object) -> Preset:
    return build_preset(merge_tables(preset_tables(name), tables))


def gpu(gb: float) -> DeviceMemory:
    return DeviceMemory(name="GPU 0, Test", total=int(gb * GB), is_gpu=True)


def test_published_facts_serve_where_no_file_is_at_hand() -> None:
    needs = memory_needs(published(), ())
    assert needs.engine is not None
    assert needs.engine.weights == 2 * 3_754_622_976
    assert needs.engine.cache_one == 4096 * 36 * 2 * 2 * 128 * 2
    assert needs.segmenter == 4 * 46_060_610


def test_files_count_where_they_are(tmp_path: Path) -> None:
    folder = write_whole_checkpoint(tmp_path / "local")
    shape = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 40, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl", **shape}))
    weights = tmp_path / "w.pt"
    weights.write_bytes(bytes(1234))
    preset = published(
        prompter={"model": str(folder), "vllm": {"max_model_len": 100, "dtype": "float32"}},
        segmenter={"checkpoint": str(weights)},
    )
    needs = memory_needs(preset, ())
    assert needs.engine is not None
    assert needs.engine.weights == len(weights_bytes())
    assert needs.engine.cache_one == 100 * 2 * 3 * 4 * 10 * 4
    assert needs.segmenter == 1234


def test_models_without_weights_need_nothing() -> None:
    oracle = {"kind": "oracle", "model": "oracle:l.tif"}
    drawn = {"kind": "oracle", "checkpoint": "oracle:l.tif"}
    preset = build_preset({**preset_tables("embedded"), "prompter": oracle, "segmenter": drawn})
    needs = memory_needs(preset, ())
    assert (needs.engine, needs.segmenter) == (None, None)
    require_memory(needs, preset, gpu(0.001))


def test_a_gpu_that_is_too_small_is_refused() -> None:
    """7.51 GB of weights and 0.15 GB of cache in 0.65 of the device: 11.79 GB are needed."""
    preset = published()
    needs = memory_needs(preset, ())
    require_memory(needs, preset, gpu(11.8))
    said = r"Got: 7\.7 GB for 0\.65 of 11\.7 GB \(GPU 0, Test\)\. To fix: .*gpu_memory_utilization"
    with pytest.raises(InputError, match=said):
        require_memory(needs, preset, gpu(11.7))


def test_the_segmenter_needs_what_the_prompter_leaves() -> None:
    greedy = published(prompter={"vllm": {"gpu_memory_utilization": 0.99}})
    needs = memory_needs(greedy, ())
    with pytest.raises(InputError, match=r"184\.2 MB for what 0\.99 leaves of 16\.0 GB"):
        require_memory(needs, greedy, gpu(16))
    on_cpu = published(prompter={"vllm": {"gpu_memory_utilization": 0.99}}, segmenter={"device": "cpu"})
    require_memory(needs, on_cpu, gpu(16))


def test_the_memory_of_a_machine_holds_both() -> None:
    preset = published("think2seg-7b")
    needs = memory_needs(preset, ())
    least = 2 * 8_292_166_656 + 4096 * 28 * 2 * 4 * 128 * 2 + 4 * 46_060_610
    require_memory(needs, preset, DeviceMemory(name="the CPU", total=least, is_gpu=False))
    with pytest.raises(InputError, match=r"must fit .*17\.0 GB of weights and cache for 17\.0 GB"):
        require_memory(needs, preset, DeviceMemory(name="the CPU", total=least - 1, is_gpu=False))


def test_what_is_unknown_passes() -> None:
    other = published(prompter={"model": "owner/of-unknown-size"})
    needs = memory_needs(other, ())
    assert needs.engine is not None
    assert needs.engine.least is None
    require_memory(needs, other, gpu(0.001))


def test_bytes_are_told_in_decimal_units() -> None:
    assert (in_gb(7_509_245_952), in_gb(184_242_440), in_gb(10)) == ("7.5 GB", "184.2 MB", "0.0 MB")
