"""The gate of a vision-language model, over a scripted engine.

The real one: tests/integration/test_gate_vllm.py.
"""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from fakes_engine import DecidingEngine, deciding_prompter
from prompt_tiles import grid, lattice, tile_image

from pipeline.errors import ModelError
from pipeline.prompt.looks.gate import Gate, tile_look
from pipeline.prompt.looks.vllm_gate import VllmGate
from pipeline.prompt.profile import Decision

_: type[Gate] = VllmGate

DECISION = Decision(yes=("yes",), no=("no",), user="Is there {query}?", image_px=(28, 56))


def test_a_look_gives_the_probability_of_each_query(monkeypatch: pytest.MonkeyPatch) -> None:
    odds = {"Is there tanks?|": math.log(4.0), "Is there lakes?|": 0.0}
    engine = DecidingEngine(odds.__getitem__)
    gate = VllmGate(deciding_prompter(monkeypatch, engine), DECISION)
    look = tile_look(tile_image(lattice(grid())))
    assert asyncio.run(gate.look(look, ["tanks", "lakes"])) == pytest.approx([0.8, 0.5])
    shown = engine.requests[0]["multi_modal_data"]["image"]
    assert shown.size == (28, 56)
    assert abs(float(np.asarray(shown).mean()) - float(look.rgb.mean())) < 3
    assert engine.requests[0]["multi_modal_uuids"]["image"][0].startswith(look.key)


def test_a_request_that_fails_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def odds(text: str) -> float:
        if "tanks" in text:
            raise ValueError("too long")
        return 0.0

    gate = VllmGate(deciding_prompter(monkeypatch, DecidingEngine(odds)), DECISION)
    assert asyncio.run(gate.look(tile_look(tile_image(lattice(grid()))), ["tanks", "lakes"])) == [None, 0.5]


def test_texts_that_are_no_token_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    prompter = deciding_prompter(monkeypatch, DecidingEngine(lambda _: 0.0))
    with pytest.raises(ModelError, match="one token"):
        VllmGate(prompter, Decision(yes=("perhaps",), no=("no",)))
