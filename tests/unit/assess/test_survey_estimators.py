"""Estimates against all samples that could have been drawn, and limits against scipy's distributions."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.assess.survey_estimators import (
    Estimated,
    mean_count,
    part_of_sum,
    rare_share_of,
    share_of,
    weighted_sum,
)

MANY = 10**9


def array(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(values, dtype=np.float64)


@given(
    strata=st.lists(
        st.lists(st.integers(0, 3), min_size=2, max_size=4).flatmap(
            lambda units: st.tuples(st.just(units), st.integers(1, len(units)))
        ),
        min_size=1,
        max_size=2,
    )
)
def test_the_mean_over_all_possible_samples_is_the_truth(strata: list[tuple[list[int], int]]) -> None:
    estimates = [
        weighted_sum(
            [
                (len(units), mean_count(array(*sample), len(units)))
                for sample, (units, _) in zip(samples, strata, strict=True)
            ]
        )
        for samples in product(*(combinations(units, n) for units, n in strata))
    ]
    assert np.mean([each.value for each in estimates]) == pytest.approx(sum(sum(u) for u, _ in strata))
    for each in estimates:
        assert each.low <= each.value <= each.high


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (1, 10), (5, 10), (10, 10), (3, 200)])
def test_limits_of_a_share_are_mid_p_limits(hits: int, n: int) -> None:
    estimate = share_of(np.arange(n) < hits, MANY)
    assert estimate.value == hits / n
    for limit, tail in ((estimate.low, 0.025), (estimate.high, 0.975)):
        if 0 < limit < 1:
            there = stats.binom(n, limit)
            assert there.sf(hits) + there.pmf(hits) / 2 == pytest.approx(tail, abs=1e-6)
    assert (estimate.low == 0) == (hits == 0)
    assert (estimate.high == 1) == (hits == n)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (1, 10), (5, 10), (10, 10), (3, 200)])
def test_limits_of_a_rare_share_are_those_of_jeffreys(hits: int, n: int) -> None:
    estimate = rare_share_of(np.arange(n) < hits, MANY)
    posterior = stats.beta(hits + 0.5, n - hits + 0.5)
    assert estimate.value == hits / n
    assert estimate.low == pytest.approx(posterior.ppf(0.025) if hits else 0, abs=1e-6)
    assert estimate.high == pytest.approx(posterior.ppf(0.975) if hits < n else 1, abs=1e-6)


@pytest.mark.parametrize("counts", [(0, 0, 0), (1, 0, 0), (1, 1, 1, 0)])
def test_limits_of_a_mean_count_are_those_of_jeffreys(counts: tuple[int, ...]) -> None:
    estimate = mean_count(array(*counts), MANY)
    posterior = stats.gamma(sum(counts) + 0.5, scale=1 / len(counts))
    assert estimate.low == pytest.approx(posterior.ppf(0.025) if any(counts) else 0, abs=1e-6)
    assert estimate.high == pytest.approx(posterior.ppf(0.975), abs=1e-6)


def test_counts_in_clumps_are_less_certain_than_spread_ones() -> None:
    spread = mean_count(array(*[1] * 8, *[0] * 24), MANY)
    clumped = mean_count(array(8, *[0] * 31), MANY)
    assert clumped.value == spread.value
    assert clumped.high - clumped.low > 2 * (spread.high - spread.low)


def test_a_sample_that_is_the_whole_has_no_error_and_half_of_it_has_less() -> None:
    hits = np.arange(20) < 15
    assert share_of(hits, 20) == Estimated(value=0.75, low=0.75, high=0.75)
    assert mean_count(hits.astype(np.float64), 20) == Estimated(value=0.75, low=0.75, high=0.75)
    widths = [share_of(hits, size).high - share_of(hits, size).low for size in (20, 25, 40, MANY)]
    assert widths == sorted(widths)
    assert widths[2] == pytest.approx(widths[3] * np.sqrt(0.5), rel=0.05)  # 1 - n / N


def test_a_stratum_without_an_event_widens_the_sum() -> None:
    seen = share_of(np.arange(50) < 40, MANY)
    unseen = share_of(np.zeros(50, dtype=np.bool_), MANY)
    alone = weighted_sum([(1.0, seen)])
    both = weighted_sum([(1.0, seen), (1.0, unseen)])
    assert both.value == alone.value
    assert both.low == alone.low
    assert both.high - both.value == pytest.approx(np.hypot(alone.high - alone.value, unseen.high))


@given(
    part=st.integers(0, 60),
    rest=st.integers(0, 60),
    n=st.sampled_from([60, 200]),
    size=st.sampled_from([400, MANY]),
)
def test_a_part_of_a_sum_stays_a_share(part: int, rest: int, n: int, size: int) -> None:
    above = share_of(np.arange(n) < part, size)
    below = share_of(np.arange(n) < rest, size)
    estimate = part_of_sum(above, below)
    if not part and not rest:
        assert estimate is None
        return
    assert estimate is not None
    assert estimate.value == pytest.approx(part / (part + rest))
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_a_part_of_a_sum_has_the_limits_of_large_samples() -> None:
    """Far from all ends the limits are those of the usual linearised variance."""
    part = Estimated(value=1000.0, low=1000 - 19.6, high=1000 + 19.6)
    rest = Estimated(value=500.0, low=500 - 19.6, high=500 + 19.6)
    estimate = part_of_sum(part, rest)
    assert estimate is not None
    half = 1.96 * np.sqrt(500**2 * 100 + 1000**2 * 100) / 1500**2
    assert estimate.high - estimate.value == pytest.approx(half, rel=0.03)
    assert estimate.value - estimate.low == pytest.approx(half, rel=0.03)
