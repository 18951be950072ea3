"""Published checkpoints' own shapes in the real vLLM on a CPU: prompts, visual tokens, limits, stop tokens.

Random weights of a few numbers a head, everything else as published (`published_checkpoints`). Each family
needs an engine of its own. Skipped, saying so, where the tokenizers are absent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_checkpoints import SHAPES, TOKENIZERS, write_published

from pipeline.errors import InputError
from pipeline.prompt.profile import load_profile
from pipeline.prompt.prompter_checkpoint import check_context
from pipeline.prompt.query import check_query
from pipeline.prompt.template import squash
from pipeline.prompt.vllm_engine import VllmOptions, answer_sampling
from pipeline.prompt.vllm_prompter import VllmPrompter
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.schema.tiling import RunGrid, TileLattice

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not TOKENIZERS.is_dir(), reason="no published tokenizers here: make tokenizers fetches them"
    ),
]
PROFILES = {
    "qwen2.5-vl-3b": "think2seg",
    "qwen3-vl-4b": "qwen3-vl",
    "internvl3-2b": "internvl3",
    "llava-1.5-7b": "llava-1.5",
}
N_VISUAL = {"qwen2.5-vl-3b": 900, "qwen3-vl-4b": 784, "internvl3-2b": 1280, "llava-1.5-7b": 576}
"""30 x 30 cells of 28 px in 840; 28 x 28 of 32 in 896; four tiles of 448 and the whole, 256 each; 24 x 24 of
14 in 336."""
IMAGE = {
    "qwen2.5-vl-3b": "<|image_pad|>",
    "qwen3-vl-4b": "<|image_pad|>",
    "internvl3-2b": "<IMG_CONTEXT>",
    "llava-1.5-7b": "<image>",
}
AROUND = {
    "qwen3-vl-4b": (
        "<|im_start|>user\n<|vision_start|>{image}<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
    ),
    "internvl3-2b": "<|im_start|>user\n<img>{image}</img>\n{text}<|im_end|>\n<|im_start|>assistant\n",
    "llava-1.5-7b": "<s> USER: {image} \n{text} ASSISTANT:",
}
"""The published prompt around image and text, as the engine sees it. Llama 2's tokenizer puts a space after a
special token."""
QUERY = "storage tanks"
"""A query."""

THINK2SEG = (
    "<|im_start|>system\n"
    "You are a remote sensing analysis assistant. Your task is to generate spatial prompts for the Segment "
    "Anything Model (SAM) based on a user's request.<|im_end|>\n"
    "<|im_start|>user\n"
    "<|vision_start|>{image}<|vision_end|>"
    'Please find "storage tanks", identify the target. For each target instance, provide:\n'
    "1.  `bbox_2d`: A tight bounding box.\n"
    "2.  `positive_points`: Exactly two points, placed inside the target.\n"
    "Output your thinking process in <think> </think> tags.\n"
    "Output the final answer in <answer> </answer> tags with the specified JSON format. If no targets are "
    "found, output an empty list.\n"
    "i.e. <think> thinking process here </think> \n"
    '<answer>```json[{"bbox_2d": [310,360,567,586], "positive_points": [[434, 474], [450, 460]]}, {'
    '"bbox_2d": [10,200,100,320], "positive_points": [[50, 250], [90, 300]]}]```</answer><|im_end|>\n'
    "<|im_start|>assistant\n"
)
"""What the authors' loader sends through Qwen2.5-VL's chat template, byte for byte."""


def tile(side: int = 60) -> TileImage:
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=side, height=side)
    lattice = TileLattice(grid=grid, tile_px=side, halo_px=10, block_tiles=1)
    rgb = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return TileImage(tile=lattice.tile(0, 0), rgb=rgb, valid=np.ones((side, side), dtype=np.bool_))


@dataclass(frozen=True)
class Think2Seg:
    """A prompter on Qwen2.5-VL-3B's shape, and the one loop that it lives in."""

    folder: Path
    prompter: VllmPrompter
    loop: asyncio.Runner


@pytest.fixture(scope="module")
def think2seg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Think2Seg]:
    folder = write_published(
        tmp_path_factory.mktemp("shape") / "one", "qwen2.5-vl-3b", layers=1, vision_layers=2, narrow=True
    )
    options = VllmOptions(
        dtype="float32",
        max_model_len=1400,
        max_tokens=16,
        max_num_seqs=2,
        kv_cache_gib=0.125,
        enforce_eager=True,
        image_cache_gib=0.1,
    )
    prompter = VllmPrompter(str(folder), options)
    with asyncio.Runner() as loop:
        yield Think2Seg(folder, prompter, loop)
        prompter.close()


async def generated(prompter: VllmPrompter, sampling: Any, query: str = QUERY) -> Any:
    """What the engine makes of a query, asked as the prompter asks it."""
    engine = prompter._engine  # type: ignore[attr-defined]
    request = {
        "prompt": prompter.chat_text(query),
        "multi_modal_data": {"image": squash(tile().rgb, prompter.profile)},
    }
    (rendered,) = await engine.renderer.render_cmpl_async([request])
    async for output in engine.generate(rendered, sampling, "one"):
        last = output
    return last


@pytest.mark.long
def test_the_engine_sees_the_authors_bytes_and_900_visual_tokens(think2seg: Think2Seg) -> None:
    sampling = answer_sampling(attempt=0, max_tokens=4, stream=False)
    seen = think2seg.loop.run(generated(think2seg.prompter, sampling))
    text = think2seg.prompter.tokenizer.decode(seen.prompt_token_ids)
    assert text == THINK2SEG.replace("{image}", "<|image_pad|>" * 900)


@pytest.mark.long
def test_a_tile_goes_through(think2seg: Think2Seg) -> None:
    """Random weights answer garbage: two attempts, then a row that says so."""
    (answer,) = think2seg.loop.run(think2seg.prompter.prompt(tile(), [QUERY]))
    assert (answer.status, answer.reason, answer.n_calls) == (TileStatus.FAILED, Reason.MALFORMED, 2)


@pytest.mark.long
def test_the_checkpoint_s_own_sampling_does_not_count(think2seg: Think2Seg) -> None:
    """Its generation_config has a repetition penalty of 1.05, which changes coordinates."""
    assert SHAPES["qwen2.5-vl-3b"].generation["repetition_penalty"] == 1.05
    ours = answer_sampling(attempt=0, max_tokens=12, stream=False)
    assert (ours.repetition_penalty, ours.temperature) == (1.0, 0.0)
    plain = think2seg.loop.run(generated(think2seg.prompter, ours))
    again = think2seg.loop.run(generated(think2seg.prompter, ours))
    assert list(plain.outputs[0].token_ids) == list(again.outputs[0].token_ids)


@pytest.mark.long
def test_both_stop_tokens_of_the_checkpoint_end_a_reply(think2seg: Think2Seg) -> None:
    """<|im_end|> is the tokenizer's; <|endoftext|> is known by generation_config.json alone."""
    for name, number in (("<|im_end|>", 151645), ("<|endoftext|>", 151643)):
        sampling = answer_sampling(attempt=0, max_tokens=8, stream=False)
        sampling.logit_bias = {number: 100.0}
        ended = think2seg.loop.run(generated(think2seg.prompter, sampling)).outputs[0]
        assert (ended.finish_reason, len(ended.token_ids), ended.text) == ("stop", 1, ""), name


@pytest.mark.long
def test_a_prompt_that_is_too_long_is_known_before_and_refused_by_the_engine(think2seg: Think2Seg) -> None:
    profile = load_profile("think2seg")
    query = "tanks " * 60
    limit = {"max_model_len": 1400, "max_tokens": 16}
    check_context(think2seg.folder, profile, [query.strip()], **limit)
    longer = ("tanks " * 400).strip()
    with pytest.raises(InputError, match=r"1400 for \d+ tokens, 900 of the image"):
        check_context(think2seg.folder, profile, [longer], **limit)
    (answer,) = think2seg.loop.run(think2seg.prompter.prompt(tile(), [longer]))
    assert (answer.status, answer.reason) == (TileStatus.FAILED, Reason.MODEL_ERROR)
    assert "1400" in answer.error


@pytest.mark.long
def test_special_tokens_in_a_query_are_refused(think2seg: Think2Seg) -> None:
    profile = load_profile("think2seg")
    for text in ("a <|im_end|> b", "<|image_pad|>", "<|vision_start|>", "</think>"):
        with pytest.raises(InputError, match="may not hold"):
            check_query(text)
    with pytest.raises(InputError, match="special tokens of the model"):
        check_context(think2seg.folder, profile, ["<|object_ref_start|>"], max_model_len=1400, max_tokens=16)


@pytest.mark.long
@pytest.mark.parametrize("name", ["qwen3-vl-4b", "internvl3-2b", "llava-1.5-7b"])
def test_prompts_and_visual_tokens_of_the_other_families(name: str, tmp_path: Path) -> None:
    """An engine of each in its own process, which sees the profile's image and text."""
    folder = write_published(tmp_path / "one", name, layers=1, vision_layers=2, narrow=True)
    profile = load_profile(PROFILES[name])
    options = VllmOptions(
        profile=PROFILES[name],
        dtype="float32",
        max_model_len=2048,
        max_tokens=8,
        max_num_seqs=2,
        kv_cache_gib=0.125,
        enforce_eager=True,
        image_cache_gib=0.1,
    )
    prompter = VllmPrompter(str(folder), options)
    with asyncio.Runner() as loop:
        sampling = answer_sampling(attempt=0, max_tokens=2, stream=False)
        seen = loop.run(generated(prompter, sampling))
        text = prompter.tokenizer.decode(seen.prompt_token_ids)
        prompter.close()
    image = IMAGE[name] * N_VISUAL[name]
    assert text == AROUND[name].format(image=image, text=profile.user_text(QUERY))
