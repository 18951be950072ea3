"""Figures against all samples that could have been drawn of tiny regions, and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.assess.query_estimates import QueryAnswers, StratumAnswers, estimate_query, gaps


def stratum(
    values: Sequence[float], size: int, *, name: str = "s", unsure: int = 0, area_m2: float = 0.0
) -> StratumAnswers:
    return StratumAnswers(
        name=name, size=size, values=np.asarray(values, dtype=np.float64), n_unsure=unsure, area_m2=area_m2
    )


Population = list[tuple[list[int], int]]
"""Per stratum the values of all units, and how many are drawn."""


def populations(most: int) -> st.SearchStrategy[Population]:
    units = st.lists(st.integers(0, most), min_size=1, max_size=4)
    return st.lists(
        units.flatmap(lambda u: st.tuples(st.just(u), st.integers(1, len(u)))), min_size=1, max_size=2
    )


def samples(population: Population) -> list[list[StratumAnswers]]:
    """All samples of a population."""
    draws = product(*(combinations(units, n) for units, n in population))
    return [
        [
            stratum(values, len(units), area_m2=7.0)
            for values, (units, _) in zip(draw, population, strict=True)
        ]
        for draw in draws
    ]


@settings(max_examples=40)
@given(objects=populations(1), cells=populations(2))
def test_count_and_precision_are_unbiased(objects: Population, cells: Population) -> None:
    estimates = [
        estimate_query(QueryAnswers(objects=a, cells=b, points=None))
        for a, b in product(samples(objects), samples(cells))
    ]
    right = sum(sum(units) for units, _ in objects)
    missed = sum(sum(units) for units, _ in cells)
    published = sum(len(units) for units, _ in objects)
    counts = [each.count for each in estimates]
    precisions = [each.precision for each in estimates]
    assert np.mean([each.value for each in counts if each]) == pytest.approx(right + missed)
    assert np.mean([each.value for each in precisions if each]) == pytest.approx(right / published)
    for each in estimates:
        assert each.count is not None
        assert each.count.low <= each.count.value + 1e-9
        assert each.count.value <= each.count.high + 1e-9


@given(points=populations(1))
def test_area_is_unbiased(points: Population) -> None:
    estimates = [
        estimate_query(QueryAnswers(objects=None, cells=None, points=each)) for each in samples(points)
    ]
    true_m2 = sum(7.0 * np.mean(units) for units, _ in points)
    assert np.mean([each.area_m2.value for each in estimates if each.area_m2]) == pytest.approx(true_m2)
    assert all(each.area_m2 and each.area_m2.high <= 7.0 * len(points) + 1e-9 for each in estimates)
    assert all(each.count is None and each.precision is None for each in estimates)


def test_the_figures_of_a_small_review_by_hand() -> None:
    given = QueryAnswers(
        objects=[stratum([1, 1, 1, 0], 40), stratum([1, 1], 2)],
        cells=[stratum([0, 2, 0, 0], 20)],
        points=[
            stratum([1, 1, 1, 0], 100, name="on objects", area_m2=25.0),
            stratum([1, 0, 0, 0], 900, name="far", area_m2=225.0),
        ],
    )
    found = estimate_query(given)
    right = 40 * 0.75 + 2
    values = {
        "precision": right / 42,
        "count": right + 10,
        "missed": 10.0,
        "recall": right / (right + 10),
        "covered": 0.1 * 0.75 + 0.9 * 0.25,
        "area_m2": 25 * 0.75 + 225 * 0.25,
        "near_area_m2": 25 * 0.75,
    }
    for name, value in values.items():
        assert getattr(found, name).value == pytest.approx(value), name
    assert found.missed is not None
    assert found.missed.low >= 2  # two were seen
    assert found.precision is not None
    assert found.precision.high <= 41 / 42  # one was wrong


def test_unsure_answers_are_left_out_and_bound_the_estimate() -> None:
    given = QueryAnswers(
        objects=[stratum([1, 0], 100, unsure=2)],
        cells=[stratum([0, 0, 1], 50, unsure=1)],
        points=[stratum([1, 0, 0], 10, unsure=1, area_m2=10.0)],
    )
    out, no, yes = (estimate_query(given, how) for how in ("left out", "as no", "as yes"))
    for name, values in (
        ("precision", (0.5, 0.25, 0.75)),
        ("missed", (50 / 3, 12.5, 25.0)),
        ("area_m2", (10 / 3, 2.5, 5.0)),
    ):
        assert [getattr(each, name).value for each in (out, no, yes)] == pytest.approx(values)


def test_a_stratum_without_an_answer_leaves_no_figure() -> None:
    given = QueryAnswers(
        objects=[stratum([1], 5), stratum([], 9, name="high")], cells=[stratum([0], 5)], points=None
    )
    assert gaps(given.objects) == ["high"]
    found = estimate_query(given)
    assert (found.precision, found.recall, found.count, found.area_m2) == (None, None, None, None)
    assert found.missed is not None


def test_nothing_published_and_nothing_missed_has_no_recall() -> None:
    found = estimate_query(QueryAnswers(objects=[], cells=[stratum([0] * 30, 30)], points=None))
    assert found.recall is None
    assert found.precision is None
    assert found.count is not None
    assert (found.count.value, found.count.high) == (0, 0)


def test_without_a_crs_there_is_a_share_and_no_area() -> None:
    points = [stratum([1, 0], 10, area_m2=float("nan"))]
    found = estimate_query(QueryAnswers(objects=None, cells=None, points=points))
    assert found.area_m2 is None
    assert found.covered is not None
    assert found.covered.value == 0.5
