"""Training queries: about the right thing, never in a held-out wording, half of them without an answer."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.finetune.prompter.training_queries import (
    QUERIES_SHARE,
    SUBJECTS,
    QuerySampler,
    TrainingQuery,
    _vary,
)
from pipeline.world.classes import CLASSES
from pipeline.world.queries import HELD_OUT, TRAIN_QUERIES


@pytest.fixture(scope="module")
def sampler() -> QuerySampler:
    return QuerySampler()


def test_no_held_out_wording_is_ever_drawn(sampler: QuerySampler) -> None:
    held = {query.query.lower().rstrip("?.") for query in HELD_OUT}
    rng = np.random.default_rng(0)
    drawn = {
        sampler.about(class_id, rng).text.lower().rstrip("?.")
        for class_id in range(-1, len(CLASSES))
        for _ in range(800)
    }
    assert len(drawn) > 800
    assert not drawn & held
    assert not {text.lower().rstrip("?.") for text in sampler.corpus()} & held


def test_queries_know_what_they_are_about(sampler: QuerySampler) -> None:
    rng = np.random.default_rng(0)
    assert sampler.about(0, rng).subject == "storage tanks"
    assert sampler.about(-1, rng).subject == "something else"
    assert len(set(SUBJECTS)) == len(CLASSES)


def test_the_same_rng_draws_the_same_queries(sampler: QuerySampler) -> None:
    def drawn(seed: int) -> list[TrainingQuery]:
        rng = np.random.default_rng(seed)
        return [
            QuerySampler().for_tile(np.array([1, 4]), rng),
            *(sampler.for_tile(np.array([1, 4]), rng) for _ in range(200)),
        ]

    assert drawn(3) == drawn(3) != drawn(4)


def test_the_corpus_is_bounded_and_always_the_same(sampler: QuerySampler) -> None:
    corpus = sampler.corpus()
    assert 20_000 < len(corpus) <= 40_000
    assert corpus == QuerySampler().corpus()


@pytest.mark.parametrize("class_id", [-1, 2])
def test_two_fifths_of_the_queries_are_the_queries_or_templates(sampler: QuerySampler, class_id: int) -> None:
    """Counted are queries as they stand: 0.65 of the queries' share for a class; about 0.3 for strangers,
    which have other lists too.
    """
    rng = np.random.default_rng(7)
    listed = {
        query.query
        for query in TRAIN_QUERIES
        if (query.class_name or None) == (CLASSES[class_id] if class_id >= 0 else None)
    }
    drawn = [sampler.about(class_id, rng).text.lower().rstrip("?.") for _ in range(4000)]
    share = np.mean([text in {text.lower().rstrip("?.") for text in listed} for text in drawn])
    expected = QUERIES_SHARE * (0.65 if class_id >= 0 else 0.3)
    assert share == pytest.approx(expected, abs=0.08)
    assert len(set(drawn)) > 1500


def test_varied_queries_keep_their_words() -> None:
    """What is said around a query is the only thing that changes, and capitals and marks do."""
    rng = np.random.default_rng(2)
    varied = {_vary(rng, "where do fish live?") for _ in range(1000)}
    assert {
        "where do fish live?",
        "where do fish live",
        "Where do fish live?",
        "where do fish live here?",
        "WHERE DO FISH LIVE?",
    } < varied
    assert all(text.lower().startswith("where do fish live") for text in varied)
    nouns = {_vary(rng, "find all the lakes") for _ in range(1000)}
    assert {
        "find all the lakes",
        "find all lakes",
        "find all the lakes, please",
        "please: find all the lakes",
    } < nouns


def test_about_a_third_of_the_queries_of_a_tile_with_objects_have_no_answer(
    sampler: QuerySampler,
) -> None:
    rng = np.random.default_rng(0)
    held = np.array([2, 2, 5])
    about = [sampler.for_tile(held, rng).class_id for _ in range(2000)]
    absent = np.mean([class_id not in (2, 5) for class_id in about])
    assert 0.30 < absent < 0.40
    assert {2, 5, -1} < set(about)


def test_the_shares_of_queries_without_an_answer_are_those_asked_for() -> None:
    rng = np.random.default_rng(0)
    held = np.array([2, 2, 5])
    sampler = QuerySampler(absent_share=0.5, stranger_share=0.2)
    about = np.array([sampler.for_tile(held, rng).class_id for _ in range(3000)])
    absent = ~np.isin(about, (2, 5))
    assert 0.46 < absent.mean() < 0.54
    assert 0.16 < (about[absent] == -1).mean() < 0.24


def test_an_empty_tile_is_only_asked_about_what_it_does_not_hold(sampler: QuerySampler) -> None:
    rng = np.random.default_rng(0)
    assert {sampler.for_tile(np.zeros(0, np.int64), rng).class_id for _ in range(300)} == set(
        range(-1, len(CLASSES))
    )


def test_what_is_seen_and_not_listed_is_not_asked_about(sampler: QuerySampler) -> None:
    rng = np.random.default_rng(3)
    held = np.array([1])
    seen = [1, 4, 6]
    about = {sampler.for_tile(held, rng, unclear=seen).class_id for _ in range(800)}
    assert about == {-1, *range(len(CLASSES))} - {4, 6}
