"""Answers come back as they were kept; failed ones are not; prompts lose boxes or points."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from evaluate.sample_worlds import SHAPE, context, image, rectangle, sample
from prompt.fakes_prompt import FakePrompter

from pipeline.evaluate.benchmark import sample_steps
from pipeline.evaluate.benchmark.kept_answers import KeptAnswers, with_parts
from pipeline.evaluate.benchmark.sample_steps import SamplePrompter, SampleReader
from pipeline.evaluate.benchmark.truth_models import image_tile
from pipeline.schema.tile_answers import Prompt, Reason, TilePrompts, TileStatus

PROMPT = Prompt(
    box_xyxy=(2.0, 3.0, 8.0, 9.0), points_xy=((4.5, 5.5), (6.5, 5.5)), point_labels=(1, 1), label="tank"
)
ANSWER = TilePrompts(
    tile_id="t", query_index=0, status=TileStatus.FOUND, reason=Reason.NONE, prompts=(PROMPT,), reply="[...]"
)
FAILED = TilePrompts(
    tile_id="t", query_index=1, status=TileStatus.FAILED, reason=Reason.MALFORMED, error="no list"
)


def test_answers_come_back_as_they_were_kept(tmp_path: Path) -> None:
    kept = KeptAnswers(str(tmp_path / "answers"))
    assert kept.read("p00000") is None
    kept.write("p00000", [ANSWER])
    assert kept.read("p00000") == (ANSWER,)
    kept.write("p00001", [ANSWER, FAILED])
    assert kept.read("p00001") is None


def test_without_a_folder_nothing_is_kept() -> None:
    kept = KeptAnswers(None)
    kept.write("p00000", [ANSWER])
    assert not kept.on
    assert kept.read("p00000") is None


def test_prompts_lose_boxes_or_points() -> None:
    (box,) = with_parts([ANSWER], "box")[0].prompts
    (points,) = with_parts([ANSWER], "points")[0].prompts
    assert (box.box_xyxy, box.points_xy, box.label) == (PROMPT.box_xyxy, (), "tank")
    assert (points.box_xyxy, points.points_xy) == (None, PROMPT.points_xy)
    assert with_parts([ANSWER, FAILED], "all") == (ANSWER, FAILED)
    bare = replace(ANSWER, prompts=(box, points))
    assert with_parts([bare], "points")[0].prompts[0] == box
    assert with_parts([bare], "box")[0].prompts[1] == points


def test_a_second_evaluation_that_asks_the_same_builds_no_prompter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = image_tile(0, SHAPE).tile_id, "where is s?"
    built = []

    def build(_: object) -> FakePrompter:
        built.append(FakePrompter({key: (PROMPT,)}))
        return built[-1]

    monkeypatch.setattr(sample_steps, "_build_prompter", build)
    images = [image("a", [sample("s", rectangle(3, 2, 9, 8))])]
    answers = []
    for name, parts in (("one", "all"), ("two", "box")):
        given = context(images, tmp_path / name, answers_dir=str(tmp_path / "answers"), prompt_parts=parts)
        prompter = SamplePrompter(given)
        answers.append(asyncio.run(prompter.prompt(SampleReader(given).read(0))))
        prompter.close()
    assert len(built) == 1
    assert answers[0][0].prompts[0].points_xy == PROMPT.points_xy
    assert answers[1][0].prompts[0].points_xy == ()
