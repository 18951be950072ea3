"""Share a sample among strata: more where there are more units and where they are expected to differ.

Neyman's allocation (Journal of the Royal Statistical Society 97, 1934) takes n_h in proportion to N_h S_h,
with S_h the standard deviation that is expected in stratum h. Every stratum gets a minimum first, because the
expectation is a guess and a rare stratum must be looked at too (Olofsson et al., Remote Sensing of
Environment 148, 2014).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def allocate(
    sizes: Sequence[int], deviations: Sequence[float], total: int, *, least: Sequence[int]
) -> NDArray[np.int64]:
    """Number of units to draw from each stratum, (k,), at most its size.

    The sum is `total` unless minima exceed it or there are not so many units. `least`: minimum of each
    stratum. `deviations`: expected standard deviations, positive.
    """
    population = np.asarray(sizes, dtype=np.int64)
    wanted = population * np.asarray(deviations, dtype=np.float64)
    counts = np.minimum(population, np.asarray(least, dtype=np.int64))
    while counts.sum() < total and (counts < population).any():
        # one unit more where it lowers the variance of the sum most
        gain = np.where(counts < population, wanted**2 / np.maximum(counts * (counts + 1.0), 1e-9), -1.0)
        counts[int(np.argmax(gain))] += 1
    return counts
