"""The classifier of examples, against scikit-learn's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from pipeline.segment.mask_features import PLAIN
from pipeline.segment.mask_ranker import (
    RIDGES,
    ExamplesOptions,
    MaskRanker,
    fit_logistic,
    fit_ranker,
    leave_one_out,
)


def marks(
    n: int = 30, dims: int = 40, *, apart: float = 1.0, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Features of n marks, a third of them yes, that differ along one direction."""
    rng = np.random.default_rng(seed)
    yes = np.arange(n) % 3 == 0
    features = rng.normal(size=(n, dims)) * rng.uniform(0.1, 50, dims) + rng.normal(size=dims) * 10
    features[:, 0] += np.where(yes, apart, -apart) * features[:, 0].std()
    return features, yes


@pytest.mark.parametrize("ridge", RIDGES)
def test_the_fit_is_scikit_learn_s(ridge: float) -> None:
    """Its penalty is |w|^2 / (2 C) beside the sum of weighted losses, whose weights add up to 1 here."""
    points, yes = marks(dims=6)
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    weights = np.where(yes, 0.5 / yes.sum(), 0.5 / (~yes).sum())
    theirs = LogisticRegression(C=1 / ridge, tol=1e-10, max_iter=10_000)
    theirs.fit(points, yes, sample_weight=weights)
    ours = fit_logistic(points, yes, ridge)
    np.testing.assert_allclose(ours[:-1], theirs.coef_[0], atol=1e-4)
    assert ours[-1] == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_more_features_than_marks_give_what_scikit_learn_gives() -> None:
    """The space of the marks loses nothing: 266 features, 30 marks, groups of the same total weight."""
    pooled = 256
    features, yes = marks(dims=pooled + len(PLAIN))
    ranker, _ = fit_ranker(features, yes)
    scale = features.std(axis=0) * np.sqrt(np.repeat([pooled, len(PLAIN)], [pooled, len(PLAIN)]))
    scaled = (features - features.mean(axis=0)) / scale
    weights = np.where(yes, 0.5 / yes.sum(), 0.5 / (~yes).sum())
    theirs = LogisticRegression(C=1 / ranker.ridge, tol=1e-10, max_iter=10_000)
    theirs.fit(scaled, yes, sample_weight=weights)
    np.testing.assert_allclose(ranker.probabilities(features), theirs.predict_proba(scaled)[:, 1], atol=1e-3)


def test_left_out_marks_are_not_learned_from() -> None:
    """What says nothing is not foretold, however well it is learned by heart."""
    features, yes = marks(60, 70, apart=0.0, seed=3)
    ranker, left_out = fit_ranker(features, yes)
    learned = np.array(ranker.probabilities(features))
    foretold = ((left_out > 0.5) == yes).mean()
    assert foretold < 0.75
    assert ((learned > 0.5) == yes).mean() > foretold
    features, yes = marks(30, 14, apart=4.0)
    _, left_out = fit_ranker(features, yes)
    assert ((left_out > 0.5) == yes).mean() > 0.85


def test_leave_one_out_leaves_one_out() -> None:
    points, yes = marks(9, 3)
    points = points / points.std(axis=0)
    others = np.arange(9) != 4
    solved = fit_logistic(points[others], yes[others], 0.1)
    wanted = 1 / (1 + np.exp(-(points[4] @ solved[:-1] + solved[-1])))
    assert leave_one_out(points, yes, 0.1)[4] == pytest.approx(wanted)


def test_a_feature_that_never_varies_harms_nothing() -> None:
    features, yes = marks(dims=20)
    features[:, 3] = 7.0
    ranker, left_out = fit_ranker(features, yes)
    assert np.isfinite(ranker.weights).all()
    assert np.isfinite(left_out).all()


def test_it_is_kept_to_the_last_bit() -> None:
    features, yes = marks()
    ranker, _ = fit_ranker(features, yes)
    again = MaskRanker.from_dict(json.loads(json.dumps(ranker.to_dict())))
    assert again.probabilities(features) == ranker.probabilities(features)


def test_options() -> None:
    assert not ExamplesOptions().on
    assert ExamplesOptions(marks="m.geojson").on
    with pytest.raises(ValueError, match="threshold"):
        ExamplesOptions(threshold=1.5)
