"""Compute the interval of a share when many of its pairs come from one picture.

1. Pairs of one picture are alike, so n pairs are worth fewer independent ones. `_design_effect` estimates how
   many times fewer.
2. `clustered_share` takes Clopper and Pearson's exact interval for that smaller number (Korn and Graubard,
   Survey Methodology 24, 1998).
3. `independent_needed` asks the reverse: how many pairs lift the lower end to a target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.prompt.looks.gate_audit import LEVEL, clopper_pearson

MOST_PAIRS = 10**7
"""Largest number of independent pairs that `independent_needed` tries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A share of n pairs with its interval."""

    value: float | None
    """None: n is 0."""
    low: float
    high: float
    n: int
    independent: float
    """Number of independent pairs that the n are worth, 0..n."""


def clustered_share(hits: NDArray[np.bool_], pictures: NDArray[np.int64], level: float = LEVEL) -> Share:
    """Compute the share of True among `hits` (n,), with its interval; `pictures` (n,) numbers their pictures.

    In simulations the 95 % interval holds the truth in 93 to 100 % of the worlds.
    """
    n = int(hits.size)
    if n == 0:
        return Share(value=None, low=0.0, high=1.0, n=0, independent=0.0)
    independent = n / _design_effect(hits, pictures)
    value = float(hits.mean())
    low, high = clopper_pearson(value * independent, independent, level)
    return Share(value=value, low=low, high=high, n=n, independent=independent)


def independent_needed(value: float, target: float, level: float = LEVEL) -> int | None:
    """Find the fewest independent pairs for which the interval around `value` begins at `target` or above.

    None: MOST_PAIRS are not enough.
    """
    if value <= target:
        return None
    low = 0
    high = 1
    while clopper_pearson(value * high, high, level)[0] < target:
        low, high = high, 2 * high
        if high > MOST_PAIRS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        reached = clopper_pearson(value * middle, middle, level)[0] >= target
        low, high = (low, middle) if reached else (middle, high)
    return high


def _design_effect(hits: NDArray[np.bool_], pictures: NDArray[np.int64]) -> float:
    """Estimate deff >= 1: the variance of the share (ratio estimator), over that of n independent pairs.

    Few pictures with the rarer outcome say little: with a single failing pair, pairs look independent. So the
    worst case (whole pictures pass or fail, sum(size^2) / n) is added with the weight of one picture:
    deff = (f * estimate + worst) / (f + 1), where f pictures hold the rarer outcome. For f = 0 this is the
    worst case alone. With one pair per picture deff is 1.
    """
    _, place = np.unique(pictures, return_inverse=True)
    size = np.bincount(place).astype(np.float64)
    kept = np.bincount(place, weights=hits)
    n = float(size.sum())
    n_pictures = len(size)
    worst = float((size**2).sum()) / n
    telling = min(int((kept < size).sum()), int((kept > 0).sum()))
    if telling == 0 or n_pictures == 1:
        return worst
    share = float(kept.sum()) / n
    variance = n_pictures / (n_pictures - 1) * float(((kept - share * size) ** 2).sum()) / n**2
    estimate = max(1.0, variance * (n - 1) / (share * (1 - share)))
    return (telling * estimate + worst) / (telling + 1)
