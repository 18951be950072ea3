"""The vLLM prompter's own decisions, with a scripted engine in vLLM's place. The real engine:
test_vllm_engine.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes_engine import EchoRenderer
from prompt_tiles import grid, lattice, tile_image

from pipeline.errors import ModelError
from pipeline.prompt import vllm_prompter
from pipeline.prompt.box_margins import BoxMargins
from pipeline.prompt.prompter import Prompter
from pipeline.prompt.reply.released_parser import ParserName
from pipeline.prompt.vllm_engine import VllmOptions
from pipeline.prompt.vllm_prompter import VllmPrompter
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Reason, TilePrompts, TileStatus

_: type[Prompter] = VllmPrompter

GOOD = '<think>I see some.</think><answer>[{"positive_points":[[63,126]],"bbox_2d":[0,0,126,252]}]</answer>'
ABSENT = "<think>I see none.</think><answer>[]</answer>"
BAD = "bbox bbox bbox"


@dataclass
class ScriptedEngine:
    """Answers by calling `script(query, attempt)`, which gives (text, finish reason) or raises."""

    script: Callable[[str, int], tuple[str, str]]
    errored: bool = False
    log: list[tuple[str, str]] = field(default_factory=list)
    """("start" | "end", query) in the order of events."""
    sampling: list[Any] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    delay_s: float = 0.0
    closed: int = 0
    n_running: int = 0
    most_running: int = 0

    @property
    def renderer(self) -> EchoRenderer:
        return EchoRenderer()

    async def generate(self, request: dict[str, Any], sampling: Any, _request_id: str) -> AsyncIterator[Any]:
        query = request["prompt"].removeprefix("user: <image>Find: ")
        attempt = sum(1 for what, asked in self.log if (what, asked) == ("start", query))
        self.log.append(("start", query))
        self.sampling.append(sampling)
        self.requests.append(request)
        self.n_running += 1
        self.most_running = max(self.most_running, self.n_running)
        try:
            await asyncio.sleep(self.delay_s)
            text, reason = self.script(query, attempt)
            for piece, finished in ((text[:3], None), (text, reason)):
                completion = SimpleNamespace(token_ids=[7, 8], text=piece, finish_reason=finished)
                yield SimpleNamespace(outputs=[completion], num_cached_tokens=2, prompt_token_ids=[1, 2, 3])
                await asyncio.sleep(self.delay_s)
        finally:
            self.n_running -= 1
        self.log.append(("end", query))

    def shutdown(self) -> None:
        self.closed += 1


class PlainProcessor:
    """Of the transformers processor what the prompter uses."""

    image_processor = SimpleNamespace(
        to_dict=lambda: {"patch_size": 14, "merge_size": 2, "min_pixels": 63504, "max_pixels": 63504}
    )

    def apply_chat_template(
        self, messages: list[dict[str, Any]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        assert (tokenize, add_generation_prompt) == (False, True)
        (message,) = messages  # the embedded profile sends no system message
        kinds = [part["type"] for part in message["content"]]
        assert kinds == ["image", "text"], "image first, query last"
        return f"{message['role']}: <image>{message['content'][1]['text']}"


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[VllmPrompter, ScriptedEngine]]:
    def built(
        script: Callable[[str, int], tuple[str, str]], parser: ParserName = "robust", **options: Any
    ) -> tuple[VllmPrompter, ScriptedEngine]:
        engine = ScriptedEngine(script)
        monkeypatch.setattr(vllm_prompter, "bring_checkpoint", lambda path, _: path)
        monkeypatch.setattr(vllm_prompter, "load_processor", lambda *_: PlainProcessor())
        monkeypatch.setattr(vllm_prompter, "start_engine", lambda *_: engine)
        monkeypatch.setattr(vllm_prompter, "answer_sampling", lambda **asked: SimpleNamespace(**asked))
        return VllmPrompter("owner/model", VllmOptions(profile="embedded", **options), parser=parser), engine

    return built


def image(seed: int = 0) -> TileImage:
    """A read window of 50 x 50 px (a corner tile: core 40 px and one halo)."""
    return tile_image(lattice(grid(), tile_px=60, halo_px=10), seed=seed)


def ask(prompter: VllmPrompter, *queries: str) -> list[TilePrompts]:
    return asyncio.run(prompter.prompt(image(), list(queries)))


def test_outcomes_in_order(build: Any) -> None:
    replies = {"tanks": (GOOD, "stop"), "ships": (ABSENT, "stop"), "soup": (BAD, "stop")}
    prompter, _ = build(lambda query, _attempt: replies[query])
    found, absent, failed = ask(prompter, "tanks", "ships", "soup")
    assert (found.status, found.reason, found.query_index, found.n_calls) == (
        TileStatus.FOUND,
        Reason.NONE,
        0,
        1,
    )
    (prompt,) = found.prompts
    assert prompt.box_xyxy == (0, 0, 25, 50)  # half of the width of a 50 px window, all of its height
    assert prompt.points_xy == ((12.5, 25.0),)
    assert (found.reply, found.rationale) == (GOOD, "I see some.")
    assert (absent.status, absent.reason, absent.prompts, absent.query_index) == (
        TileStatus.EMPTY,
        Reason.PROMPTER,
        (),
        1,
    )
    assert (failed.status, failed.reason, failed.reply, failed.n_calls) == (
        TileStatus.FAILED,
        Reason.MALFORMED,
        BAD,
        2,
    )
    assert failed.error
    assert prompter.n_calls == 4
    assert prompter.n_cached_tokens == 8


@pytest.mark.parametrize("retry", [0, 1, 3])
def test_an_absent_query_costs_one_call_a_tile(
    build: Callable[..., tuple[VllmPrompter, ScriptedEngine]], retry: int
) -> None:
    prompter, engine = build(lambda _query, _attempt: (ABSENT, "stop"), retry=retry)

    async def ask_all() -> list[list[TilePrompts]]:
        return [await prompter.prompt(image(seed), ["ships", "tanks without pools"]) for seed in range(4)]

    answers = [answer for tile in asyncio.run(ask_all()) for answer in tile]
    assert [(answer.status, answer.prompts, answer.n_calls) for answer in answers] == [
        (TileStatus.EMPTY, (), 1)
    ] * 8
    asked = [query for what, query in engine.log if what == "start"]
    assert (asked.count("ships"), asked.count("tanks without pools")) == (4, 4)
    assert prompter.n_calls == 8


def test_boxes_are_moved_in_pixels_of_the_window(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: 0..25 x 0..50 of a window of 50 x 50 px, 0.2 w = 5 and 0.1 h = 5, and points stay."""
    build(lambda *_: (GOOD, "stop"))
    margins = BoxMargins(left=0.4, right=0.2, top=-0.1, bottom=0.1)
    prompter = VllmPrompter("owner/model", VllmOptions(profile="embedded"), margins=margins)
    ((prompt,),) = [answer.prompts for answer in ask(prompter, "tanks")]
    assert prompt.box_xyxy == (0, 5, 30, 50)
    assert prompt.points_xy == ((12.5, 25.0),)


def test_a_second_attempt_can_succeed(build: Any) -> None:
    prompter, engine = build(lambda _query, attempt: (GOOD if attempt else BAD, "stop"))
    (answer,) = ask(prompter, "tanks")
    assert (answer.status, answer.reply, answer.n_calls) == (TileStatus.FOUND, GOOD, 2)
    assert [(s.attempt, s.max_tokens) for s in engine.sampling] == [(0, 640), (1, 640)]
    assert engine.sampling[0].stream
    assert not engine.sampling[1].stream


@pytest.mark.parametrize("retry", [0, 2])
def test_number_of_retries(build: Any, retry: int) -> None:
    prompter, _ = build(lambda _query, _attempt: (BAD, "stop"), retry=retry)
    (answer,) = ask(prompter, "tanks")
    assert (answer.reason, answer.n_calls) == (Reason.MALFORMED, 1 + retry)


def test_the_parser_can_be_the_released_one(build: Any) -> None:
    """One bad item refuses the reply; a point outside its box and a box outside the image are passed on."""
    outside = '<answer>[{"positive_points":[[504,126]],"bbox_2d":[-126,252,378,0]}]</answer>'
    replies = {"half": GOOD.replace("[{", '["a tank",{'), "outside": outside, "ships": ABSENT}
    prompter, _ = build(lambda query, _attempt: (replies[query], "stop"), parser="think2seg", retry=0)
    half, passed, absent = ask(prompter, *replies)
    assert (half.status, half.reason, half.n_calls, half.prompts) == (
        TileStatus.FAILED,
        Reason.MALFORMED,
        1,
        (),
    )
    assert "one bad item refuses the reply" in half.error
    (prompt,) = passed.prompts
    assert prompt.box_xyxy == (-25, 50, 75, 0)  # 252 px of the frame are 50 px of the window
    assert prompt.points_xy == ((100.0, 25.0),)
    assert (absent.status, absent.reason) == (TileStatus.EMPTY, Reason.PROMPTER)
    robust, _ = build(lambda query, _attempt: (replies[query], "stop"), retry=0)
    half, mended, _ = ask(robust, *replies)
    assert (half.status, half.n_dropped) == (TileStatus.FOUND, 1)
    assert (mended.prompts[0].box_xyxy, mended.prompts[0].points_xy) == ((0, 0, 50, 50), ())


def test_token_limit_keeps_complete_items_without_a_retry(build: Any) -> None:
    cut = GOOD.removesuffix("]</answer>") + ',{"positive_points":[[200'
    prompter, _ = build(lambda _query, _attempt: (cut, "length"))
    (answer,) = ask(prompter, "tanks")
    assert (answer.status, len(answer.prompts), answer.truncated_reply, answer.n_dropped, answer.n_calls) == (
        TileStatus.FOUND,
        1,
        True,
        1,
        1,
    )


def test_the_first_query_warms_the_cache_for_the_others(build: Any) -> None:
    prompter, engine = build(lambda _query, _attempt: (ABSENT, "stop"))
    engine.delay_s = 0.02
    ask(prompter, "a", "b", "c")
    starts = [query for what, query in engine.log if what == "start"]
    assert starts[0] == "a"
    assert engine.most_running == 3, "the others start on the first token, not on the first reply"
    before_others = engine.log[: engine.log.index(("start", "b"))]
    assert before_others == [("start", "a")]
    ids = {request["multi_modal_uuids"]["image"][0] for request in engine.requests}
    assert len(ids) == 1


def test_images_are_told_apart_and_squashed_to_the_profile(build: Any) -> None:
    prompter, engine = build(lambda _query, _attempt: (ABSENT, "stop"))

    async def go() -> None:
        for seed in (0, 1, 0):
            await prompter.prompt(image(seed), ["a"])

    asyncio.run(go())
    first, other, again = (request["multi_modal_uuids"]["image"][0] for request in engine.requests)
    assert first == again != other
    assert all(request["multi_modal_data"]["image"].size == (252, 252) for request in engine.requests)
    pixels = np.asarray(engine.requests[0]["multi_modal_data"]["image"])
    assert pixels.shape == (252, 252, 3)
    assert abs(float(pixels.mean()) - float(image(0).rgb.mean())) < 3


def test_a_failing_request_fails_its_query_only(build: Any) -> None:
    def script(query: str, _attempt: int) -> tuple[str, str]:
        if query == "bad":
            raise ValueError("prompt is too long")
        return GOOD, "stop"

    prompter, _ = build(script)
    bad, good = ask(prompter, "bad", "good")
    assert (bad.status, bad.reason, bad.n_calls) == (TileStatus.FAILED, Reason.MODEL_ERROR, 1)
    assert "prompt is too long" in bad.error
    assert good.status is TileStatus.FOUND


def test_an_aborted_request_is_a_model_error(build: Any) -> None:
    prompter, _ = build(lambda _query, _attempt: (ABSENT, "abort"))
    (answer,) = ask(prompter, "a")
    assert (answer.status, answer.reason) == (TileStatus.FAILED, Reason.MODEL_ERROR)


def test_timeout(build: Any) -> None:
    prompter, engine = build(lambda _query, _attempt: (GOOD, "stop"), timeout_s=0.05)
    engine.delay_s = 5.0
    (answer,) = ask(prompter, "a")
    assert (answer.status, answer.reason) == (TileStatus.FAILED, Reason.TIMEOUT)
    assert "0.05 s" in answer.error


def test_waiting_for_a_slot_is_not_part_of_the_timeout(build: Any) -> None:
    prompter, engine = build(lambda _query, _attempt: (GOOD, "stop"), timeout_s=2.0, max_num_seqs=1)
    engine.delay_s = 0.1
    answers = ask(prompter, *"abcdefgh")
    assert [a.status for a in answers] == [TileStatus.FOUND] * 8  # three pauses of 0.1 s each, 2.4 s in all
    assert engine.most_running == 1


def test_a_dead_engine_raises_after_all_queries_ended(build: Any) -> None:
    def script(_query: str, _attempt: int) -> tuple[str, str]:
        engine.errored = True
        raise RuntimeError("EngineCore encountered an issue")

    prompter, engine = build(script)
    with pytest.raises(ModelError, match="died") as caught:
        ask(prompter, "a", "b")
    assert caught.value.retryable  # in a fresh process
    assert engine.n_running == 0


def test_one_event_loop_only(build: Any) -> None:
    prompter, _ = build(lambda _query, _attempt: (ABSENT, "stop"))
    ask(prompter, "a")
    with pytest.raises(ModelError, match="one event loop"):
        ask(prompter, "a")


def test_identity_and_close(build: Any) -> None:
    prompter, engine = build(lambda _query, _attempt: (ABSENT, "stop"))
    assert prompter.model_id == "owner/model@main+embedded"
    prompter.close()
    prompter.close()
    assert engine.closed >= 1


def test_what_the_engine_leaves_to_its_loop_is_done_when_the_loop_stands_still(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As vLLM does it: an open loop that is not the current one is asked to close the sockets, and here
    nobody would run it again.
    """
    prompter, engine = build(lambda _query, _attempt: (ABSENT, "stop"))
    closed: list[str] = []
    with asyncio.Runner() as runner:
        runner.run(prompter.prompt(image(), ["a"]))
        loop = runner.get_loop()
        monkeypatch.setattr(engine, "shutdown", lambda: loop.call_soon_threadsafe(closed.append, "sockets"))
        prompter.close()
        assert closed == ["sockets"]
