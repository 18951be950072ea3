"""The verifier of a vision-language model, over a scripted engine.

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
from pipeline.prompt.looks.verifier import Verifier, VerifierOptions
from pipeline.prompt.looks.vllm_verifier import VllmVerifier
from pipeline.prompt.profile import Decision
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop

_: type[Verifier] = VllmVerifier

DECISION = Decision(yes=("yes",), no=("no",), user="Is this {query}?", image_px=(28, 28))
OPTIONS = VerifierOptions(mode="crop", pad=0.0, min_side=0.0)


def bright_and_dark() -> TileImage:
    """50 x 50 px, white in the columns from 25 on and black before."""
    image = tile_image(lattice(grid()))
    image.rgb[:, :25] = 0
    image.rgb[:, 25:] = 255
    return image


def square(col0: int) -> MaskCrop:
    return MaskCrop(row0=10, col0=col0, mask=np.ones((10, 10), np.bool_), score=1.0, prompt_index=0)


def test_each_mask_is_judged_by_its_own_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = DecidingEngine(lambda _: math.log(3.0))
    verifier = VllmVerifier(deciding_prompter(monkeypatch, engine), DECISION, OPTIONS, owns=False)
    answers = asyncio.run(verifier.verify(bright_and_dark(), "tanks", [square(30), square(5)]))
    assert answers == pytest.approx([0.75, 0.75])
    assert engine.texts == ["Is this tanks?|"] * 2
    shown = {float(np.asarray(r["multi_modal_data"]["image"]).mean()) for r in engine.requests}
    assert shown == {0.0, 255.0}, "one crop is all white, the other all black"
    assert asyncio.run(verifier.verify(bright_and_dark(), "tanks", [])) == []


def test_a_dead_engine_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def odds(_text: str) -> float:
        engine.errored = True
        raise RuntimeError("gone")

    engine = DecidingEngine(odds)
    verifier = VllmVerifier(deciding_prompter(monkeypatch, engine), DECISION, OPTIONS, owns=False)
    with pytest.raises(ModelError, match="died"):
        asyncio.run(verifier.verify(bright_and_dark(), "tanks", [square(30)]))


@pytest.mark.parametrize(("owns", "n_closed"), [(True, 1), (False, 0)])
def test_it_closes_only_an_engine_of_its_own(
    monkeypatch: pytest.MonkeyPatch, owns: bool, n_closed: int
) -> None:
    engine = DecidingEngine(lambda _: 0.0)
    VllmVerifier(deciding_prompter(monkeypatch, engine), DECISION, OPTIONS, owns=owns).close()
    assert engine.closed == n_closed
