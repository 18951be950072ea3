"""Training questions: about the right thing, never in a held-out wording, half of them without an answer."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.finetune.prompter_questions import SUBJECTS, QuestionSampler
from pipeline.world.classes import CLASSES
from pipeline.world.queries import HELD_OUT


@pytest.fixture(scope="module")
def sampler() -> QuestionSampler:
    return QuestionSampler()


def test_no_held_out_wording_is_ever_drawn(sampler: QuestionSampler) -> None:
    held = {query.query.lower().rstrip("?.") for query in HELD_OUT}
    rng = np.random.default_rng(0)
    drawn = {sampler.about(class_id, rng).text.lower().rstrip("?.") for class_id in range(-1, len(CLASSES)) for _ in range(800)}
    assert len(drawn) > 800
    assert not drawn & held
    assert not {text.lower().rstrip("?.") for text in sampler.corpus()} & held


def test_questions_know_what_they_are_about(sampler: QuestionSampler) -> None:
    rng = np.random.default_rng(0)
    assert sampler.about(0, rng).subject == "storage tanks"
    assert sampler.about(-1, rng).subject == "something else"
    assert len(set(SUBJECTS)) == len(CLASSES)


def test_about_a_third_of_the_questions_of_a_tile_with_objects_have_no_answer(sampler: QuestionSampler) -> None:
    rng = np.random.default_rng(0)
    held = np.array([2, 2, 5])
    about = [sampler.for_tile(held, rng).class_id for _ in range(2000)]
    absent = np.mean([class_id not in (2, 5) for class_id in about])
    assert 0.30 < absent < 0.40
    assert {2, 5, -1} < set(about)


def test_an_empty_tile_is_only_asked_about_what_it_does_not_hold(sampler: QuestionSampler) -> None:
    rng = np.random.default_rng(0)
    assert {sampler.for_tile(np.zeros(0, np.int64), rng).class_id for _ in range(300)} == set(range(-1, len(CLASSES)))
