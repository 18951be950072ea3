"""Intervals of shares whose pairs hang together: by hand, and by simulation against their promise."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import betainc
from scipy.stats import binomtest

from pipeline.evaluate.calibrate.clustered_intervals import clustered_share, independent_needed


def exact_interval(k: float, n: float) -> tuple[float, float]:
    """The 95 % interval of Clopper and Pearson, also for a k and an n that are not whole.

    Its ends are the shares p at which k or more, and k or fewer, of n have a probability of 2.5 %. For whole
    numbers these are I_p(k, n - k + 1) and 1 - I_p(k + 1, n - k), with the regularised incomplete beta
    function I, which extends them to fractions.
    """
    low = brentq(lambda p: betainc(k, n - k + 1, p) - 0.025, 0, 1, xtol=1e-12) if k > 0 else 0.0
    high = brentq(lambda p: 1 - betainc(k + 1, n - k, p) - 0.025, 0, 1, xtol=1e-12) if k < n else 1.0
    return low, high


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_with_one_pair_per_picture_it_is_the_exact_interval(hits: list[bool]) -> None:
    share = clustered_share(np.array(hits), np.arange(len(hits)))
    assert share.independent == pytest.approx(len(hits))
    exact = binomtest(sum(hits), len(hits)).proportion_ci(method="exact")
    assert (share.low, share.high) == pytest.approx((exact.low, exact.high))


def test_pictures_that_pass_or_fail_as_a_whole_count_once() -> None:
    """10 pictures of 4 pairs, 8 pass: two pictures are the rarer outcome, and the worst case is 4."""
    hits = np.repeat(np.arange(10) < 8, 4)
    share = clustered_share(hits, np.repeat(np.arange(10), 4))
    variance = 10 / 9 * (8 * 0.8**2 + 2 * 3.2**2) / 40**2
    deff = (2 * variance * 39 / 0.16 + 4) / 3
    assert share.value == 0.8
    assert share.independent == pytest.approx(40 / deff)
    assert (share.low, share.high) == pytest.approx(exact_interval(0.8 * 40 / deff, 40 / deff))


def test_where_all_agree_every_picture_counts_once() -> None:
    """Pictures of 1, 2 and 5 pairs: 8 * 8 / (1 + 4 + 25) independent ones."""
    pictures = np.array([0, 1, 1, 2, 2, 2, 2, 2])
    for hits in (np.ones(8, dtype=bool), np.zeros(8, dtype=bool)):
        assert clustered_share(hits, pictures).independent == pytest.approx(64 / 30)
    one_picture = clustered_share(np.array([True, True, False]), np.zeros(3, dtype=np.int64))
    assert one_picture.independent == pytest.approx(1)


def test_a_share_of_nothing_is_unknown() -> None:
    share = clustered_share(np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64))
    assert (share.value, share.low, share.high, share.n, share.independent) == (None, 0.0, 1.0, 0, 0.0)


@pytest.mark.parametrize(("target", "needed"), [(0.99, 368), (0.98, 183), (0.95, 72), (0.9, 36)])
def test_how_many_that_all_pass_are_needed(target: float, needed: int) -> None:
    """0.025 ** (1 / n) >= target."""
    assert 0.025 ** (1 / needed) >= target > 0.025 ** (1 / (needed - 1))
    assert independent_needed(1.0, target) == needed


def test_how_many_are_needed_when_some_fail() -> None:
    needed = independent_needed(0.97, 0.95)
    assert needed is not None
    assert (
        exact_interval(0.97 * needed, needed)[0] >= 0.95 > exact_interval(0.97 * (needed - 1), needed - 1)[0]
    )
    assert independent_needed(0.95, 0.95) is None
    assert independent_needed(0.9, 0.95) is None
    assert independent_needed(0.950001, 0.95) is None


@pytest.mark.parametrize("per_picture", [1, 4, 8])
@pytest.mark.parametrize(("n_pictures", "recall"), [(40, 0.9), (120, 0.97)])
def test_intervals_of_parent_looks_hold_the_truth(per_picture: int, n_pictures: int, recall: float) -> None:
    """All pairs of a picture pass or fail together, 300 worlds. As if independent, only about half would hold
    it from 4 pairs on.
    """
    rng = np.random.default_rng(2)
    held = 0
    naive = 0
    for _ in range(300):
        size = rng.integers(1, 2 * per_picture, n_pictures)
        pictures = np.repeat(np.arange(n_pictures), size)
        hits = (rng.random(n_pictures) < recall)[pictures]
        share = clustered_share(hits, pictures)
        held += share.low <= recall <= share.high
        low, high = exact_interval(int(hits.sum()), hits.size)
        naive += low <= recall <= high
    assert held >= 0.93 * 300
    assert (naive <= 0.75 * 300) == (per_picture > 1), "the simulation must be able to fail"


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.7])
@pytest.mark.parametrize(("n_pictures", "recall"), [(16, 0.9), (120, 0.9), (120, 0.99)])
def test_intervals_of_pairs_that_are_more_or_less_alike_hold_the_truth(
    alike: float, n_pictures: int, recall: float
) -> None:
    """8 pairs per picture on average, whose normal scores share the part `alike` of their variance; 300
    worlds.
    """
    rng = np.random.default_rng(3)
    held = 0
    limit = NormalDist().inv_cdf(recall)
    for _ in range(300):
        pictures = np.repeat(np.arange(n_pictures), 1 + rng.poisson(7, n_pictures))
        scores = alike**0.5 * rng.standard_normal(n_pictures)[pictures] + (
            1 - alike
        ) ** 0.5 * rng.standard_normal(pictures.size)
        share = clustered_share(scores < limit, pictures)
        held += share.low <= recall <= share.high
    assert held >= 0.92 * 300
