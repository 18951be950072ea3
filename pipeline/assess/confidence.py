"""Confidence: how often objects of a score are right, learnt from a reviewed sample.

1. `fit_confidence` fits Platt's sigmoid (Probabilistic outputs for support vector machines, 1999) to the
   objects that were reviewed, each with the weight of its stratum, with his smoothed targets: a sample
   without a mistake does not promise that there is none. Two parameters are what a hundred answers support;
   isotonic regression needs about a thousand (Niculescu-Mizil and Caruana, ICML 2005).
2. Where a higher score is not more often right, all objects have the same confidence.
3. `brier_scores` compares score and confidence on answers that the fit did not see (ten folds).
4. `reliability` says for fifths of the sample how often objects are right, with an interval.

The score of an object stays what the model said.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.assess.survey_estimators import share_of

LEAST_ANSWERS = 20
"""Fewest reviewed objects for a fit."""

N_FOLDS = 10
N_BINS = 5

_STEPS = 100
_MANY = 10**9


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceCurve:
    """confidence = 1 / (1 + exp(-(slope * score + intercept)))."""

    slope: float
    intercept: float
    n: int
    """Reviewed objects that it was learnt from."""

    def of(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Confidence of each score, (n,), 0..1."""
        return np.asarray(1 / (1 + np.exp(-(self.slope * scores + self.intercept))))


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """Some reviewed objects of neighbouring scores."""

    n: int
    score: float
    """Mean score, weighted."""
    confidence: float
    right: float
    """Share that is right, weighted; and the limits of an unweighted one."""
    low: float
    high: float


def fit_confidence(
    scores: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]
) -> ConfidenceCurve | None:
    """Fit the curve to reviewed objects, all (n,). None: there are fewer than LEAST_ANSWERS."""
    n = len(scores)
    if n < LEAST_ANSWERS:
        return None
    share = weights / weights.sum() * n
    yes = float(share[right].sum())
    targets = np.where(right, (yes + 1) / (yes + 2), 1 / (n - yes + 2))
    slope, intercept = _logistic(scores, targets, share)
    if slope <= 0:
        mean = float((share * targets).sum() / n)
        slope = 0.0
        intercept = float(np.log(mean / (1 - mean)))
    return ConfidenceCurve(slope=slope, intercept=intercept, n=n)


def brier_scores(
    scores: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Mean squared distance to what is true, of scores and of confidences that other answers gave."""
    fold = np.arange(len(scores)) % N_FOLDS  # the sample comes in random order
    told = np.full(len(scores), float(np.average(right, weights=weights)))
    for number in range(N_FOLDS):
        mine = fold == number
        curve = fit_confidence(scores[~mine], right[~mine], weights[~mine])
        if curve is not None:
            told[mine] = curve.of(scores[mine])
    raw, fitted = (float(np.average((each - right) ** 2, weights=weights)) for each in (scores, told))
    return raw, fitted


def reliability(
    scores: NDArray[np.float64],
    right: NDArray[np.bool_],
    weights: NDArray[np.float64],
    curve: ConfidenceCurve,
) -> list[ReliabilityBin]:
    """Part reviewed objects by score into N_BINS of as many answers."""
    order = np.argsort(scores, kind="stable")
    made = []
    for rows in np.array_split(order, N_BINS):
        if not len(rows):
            continue
        weight = weights[rows]
        limits = share_of(right[rows], _MANY)
        made.append(
            ReliabilityBin(
                n=len(rows),
                score=float(np.average(scores[rows], weights=weight)),
                confidence=float(np.average(curve.of(scores[rows]), weights=weight)),
                right=float(np.average(right[rows], weights=weight)),
                low=limits.low,
                high=limits.high,
            )
        )
    return made


def confidence_entry(
    scores: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]
) -> dict[str, Any] | None:
    """What assessment.json says of a query's confidence, JSON-ready. None: too few answers."""
    curve = fit_confidence(scores, right, weights)
    if curve is None:
        return None
    raw, fitted = brier_scores(scores, right, weights)
    return {
        **{name: float(f"{value:.8g}") for name, value in asdict(curve).items()},
        "brier_of_score": round(raw, 5),
        "brier_of_confidence": round(fitted, 5),
        "bins": [
            {name: float(f"{value:.5g}") for name, value in asdict(each).items()}
            for each in reliability(scores, right, weights, curve)
        ],
    }


def _logistic(
    scores: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Weighted logistic regression on one number: (slope, intercept), by Newton's method."""
    columns = np.column_stack([scores, np.ones(len(scores))])
    found = np.zeros(2)

    def loss(at: NDArray[np.float64]) -> float:
        linear = columns @ at
        return float((weights * (np.logaddexp(0, linear) - targets * linear)).sum()) + 1e-6 * float(at @ at)

    for _ in range(_STEPS):
        told = 1 / (1 + np.exp(-columns @ found))
        gradient = columns.T @ (weights * (told - targets)) + 2e-6 * found
        curvature = (columns * (weights * told * (1 - told))[:, None]).T @ columns + 2e-6 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while loss(found - step) > loss(found) and np.abs(step).max() > 1e-12:
            step = step / 2
        found = found - step
        if np.abs(step).max() < 1e-9:
            break
    return float(found[0]), float(found[1])
