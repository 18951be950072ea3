"""Areas of change against all samples of tiny regions, by hand, and against the truth of a region."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.assess.change.change_estimates import PointAnswers, estimate_change
from pipeline.assess.draw_units import DrawnStratum

LABELS = ("neither", "lost", "gained", "both")


def answers(name: str, labels: tuple[str, ...], size: int, px_m2: float = 1.0) -> PointAnswers:
    stratum = DrawnStratum(kind="change", name=name, size=size, drawn=len(labels), area_m2=size * px_m2)
    return PointAnswers(stratum=stratum, labels=np.array(labels, dtype=np.str_), n_unsure=0, n_unanswered=0)


region = st.tuples(*(st.lists(st.sampled_from(LABELS), min_size=2, max_size=4) for _ in range(2)))


@settings(max_examples=40)
@given(region, st.sampled_from(("lost", "gained", "both")))
def test_areas_are_unbiased_and_exact_where_all_was_looked_at(
    pixels: tuple[list[str], list[str]], truth: str
) -> None:
    lost, away = pixels
    draws = product(combinations(lost, 2), combinations(away, len(away) - 1))
    estimates = [
        estimate_change([answers("lost", a, len(lost)), answers("away from objects", b, len(away))], truth)
        for a, b in draws
    ]
    true = lost.count(truth) + away.count(truth)
    assert np.mean([each.area_m2.value for each in estimates]) == pytest.approx(true)
    whole = estimate_change(
        [answers("lost", tuple(lost), len(lost)), answers("away from objects", tuple(away), len(away))], truth
    )
    assert (whole.area_m2.low, whole.area_m2.value, whole.area_m2.high) == pytest.approx((true,) * 3)
    if truth == "lost":
        assert whole.precision is not None
        assert whole.precision.value == pytest.approx(lost.count("lost") / len(lost))
        assert (whole.recall is None) == (true == 0)
        assert whole.recall is None or whole.recall.value == pytest.approx(lost.count("lost") / true)
    else:
        assert whole.precision is None


def test_by_hand() -> None:
    """30 of 40 points in 1 ha that the comparison has as lost truly are, and 1 of 50 in 9 ha beside it."""
    given_ = [
        answers("lost", ("lost",) * 30 + ("both",) * 10, 10_000),
        answers("away from objects", ("lost",) + ("neither",) * 49, 90_000),
    ]
    lost = estimate_change(given_, "lost")
    assert lost.area_m2.value == pytest.approx(0.75 * 10_000 + 0.02 * 90_000)
    assert lost.area_m2.low < 7_900
    assert lost.area_m2.high > 12_000
    assert lost.recall is not None
    assert lost.recall.value == pytest.approx(7_500 / 9_300)
    gained = estimate_change(given_, "gained")
    assert gained.area_m2.value == 0.0
    assert 500 < gained.area_m2.high < 7_000, "nothing seen in 90 points is not nothing there"
    assert gained.precision is None
    assert gained.recall is None or gained.recall.value == 0.0
