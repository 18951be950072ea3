"""Confidence against a world whose rule is known, and against scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipeline.assess.confidence import (
    LEAST_ANSWERS,
    N_BINS,
    brier_scores,
    confidence_entry,
    fit_confidence,
    reliability,
)


def world(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Scores, what is right and weights; a score of s is right with 1 / (1 + exp(-(6 s - 4)))."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.3, 1, n)
    right = rng.random(n) < 1 / (1 + np.exp(-(6 * scores - 4)))
    return scores, right, np.where(scores < 0.6, 10.0, 2.0)


def test_a_known_rule_is_found_whatever_was_drawn_more_often() -> None:
    scores, right, weights = world(20_000)
    curve = fit_confidence(scores, right, weights)
    assert curve is not None
    assert curve.slope == pytest.approx(6, abs=0.35)
    assert curve.intercept == pytest.approx(-4, abs=0.3)
    np.testing.assert_allclose(curve.of(np.array([4 / 6])), 0.5, atol=0.02)


def test_the_fit_is_that_of_another_library() -> None:
    scores, right, weights = world(400, seed=1)
    n = len(scores)
    share = weights / weights.sum() * n
    yes = share[right].sum()
    targets = np.where(right, (yes + 1) / (yes + 2), 1 / (n - yes + 2))
    other = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(
        np.concatenate([scores, scores])[:, None],
        np.repeat([1, 0], n),
        sample_weight=np.concatenate([share * targets, share * (1 - targets)]),
    )
    curve = fit_confidence(scores, right, weights)
    assert curve is not None
    assert curve.slope == pytest.approx(other.coef_[0, 0], rel=1e-3)
    assert curve.intercept == pytest.approx(other.intercept_[0], rel=1e-3)


def test_a_sample_without_a_mistake_does_not_promise_perfection() -> None:
    scores = np.linspace(0.5, 0.9, 50)
    curve = fit_confidence(scores, np.ones(50, dtype=np.bool_), np.ones(50))
    assert curve is not None
    assert 0.9 < curve.of(scores).max() < 0.999


def test_scores_that_mislead_give_one_confidence_for_all() -> None:
    scores = np.linspace(0, 1, 100)
    right = scores < 0.7
    curve = fit_confidence(scores, right, np.ones(100))
    assert curve is not None
    assert curve.slope == 0
    assert curve.of(scores) == pytest.approx(0.7, abs=0.01)


def test_few_answers_teach_nothing() -> None:
    n = LEAST_ANSWERS - 1
    assert fit_confidence(np.ones(n), np.ones(n, dtype=np.bool_), np.ones(n)) is None
    assert confidence_entry(np.zeros(0), np.zeros(0, dtype=np.bool_), np.zeros(0)) is None


def test_confidence_is_closer_to_the_truth_than_the_score() -> None:
    raw, fitted = brier_scores(*world(400, seed=2))
    assert fitted < raw


def test_bins_hold_the_answers_of_their_scores() -> None:
    scores, right, weights = world(500, seed=3)
    curve = fit_confidence(scores, right, weights)
    assert curve is not None
    bins = reliability(scores, right, weights, curve)
    assert [each.n for each in bins] == [500 // N_BINS] * N_BINS
    assert [each.score for each in bins] == sorted(each.score for each in bins)
    lowest = np.argsort(scores)[:100]
    assert bins[0].right == pytest.approx(np.average(right[lowest], weights=weights[lowest]))
    entry = confidence_entry(scores, right, weights)
    assert entry is not None
    assert entry["n"] == 500
    assert len(entry["bins"]) == N_BINS
