"""Compute intervals of figures.

1. `bootstrap`, for means and ratios, draws whole images with replacement, because queries about one image are
   not independent (percentile method, Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter
   13).
2. `wilson` is the score interval of a share of yes and no (Wilson, Journal of the American Statistical
   Association 22, 1927).
3. `poisson` is the exact interval of a count of rare events, such as false alarms (Garwood, Biometrika 28,
   1936).

The last two assume that queries are independent.
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
"""Resamples drawn together; memory is at most 64 * images * 8 bytes."""


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
    """Compute the interval of every figure: the central `level` of its values over the resamples.

    An undefined figure has (NaN, NaN). The same seed gives the same interval on any machine. Bias correction
    and acceleration are left out: with fewer than about 20 images, take an interval as a warning only.

    Args:
        figures: over the same n samples.
        groups: (n,) number of a sample's image.
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
        values = values[np.isfinite(values)]  # NaN: the resample holds no sample of this kind
        low, high = np.quantile(values, (tail, 1 - tail)) if len(values) else (np.nan, np.nan)
        intervals[name] = (float(low), float(high))
    return intervals


def wilson(share: Ratio, level: float) -> Interval:
    """Score interval of a share of yes among n samples; (NaN, NaN) for n = 0.

    Numerator and denominator are 0 or 1 per sample. For 13 out of 13 a bootstrap would give exactly 100 %;
    this interval still has a width.
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
    """Exact interval of the expected number of events when `count` were seen.

    It is too narrow for events that come in groups.
    """
    from scipy.stats import chi2

    tail = (1 - level) / 2
    low = float(chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    return low, float(chi2.ppf(1 - tail, 2 * count + 2)) / 2


def _draws(
    above: NDArray[np.float64], below: NDArray[np.float64], options: BootstrapOptions
) -> NDArray[np.float64]:
    """Compute values (draws, figures) of the resamples from sums `above` and `below` (groups, figures)."""
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
