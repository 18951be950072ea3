"""How sure is a share of pairs when many of them hang on one picture?

1. Pairs of one picture are alike, so `clustered_share` counts how many independent pairs they are worth: n /
   deff, with the design effect deff >= 1. Around that many it puts Clopper and Pearson's exact interval (Korn
   and Graubard, Survey Methodology 24, 1998).
2. `_design_effect`: deff = variance of the share between pictures (ratio estimator) / variance of n
   independent pairs. Where few pictures disagree with the rest the estimate says little, so the worst case is
   mixed in.
3. `independent_needed` turns the interval around: how many pairs until its lower end reaches a target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.prompt.looks.gate_audit import LEVEL, clopper_pearson

MOST_PAIRS = 10**7
"""More independent pairs than this are not asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A share of n pairs with its interval."""

    value: float | None
    """None: n is 0."""
    low: float
    high: float
    n: int
    independent: float
    """How many independent pairs the n are worth, 0..n."""


def clustered_share(hits: NDArray[np.bool_], pictures: NDArray[np.int64], level: float = LEVEL) -> Share:
    """The share of True among `hits` (n,), with its interval. `pictures` (n,): which picture a pair is of.

    Measured by simulation: the 95 % interval holds the truth in 93 to 100 % of the worlds.
    """
    n = int(hits.size)
    if n == 0:
        return Share(value=None, low=0.0, high=1.0, n=0, independent=0.0)
    independent = n / _design_effect(hits, pictures)
    value = float(hits.mean())
    low, high = clopper_pearson(value * independent, independent, level)
    return Share(value=value, low=low, high=high, n=n, independent=independent)


def independent_needed(value: float, target: float, level: float = LEVEL) -> int | None:
    """The fewest independent pairs whose interval around `value` begins at `target` or above.

    None: no number up to MOST_PAIRS is enough.
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
    """Variance of the share over that of as many independent pairs, >= 1.

    One failing pair looks as if pairs were independent, and none looks like nothing. So the worst case,
    sum(size^2) / n (whole pictures pass or fail), has the weight of one picture: deff = (f * estimate +
    worst) / (f + 1), with f the number of pictures that hold the rarer outcome. Without any the worst case
    stands alone. With one pair per picture deff is 1.
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
