"""A few examples instead of words: how likely each mask is of the kind that a user marked.

1. `fit_ranker` standardises the features of the marked masks. Pooled and plain features get the same total
   weight, however many there are of each.
2. It fits a logistic regression with a ridge. Yes and no weigh the same, whatever their numbers, so 0.5 is
   the threshold that does not know how frequent the kind is.
3. The ridge is the one of RIDGES under which marks that were left out are foretold best (`leave_one_out`).
4. `MaskRanker.probabilities` is all that a run needs of it.

With at most some fifty marks and hundreds of features the fit is done in the space that the marks span, where
it takes milliseconds. The left-out figures are a little too good: the ridge was chosen by them, and
standardisation has seen all marks.

Source: S. le Cessie and J. C. van Houwelingen, "Ridge Estimators in Logistic Regression", Applied Statistics
41 (1992).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from pipeline.segment.mask_features import PLAIN

Floats = NDArray[np.float64]

RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Penalties that are tried, per mark."""

MIN_MARKS = 3
"""Marks of each kind, below which nothing can be learned."""


@dataclass(frozen=True, kw_only=True)
class ExamplesOptions:
    """The `[examples]` table: masks are kept by a classifier that was trained on marks."""

    marks: str = ""
    """A vector file of points or outlines marked yes or no. Empty: off."""
    threshold: float = 0.5
    """Masks of a smaller probability are rejected, and recorded."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold lies between 0 and 1, got {self.threshold}")

    @property
    def on(self) -> bool:
        return bool(self.marks)


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskRanker:
    """A trained classifier. Small and picklable."""

    weights: Floats
    """(D,) of the features as `describe_masks` gives them."""
    intercept: float
    ridge: float
    """The penalty that was chosen."""

    def probabilities(self, features: Floats) -> list[float]:
        """n probabilities 0..1 of n masks (n, D)."""
        return [float(p) for p in expit(features @ self.weights + self.intercept)]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it, to the last bit."""
        return {"weights": self.weights.tolist(), "intercept": self.intercept, "ridge": self.ridge}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> MaskRanker:
        """Raises KeyError, TypeError or ValueError for what is none."""
        return cls(
            weights=np.array(content["weights"], dtype=np.float64),
            intercept=float(content["intercept"]),
            ridge=float(content["ridge"]),
        )


def fit_ranker(features: Floats, yes: NDArray[np.bool_]) -> tuple[MaskRanker, Floats]:
    """Train on n marked masks. Also returns, for each mark, its probability when it was left out, (n,).

    Args:
        features: (n, D) as `describe_masks` gives them.
        yes: (n,) which masks are of the kind; at least two of each.
    """
    centre = features.mean(axis=0)
    scale = _scales(features)
    spread = (features - centre) / scale
    # Rows of `basis` span the marks: no weight vector of a ridge leaves that space.
    short, length, basis = np.linalg.svd(spread, full_matrices=False)
    points = short * length
    left_out = {ridge: leave_one_out(points, yes, ridge) for ridge in RIDGES}
    ridge = min(RIDGES, key=lambda each: _loss_of(left_out[each], yes))
    solved = fit_logistic(points, yes, ridge)
    weights = (basis.T @ solved[:-1]) / scale
    ranker = MaskRanker(weights=weights, intercept=float(solved[-1] - centre @ weights), ridge=ridge)
    return ranker, left_out[ridge]


def leave_one_out(points: Floats, yes: NDArray[np.bool_], ridge: float) -> Floats:
    """(n,) probability of each mark by a classifier that was trained on the others."""
    found = np.zeros(len(yes))
    for index in range(len(yes)):
        others = np.arange(len(yes)) != index
        solved = fit_logistic(points[others], yes[others], ridge)
        found[index] = expit(points[index] @ solved[:-1] + solved[-1])
    return found


def fit_logistic(points: Floats, yes: NDArray[np.bool_], ridge: float) -> Floats:
    """Weights and intercept, (r + 1,), that minimise the mean log loss, in which both kinds weigh the same,
    plus ridge / 2 times the squared length of the weights.
    """
    share = np.where(yes, 0.5 / yes.sum(), 0.5 / (~yes).sum())
    sign = np.where(yes, 1.0, -1.0)

    def loss(solution: Floats) -> tuple[float, Floats]:
        margin = sign * (points @ solution[:-1] + solution[-1])
        slope = -share * sign * expit(-margin)
        value = share @ np.logaddexp(0, -margin) + ridge / 2 * (solution[:-1] @ solution[:-1])
        return float(value), np.append(points.T @ slope + ridge * solution[:-1], slope.sum())

    def curvature(solution: Floats) -> Floats:
        sure = expit(points @ solution[:-1] + solution[-1])
        return np.asarray((ones.T * (share * sure * (1 - sure))) @ ones + penalty)

    ones = np.hstack([points, np.ones((len(points), 1))])
    penalty = ridge * np.diag(np.append(np.ones(points.shape[1]), 0.0))
    start = np.zeros(points.shape[1] + 1)
    found = minimize(loss, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-7})
    return np.asarray(found.x)


def _scales(features: Floats) -> Floats:
    """(D,) divisors that give each group of features, pooled and plain, a total variance of 1."""
    plain = len(PLAIN)
    deviation = features.std(axis=0)
    deviation[deviation < 1e-9] = 1.0
    groups = np.concatenate(
        [np.full(features.shape[1] - plain, features.shape[1] - plain), np.full(plain, plain)]
    )
    return np.asarray(deviation * np.sqrt(groups))


def _loss_of(probability: Floats, yes: NDArray[np.bool_]) -> float:
    """Mean log loss of left-out marks, in which both kinds weigh the same."""
    kept = np.clip(np.where(yes, probability, 1 - probability), 1e-9, 1.0)
    return float(-(np.log(kept[yes]).mean() + np.log(kept[~yes]).mean()) / 2)
