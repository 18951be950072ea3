"""Bootstrap intervals against a naive resampling loop, known distributions and their own promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pipeline.evaluate.figures.intervals import BootstrapOptions, bootstrap, poisson, wilson
from pipeline.evaluate.figures.metrics import Ratio


def ratio(numerator: list[float], denominator: list[float]) -> Ratio:
    return Ratio(numerator=np.array(numerator, float), denominator=np.array(denominator, float))


def test_the_interval_of_a_mean_has_the_width_that_theory_gives() -> None:
    values = np.random.default_rng(3).normal(0.6, 0.1, 400)
    figure = Ratio(numerator=values, denominator=np.ones(400))
    low, high = bootstrap({"mean": figure}, np.arange(400), BootstrapOptions())["mean"]
    error = values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_samples_of_one_image_are_drawn_together() -> None:
    """20 images with 10 equal samples each know no more than 20 samples; drawn one by one the interval would
    be too narrow.
    """
    image_values = np.random.default_rng(5).random(20)
    repeated = Ratio(numerator=np.repeat(image_values, 10), denominator=np.ones(200))
    single = Ratio(numerator=image_values, denominator=np.ones(20))
    options = BootstrapOptions(draws=500, seed=9)
    together = bootstrap({"f": repeated}, np.repeat(np.arange(20), 10), options)["f"]
    assert together == pytest.approx(bootstrap({"f": single}, np.arange(20), options)["f"])
    apart = bootstrap({"f": repeated}, np.arange(200), options)["f"]
    assert apart[1] - apart[0] < 0.5 * (together[1] - together[0])


def test_a_ratio_of_sums_is_resampled_as_a_ratio_of_sums() -> None:
    rng = np.random.default_rng(1)
    above = rng.integers(0, 5, 12).astype(float)
    below = rng.integers(1, 9, 12).astype(float)
    options = BootstrapOptions(draws=64, seed=4, level=0.8)
    times = np.random.default_rng(4).multinomial(12, np.full(12, 1 / 12), size=64)
    by_hand = [
        sum(k * a for k, a in zip(row, above, strict=True))
        / sum(k * b for k, b in zip(row, below, strict=True))
        for row in times
    ]
    got = bootstrap({"f": Ratio(numerator=above, denominator=below)}, np.arange(12), options)["f"]
    assert got == pytest.approx(tuple(np.quantile(by_hand, (0.1, 0.9))))
    assert got[0] < above.sum() / below.sum() < got[1]


def test_same_seed_same_interval_and_another_seed_another_one() -> None:
    figure = {"f": ratio([1, 0, 1, 1, 0, 0.5], [1] * 6)}
    first = bootstrap(figure, np.arange(6), BootstrapOptions(seed=1, draws=100))
    assert first == bootstrap(figure, np.arange(6), BootstrapOptions(seed=1, draws=100))
    assert first != bootstrap(figure, np.arange(6), BootstrapOptions(seed=2, draws=100))


def test_figures_that_do_not_exist_have_no_interval() -> None:
    nothing = {"f": ratio([0, 0], [0, 0]), "g": ratio([1, 1], [1, 1])}
    intervals = bootstrap(nothing, np.arange(2), BootstrapOptions(draws=10))
    assert np.isnan(intervals["f"]).all()
    assert intervals["g"] == (1.0, 1.0)
    assert np.isnan(bootstrap({"f": ratio([], [])}, np.zeros(0, np.int64), BootstrapOptions())["f"]).all()


@pytest.mark.parametrize(("k", "n"), [(0, 13), (13, 13), (1, 3), (24, 39), (1, 1)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson_agrees_with_scipy_and_stays_open_where_the_bootstrap_collapses(
    k: int, n: int, level: float
) -> None:
    share = ratio([1] * k + [0] * (n - k) + [0, 0], [1] * n + [0, 0])  # two samples are not of the kind
    got = wilson(share, level)
    expected = stats.binomtest(k, n).proportion_ci(level, method="wilson")
    assert got == pytest.approx((expected.low, expected.high), abs=1e-12)
    if k in (0, n):
        assert bootstrap({"f": share}, np.arange(n + 2), BootstrapOptions(draws=50))["f"] == (k / n, k / n)
        assert got[1] - got[0] > 0.1
    assert np.isnan(wilson(ratio([0, 0], [0, 0]), level)).all()


def test_poisson_bounds_leave_the_tails_they_promise() -> None:
    """At the lower bound `count` or more events have the probability 2.5 %, at the upper one `count` or
    fewer.
    """
    for count in (1, 5, 40):
        low, high = poisson(count, 0.95)
        assert low < count < high
        assert stats.poisson.sf(count - 1, low) == pytest.approx(0.025)
        assert stats.poisson.cdf(count, high) == pytest.approx(0.025)
    assert poisson(0, 0.95) == (0.0, pytest.approx(-np.log(0.025)))


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="at least one draw"):
        BootstrapOptions(draws=0)
    with pytest.raises(ValueError, match="level"):
        BootstrapOptions(level=1.0)
