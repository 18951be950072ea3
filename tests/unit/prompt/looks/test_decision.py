"""One-token decisions with a scripted engine in vLLM's place. The real engine:
tests/integration/test_gate_vllm.py.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fakes_engine import DecidingEngine, deciding_prompter

from pipeline.errors import ModelError
from pipeline.prompt.looks.decision import Decider, share_of_yes
from pipeline.prompt.profile import Decision

PLAIN = Decision(yes=("yes",), no=("no",), user="Is there {query}?", lead="<think>", image_px=(28, 56))
SUBJECT = Decision(yes=("yes",), no=("no",), lead_until="I see")
RGB = np.arange(60 * 50 * 3, dtype=np.uint32).reshape(60, 50, 3).astype(np.uint8)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Decider, DecidingEngine]]:
    def built(
        decision: Decision,
        odds: Callable[[str], float] = lambda _: 0.0,
        subject: Callable[[str], str] = lambda _: "about it. I see",
    ) -> tuple[Decider, DecidingEngine]:
        engine = DecidingEngine(odds, subject)
        return Decider(deciding_prompter(monkeypatch, engine), decision), engine

    return built


def test_the_probability_is_that_of_yes_among_the_decision_tokens(build: Any) -> None:
    odds = {
        "Is there tanks?|<think>": math.log(3.0),
        "Is there lakes?|<think>": -math.inf,
        "Is there pools?|<think>": 50.0,
    }
    decider, engine = build(PLAIN, odds.__getitem__)
    answers = asyncio.run(decider.ask("k", RGB, ["tanks", "lakes", "pools"]))
    assert answers == pytest.approx([0.75, 0.0, 1.0])
    assert engine.texts[0] == "Is there tanks?|<think>"
    assert {request["multi_modal_data"]["image"].size for request in engine.requests} == {(28, 56)}
    assert len({request["multi_modal_uuids"]["image"][0] for request in engine.requests}) == 1
    assert engine.most_running == 2, "the first query goes alone"
    assert len(engine.requests) == 3


def test_the_lead_is_decoded_once_per_query_on_a_grey_picture(build: Any) -> None:
    decider, engine = build(SUBJECT, subject=lambda text: f"{text.removeprefix('Find: ')} it is. I see none.")

    async def go() -> None:
        for key in ("a", "b"):
            await decider.ask(key, RGB if key == "a" else RGB[:40], ["tanks", "lakes"])

    asyncio.run(go())
    leads = [r for r, text in zip(engine.requests, engine.texts, strict=True) if text.endswith("|")]
    looks = [text for text in engine.texts if not text.endswith("|")]
    assert sorted(request["prompt"] for request in leads) == ["Find: lakes|", "Find: tanks|"]
    assert {np.asarray(request["multi_modal_data"]["image"]).tobytes() for request in leads} == {
        bytes([128]) * 252 * 252 * 3
    }
    assert sorted(looks) == sorted(["Find: tanks|tanks| it is. I see", "Find: lakes|lakes| it is. I see"] * 2)


def test_a_query_whose_lead_does_not_come_is_never_decided(build: Any) -> None:
    decider, engine = build(
        SUBJECT, odds=lambda _: 2.0, subject=lambda text: "soup" if "tanks" in text else "so I see"
    )
    assert asyncio.run(decider.ask("k", RGB, ["tanks", "lakes"])) == [
        None,
        pytest.approx(1 / (1 + math.exp(-2))),
    ]
    assert sum(not text.endswith("|") for text in engine.texts) == 1


def test_a_request_that_fails_is_not_decided_and_the_others_are(build: Any) -> None:
    def odds(text: str) -> float:
        if "tanks" in text:
            raise ValueError("too long")
        return 0.0

    decider, _ = build(PLAIN, odds)
    assert asyncio.run(decider.ask("k", RGB, ["tanks", "lakes"])) == [None, 0.5]


def test_a_dead_engine_is_a_model_error(build: Any) -> None:
    def odds(_text: str) -> float:
        engine.errored = True
        raise RuntimeError("gone")

    decider, engine = build(PLAIN, odds)
    with pytest.raises(ModelError, match="died") as caught:
        asyncio.run(decider.ask("k", RGB, ["tanks", "lakes"]))
    assert caught.value.retryable


def test_a_decision_text_must_be_one_token(build: Any) -> None:
    with pytest.raises(ModelError, match="'maybe' is 2"):
        build(Decision(yes=("yes",), no=("maybe",)))


def test_share_of_yes_by_hand() -> None:
    assert share_of_yes(
        {1: math.log(0.2), 2: math.log(0.1), 3: math.log(0.1)}, yes=(1, 2), no=(3,)
    ) == pytest.approx(0.75)
    assert share_of_yes({1: -2000.0, 3: -2001.0}, yes=(1,), no=(3,)) == pytest.approx(1 / (1 + math.exp(-1)))
    assert share_of_yes({7: 0.0}, yes=(1,), no=(3,)) is None
    assert share_of_yes({1: -math.inf, 3: -math.inf}, yes=(1,), no=(3,)) is None
