"""Small masks and their counts, for the tests of the figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.figures.metrics import SampleCounts

Pair = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def random_pairs(seed: int, n: int, side: int = 12) -> list[Pair]:
    """Pairs of blobs that overlap more or less; some masks are empty."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(n):
        true = np.zeros((side, side), bool)
        if rng.random() < 0.8:
            row, col = rng.integers(0, side - 4, 2)
            true[row : row + rng.integers(2, 5), col : col + rng.integers(2, 5)] = True
        predicted = (
            np.roll(true, rng.integers(-1, 2, 2), (0, 1))
            if rng.random() < 0.7
            else rng.random((side, side)) < rng.choice([0, 0.2])
        )
        pairs.append((true, np.asarray(predicted, bool)))
    return pairs


def counts_of(
    pairs: Sequence[Pair], *, abstained: Sequence[int] = (), failed: Sequence[int] = ()
) -> SampleCounts:
    """Counts of (true, predicted) masks, by plain sums; `abstained` and `failed` are indexes."""
    n = len(pairs)
    index = np.arange(n)
    return SampleCounts(
        true_px=np.array([int(t.sum()) for t, _ in pairs], np.int64),
        predicted_px=np.array([int(p.sum()) for _, p in pairs], np.int64),
        common_px=np.array([int((t & p).sum()) for t, p in pairs], np.int64),
        total_px=np.array([t.size for t, _ in pairs], np.int64),
        abstained=np.isin(index, abstained),
        failed=np.isin(index, failed),
    )
