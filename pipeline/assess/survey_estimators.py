"""Estimate means, totals and ratios of a stratified random sample, with intervals that hold in small samples.

1. `share_of`, `rare_share_of` and `mean_count` estimate the mean of one stratum from a simple random sample
   without replacement. The limits of `share_of` are mid-p limits of the binomial distribution (Berry and
   Armitage, The Statistician 44, 1995). Those of the others are Jeffreys' limits of a binomial share and of a
   Poisson mean (Brown, Cai and DasGupta, Statistical Science 16, 2001, and Statistica Sinica 13, 2003): they
   are narrower where hardly anything is seen. A finite population counts as a larger sample: n becomes
   n (N - 1) / (N - n). Counts that come in clumps count as a smaller one: variance over mean divides it.
2. `weighted_sum` adds up strata, and independent totals. The estimate is the stratified one (Cochran,
   Sampling Techniques, 1977, chapter 5). The limits come from those of the parts by the method of variance
   estimates recovery (Zou and Donner, Statistics in Medicine 27, 2008): squared distances to the limits add
   up as variances do. A stratum in which nothing was seen so still widens the interval; the usual variance of
   such a sample is zero, and so would be the width.
3. `part_of_sum` is T / (T + M) for two independent totals, such as recall (Donner and Zou, Statistical
   Methods in Medical Research 21, 2012).

How often the intervals hold the truth, beside the usual ones: tests/benchmarks/assessment.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
"""Probability between the two limits of every interval."""

_TAIL = (1 - LEVEL) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimated:
    """An estimate with its interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Estimated:
        """The estimate of a multiple; `factor` is not negative."""
        return Estimated(value=self.value * factor, low=self.low * factor, high=self.high * factor)

    def least(self, least: float) -> Estimated:
        """The same, where it is known that the truth is not below `least`."""
        return Estimated(value=max(self.value, least), low=max(self.low, least), high=max(self.high, least))

    def most(self, most: float) -> Estimated:
        """The same, where it is known that the truth is not above `most`."""
        return Estimated(value=min(self.value, most), low=min(self.low, most), high=min(self.high, most))


def share_of(hits: NDArray[np.bool_], size: int) -> Estimated:
    """Estimate the share of hits in a stratum of `size` units from a random sample of it.

    `hits`: (n,), n >= 1. A sample that is the whole stratum has no error.
    """
    return _share(hits, size, _mid_p_limits)


def rare_share_of(hits: NDArray[np.bool_], size: int) -> Estimated:
    """The same, for shares that are close to 0 in many strata."""
    return _share(hits, size, _jeffreys_limits)


def mean_count(counts: NDArray[np.float64], size: int) -> Estimated:
    """Estimate the mean count per unit in a stratum of `size` units from a random sample of it.

    `counts`: (n,) numbers of 0 and more, n >= 1.
    """
    n = len(counts)
    value = float(counts.mean())
    if n >= size:
        return Estimated(value=value, low=value, high=value)
    clumped = max(1.0, float(counts.var(ddof=1)) / value) if value > 0 and n > 1 else 1.0
    worth = n / (clumped * (1 - n / size))
    low, high = _poisson_limits(value * worth)
    return Estimated(value=value, low=min(low / worth, value), high=max(high / worth, value))


def weighted_sum(parts: Sequence[tuple[float, Estimated]]) -> Estimated:
    """Add up independent estimates, each times its weight (not negative)."""
    value = sum(weight * part.value for weight, part in parts)
    below = sum((weight * (part.value - part.low)) ** 2 for weight, part in parts)
    above = sum((weight * (part.high - part.value)) ** 2 for weight, part in parts)
    return Estimated(value=value, low=value - math.sqrt(below), high=value + math.sqrt(above))


def part_of_sum(part: Estimated, rest: Estimated) -> Estimated | None:
    """Estimate part / (part + rest) from two independent totals, neither negative. None: both are 0."""
    if part.value + rest.value <= 0:
        return None
    if part.value <= 0:
        return Estimated(value=0.0, low=0.0, high=_of_ratio(_ratio_limits(part, rest)[1]))
    low, high = _ratio_limits(rest, part)
    value = part.value / (part.value + rest.value)
    return Estimated(value=value, low=min(1 - _of_ratio(high), value), high=max(1 - _of_ratio(low), value))


def _share(
    hits: NDArray[np.bool_], size: int, limits: Callable[[float, float], tuple[float, float]]
) -> Estimated:
    value = float(hits.mean())
    worth = _worth(len(hits), size)
    if worth is None:
        return Estimated(value=value, low=value, high=value)
    low, high = limits(value * worth, worth)
    return Estimated(value=value, low=min(low, value), high=max(high, value))


def _of_ratio(ratio: float) -> float:
    """a / (a + b) for a / b."""
    return 1.0 if math.isinf(ratio) else ratio / (1 + ratio)


def _ratio_limits(above: Estimated, below: Estimated) -> tuple[float, float]:
    """Limits of above / below for independent estimates of numbers that are not negative."""
    product = above.value * below.value
    low = 0.0
    divisor = below.high * (2 * below.value - below.high)
    if divisor > 0:
        inner = product**2 - above.low * (2 * above.value - above.low) * divisor
        low = (product - math.sqrt(max(inner, 0.0))) / divisor
    divisor = below.low * (2 * below.value - below.low)
    if divisor <= 0:
        return max(low, 0.0), math.inf
    inner = product**2 - above.high * (2 * above.value - above.high) * divisor
    return max(low, 0.0), (product + math.sqrt(max(inner, 0.0))) / divisor


def _worth(n: int, size: int) -> float | None:
    """Number of draws with replacement that n draws without are worth. None: they are all units."""
    return None if n >= size else n * (size - 1) / (size - n)


@lru_cache(maxsize=4096)
def _mid_p_limits(hits: float, n: float) -> tuple[float, float]:
    """Mid-p limits of a share; `hits` of `n`, which need not be whole."""
    from scipy.optimize import brentq
    from scipy.special import betainc

    def below(share: float) -> float:
        at_least = betainc(hits, n - hits + 1, share) if hits > 0 else 1.0
        more = betainc(hits + 1, n - hits, share) if hits < n else 0.0
        return float(at_least + more) / 2

    low = brentq(lambda share: below(share) - _TAIL, 0.0, 1.0, xtol=1e-12) if hits > 0 else 0.0
    high = brentq(lambda share: below(share) - 1 + _TAIL, 0.0, 1.0, xtol=1e-12) if hits < n else 1.0
    return float(low), float(high)


def _jeffreys_limits(hits: float, n: float) -> tuple[float, float]:
    """Jeffreys limits of a share; `hits` of `n`, which need not be whole."""
    from scipy.special import betaincinv

    low = betaincinv(hits + 0.5, n - hits + 0.5, _TAIL) if hits > 0 else 0.0
    high = betaincinv(hits + 0.5, n - hits + 0.5, 1 - _TAIL) if hits < n else 1.0
    return float(low), float(high)


def _poisson_limits(events: float) -> tuple[float, float]:
    """Jeffreys limits of the expected number of events when `events` were seen, which need not be whole."""
    from scipy.special import gammaincinv

    low = gammaincinv(events + 0.5, _TAIL) if events > 0 else 0.0
    return float(low), float(gammaincinv(events + 0.5, 1 - _TAIL))
