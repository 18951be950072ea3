"""The real vLLM engine on a CPU, over a Qwen2.5-VL of random weights: one engine for the whole module."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from prompt_tiles import grid, lattice, tile_image

from pipeline.errors import ModelError
from pipeline.prompt.vllm_engine import VllmOptions
from pipeline.prompt.vllm_prompter import VllmPrompter
from pipeline.schema.tile_answers import Reason, TilePrompts, TileStatus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

QUERIES = ("storage tanks", "swimming pools", "facilities that should be monitored for leaks")
MAX_TOKENS = 24


class Served:
    """A prompter and the one event loop it lives in."""

    def __init__(self, prompter: VllmPrompter, loop: asyncio.Runner) -> None:
        self.prompter = prompter
        self._loop = loop

    def ask(self, *queries: str, grey: int | None = None) -> list[TilePrompts]:
        """`grey`: every pixel has this value; None: noise."""
        image = tile_image(lattice(grid(), tile_px=60, halo_px=10))
        if grey is not None:
            image = replace(image, rgb=np.full_like(image.rgb, grey))
        return self._loop.run(self.prompter.prompt(image, list(queries)))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from tiny_checkpoint import write_tiny_checkpoint

    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))
    options = VllmOptions(
        profile="embedded",
        dtype="float32",
        max_model_len=512,
        max_tokens=MAX_TOKENS,
        max_num_seqs=8,
        kv_cache_gib=0.125,
        block_size=32,
        enforce_eager=True,
        image_cache_gib=0.1,
        gpu_memory_utilization=0.2,
    )
    prompter = VllmPrompter(str(folder), options)
    with asyncio.Runner() as loop:
        yield Served(prompter, loop)
        prompter.close()
        prompter.close()


def test_greedy_first_then_sampled_with_a_seed() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from pipeline.prompt.vllm_engine import answer_sampling

    first, second = (answer_sampling(attempt=n, max_tokens=640, stream=False) for n in (0, 1))
    assert (first.temperature, first.repetition_penalty, first.max_tokens) == (0.0, 1.0, 640)
    assert second.temperature > 0
    assert (second.seed, second.repetition_penalty) == (1, 1.0)


def test_three_queries_on_one_image(served: Served) -> None:
    before = served.prompter.n_calls, served.prompter.n_cached_tokens
    answers = served.ask(*QUERIES)
    assert [a.query_index for a in answers] == [0, 1, 2]
    assert {a.tile_id for a in answers} == {"r00000c00000"}
    for answer in answers:  # random weights write no JSON: malformed, asked once more, never "absent"
        assert (answer.status, answer.reason, answer.n_calls) == (TileStatus.FAILED, Reason.MALFORMED, 2)
        assert answer.reply
        assert answer.error
    assert served.prompter.n_calls - before[0] == 6
    # The image is 81 tokens; its first two blocks of 32 are a prefix of every request after the first.
    assert served.prompter.n_cached_tokens - before[1] >= 5 * 64


def test_the_engine_told_how_long_its_start_took(served: Served) -> None:
    times = served.prompter.load_times()
    assert set(times) == {"weights", "warm_up"}, "nothing is compiled where enforce_eager is set"
    assert all(0 <= seconds < 900 for seconds in times.values()), "of a tiny model vLLM tells 0.00 s"


def test_same_query_same_reply(served: Served) -> None:
    (one,), (two,), (other,) = (served.ask(QUERIES[0], grey=grey) for grey in (0, 0, 255))
    assert one.reply == two.reply
    assert other.reply != one.reply, "the model sees the image"


def test_token_limit_is_reported(served: Served) -> None:
    (answer,) = served.ask(QUERIES[1])
    assert answer.truncated_reply


def test_a_prompt_beyond_the_context_fails_its_query_only(served: Served) -> None:
    too_long, fine = served.ask("x" * 500, QUERIES[0])  # one token per byte: 500 and the image exceed 512
    assert (too_long.status, too_long.reason) == (TileStatus.FAILED, Reason.MODEL_ERROR)
    assert "512" in too_long.error
    assert (fine.reason, fine.n_calls) == (Reason.MALFORMED, 2)


def test_a_killed_engine_is_a_model_error(served: Served) -> None:
    """Last in this file: the engine does not come back."""
    children = [child for child in multiprocessing.active_children() if "EngineCore" in child.name]
    assert children, "the engine core runs in a process of its own"
    for child in children:
        child.kill()
        child.join(30)
    with pytest.raises(ModelError, match="died") as caught:
        served.ask(*QUERIES)
    assert caught.value.retryable
