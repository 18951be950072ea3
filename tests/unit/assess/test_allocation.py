from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.assess.allocation import allocate


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    deviations=st.lists(st.sampled_from([0.1, 0.3, 0.5]), min_size=3, max_size=3),
    total=st.integers(0, 12),
)
def test_no_other_allocation_has_a_smaller_variance(
    sizes: list[int], deviations: list[float], total: int
) -> None:
    """Against all allocations of the same total, without the finite-population term, which they share."""
    deviations = deviations[: len(sizes)]
    counts = allocate(sizes, deviations, total, least=[1] * len(sizes))

    def variance(drawn: tuple[int, ...]) -> float:
        return sum((n * s) ** 2 / k for n, s, k in zip(sizes, deviations, drawn, strict=True))

    wanted = min(max(total, len(sizes)), sum(sizes))
    assert counts.sum() == wanted
    assert (counts <= sizes).all()
    assert (counts >= 1).all()
    others = [c for c in product(*(range(1, n + 1) for n in sizes)) if sum(c) == wanted]
    assert variance(tuple(counts.tolist())) == pytest.approx(min(map(variance, others)))


def test_minima_come_first_and_no_stratum_gives_more_than_it_has() -> None:
    counts = allocate([3, 10**9, 500], [0.5, 0.5, 0.001], 40, least=[8, 8, 8])
    np.testing.assert_array_equal(counts, [3, 29, 8])
    assert allocate([], [], 10, least=[]).sum() == 0
