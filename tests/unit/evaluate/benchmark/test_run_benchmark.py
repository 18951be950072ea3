"""Where the verifier of an evaluation sits: Ray's actors, called without Ray, and the local runner."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from evaluate.sample_worlds import SHAPE, context, image, rectangle, sample
from prompt.fakes_prompt import FakePrompter
from prompt.fakes_verifier import FakeVerifier
from segment.fakes_segment import FakeSegmenter

from pipeline.errors import ModelError
from pipeline.evaluate.benchmark import run_benchmark, sample_steps
from pipeline.evaluate.benchmark.sample_records import read_part
from pipeline.evaluate.benchmark.sample_steps import EvaluationContext
from pipeline.evaluate.benchmark.truth_models import image_tile
from pipeline.prompt import build_prompter
from pipeline.prompt.looks.verifier import VerifierOptions
from pipeline.schema.tile_answers import Prompt

KEY = image_tile(0, SHAPE).tile_id, "where is s?"
TABLE = {KEY: (Prompt(box_xyxy=(2.0, 3.0, 8.0, 9.0)), Prompt(box_xyxy=(20.0, 10.0, 26.0, 16.0)))}


class Built:
    """In the place of what builds models; keeps with which prompter each verifier was built."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, verifier: type[FakeVerifier] = FakeVerifier) -> None:
        self.prompters: list[FakePrompter] = []
        self.sharing: list[object] = []
        self._verifier = verifier
        monkeypatch.setattr(sample_steps, "_build_prompter", self.prompter)
        monkeypatch.setattr(sample_steps, "_build_segmenter", lambda _: FakeSegmenter())
        for module in (build_prompter, sample_steps):
            monkeypatch.setattr(module, "build_verifier", self.verifier)

    def prompter(self, _: EvaluationContext) -> FakePrompter:
        self.prompters.append(FakePrompter(TABLE))
        return self.prompters[-1]

    def verifier(
        self, options: VerifierOptions, prompter: object, grid: object, built: object = None
    ) -> FakeVerifier | None:
        if not options.on:
            return None
        self.sharing.append(built)
        return self._verifier({KEY: (0.9, 0.1)})


def made(folder: Path, mode: Any = "crop") -> EvaluationContext:
    images = [image("a", [sample("s", rectangle(3, 2, 9, 8))])]
    return context(images, folder, verifier=VerifierOptions(mode=mode, threshold=0.5))


def through_actors(given: EvaluationContext) -> list[dict[str, Any]]:
    """Part 0 by the actors of Ray, one after the other in this process."""
    asking = run_benchmark._PromptActor(given)
    scoring = run_benchmark._ScoreActor(given)
    read = run_benchmark._ReadActor(given)(pa.Table.from_pylist([{"part": 0}]))

    async def ask() -> list[pa.Table]:
        return [batch async for batch in asking(read)]

    (answered,) = asyncio.run(ask())
    rows: list[dict[str, Any]] = scoring(answered).to_pylist()
    return rows


@pytest.mark.parametrize(("mode", "predicted_px"), [("crop", 36), ("off", 72)])
def test_on_ray_it_is_built_where_masks_are_made_and_here_it_shares_the_prompter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, predicted_px: int
) -> None:
    built = Built(monkeypatch)
    ray = made(tmp_path / "ray", mode)
    here = made(tmp_path / "here", mode)
    (summary,) = through_actors(ray)
    assert (summary["found"], summary["n_embeddings"]) == (1, 1)
    assert built.sharing == ([None] if mode == "crop" else [])
    assert [one.found for one in run_benchmark._run_local(here, [0])] == [1]
    assert built.sharing == ([None, built.prompters[-1]] if mode == "crop" else [])
    assert ray.part_path(0).read_bytes() == here.part_path(0).read_bytes()
    (record,) = read_part(ray.part_path(0), ray.fingerprint)
    assert (record.predicted_px, record.common_px) == (predicted_px, 36)
    assert record.n_rejected == (1 if mode == "crop" else 0)


@pytest.mark.parametrize("retryable", [True, False])
def test_a_dead_verifier_ends_its_process_so_that_ray_starts_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retryable: bool
) -> None:
    class Dead(FakeVerifier):
        async def verify(self, image: Any, query: str, masks: Any) -> list[float | None]:
            raise ModelError("the engine is gone", retryable=retryable)

    def end(code: int) -> None:
        raise SystemExit(code)

    Built(monkeypatch, Dead)
    monkeypatch.setattr("os._exit", end)
    given = made(tmp_path)
    with pytest.raises(
        SystemExit if retryable else ModelError, match="1" if retryable else "the engine is gone"
    ):
        through_actors(given)
    assert not given.part_path(0).exists()
