"""How sure is a figure: a bootstrap over images for means and ratios, closed forms for shares and counts.

1. `bootstrap` draws whole images with replacement, because queries about one image are not independent.
   Figures are recomputed from their sums, and the interval is the central `level` of the draws (percentile
   method, Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
2. `wilson` is the score interval for shares of yes and no (Wilson, Journal of the American Statistical
   Association 22, 1927).
3. `poisson` is the exact interval of a count of rare events, such as false alarms (Garwood, Biometrika 28,
   1936).

Both take the queries for independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.figures.metrics import Ratio

DRAWS_AT_ONCE = 64
"""Resamples drawn together: bounds memory at 64 * images * 8 bytes."""


@dataclass(frozen=True, kw_only=True)
class BootstrapOptions:
    """How intervals are computed."""

    draws: int = 2000
    seed: int = 0
    level: float = 0.95
    """Probability between the two ends."""

    def __post_init__(self) -> None:
        if self.draws < 1 or not 0 < self.level < 1:
            raise ValueError(
                "an interval needs at least one draw and a level between 0 and 1, "
                f"got {self.draws} and {self.level}"
            )


Interval = tuple[float, float]


def bootstrap(
    figures: Mapping[str, Ratio], groups: NDArray[np.int64], options: BootstrapOptions
) -> dict[str, Interval]:
    """The interval of every figure; (NaN, NaN) for a figure that does not exist.

    The same seed gives the same interval, on any machine. Bias correction and acceleration are left out:
    with fewer than about 20 images an interval is a warning, not a probability.

    Args:
        figures: over the same n samples.
        groups: (n,) which image a sample belongs to.
        options: number of draws, seed, level.
    """
    names = list(figures)
    _, place = np.unique(groups, return_inverse=True)
    n_groups = int(place.max(initial=-1)) + 1
    if not n_groups:
        return {name: (float("nan"), float("nan")) for name in names}
    above, below = (np.zeros((n_groups, len(names))) for _ in range(2))
    for column, name in enumerate(names):
        np.add.at(above[:, column], place, figures[name].numerator)
        np.add.at(below[:, column], place, figures[name].denominator)
    drawn = _draws(above, below, options)
    tail = (1 - options.level) / 2
    intervals = {}
    for column, name in enumerate(names):
        values = drawn[:, column]
        values = values[np.isfinite(values)]  # a resample without a single sample of the kind says nothing
        low, high = np.quantile(values, (tail, 1 - tail)) if len(values) else (np.nan, np.nan)
        intervals[name] = (float(low), float(high))
    return intervals


def wilson(share: Ratio, level: float) -> Interval:
    """Score interval of a share of yes among n samples; (NaN, NaN) for n = 0.

    Numerator and denominator are 0 or 1 per sample. Of 13 out of 13 a bootstrap would be sure of 100 %; this
    interval stays open at both ends.
    """
    n = float(share.denominator.sum())
    if not n:
        return float("nan"), float("nan")
    p = float(share.numerator.sum()) / n
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def poisson(count: int, level: float) -> Interval:
    """Exact interval of the expected number of events, where `count` were seen.

    Events that come in groups are less sure than it says.
    """
    from scipy.stats import chi2

    tail = (1 - level) / 2
    low = float(chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    return low, float(chi2.ppf(1 - tail, 2 * count + 2)) / 2


def _draws(
    above: NDArray[np.float64], below: NDArray[np.float64], options: BootstrapOptions
) -> NDArray[np.float64]:
    """(draws, figures) values of the resamples; `above`, `below` are (groups, figures) sums."""
    rng = np.random.default_rng(options.seed)
    n_groups = len(above)
    values = []
    for start in range(0, options.draws, DRAWS_AT_ONCE):
        count = min(DRAWS_AT_ONCE, options.draws - start)
        times = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=count).astype(np.float64)
        top = times @ above
        bottom = times @ below
        values.append(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0))
    return np.concatenate(values)
