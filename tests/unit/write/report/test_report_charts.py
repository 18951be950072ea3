from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pipeline.write.report.report_charts import (
    AREA_EDGES,
    SCORE_EDGES,
    area_axis,
    bins_of,
    count_bins,
    histogram,
    score_axis,
)
from pipeline.write.report.report_html import Html


def bars(svg: str) -> list[tuple[float, float, float, float, str, int]]:
    """(x, y, width, height, colour, count) of every bar."""
    found = []
    for rect in ET.fromstring(svg).iter("rect"):
        title = rect.find("title")
        assert title is not None
        assert title.text is not None
        x, y, w, h = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        found.append((x, y, w, h, rect.attrib["fill"], int(title.text.split()[0])))
    return found


def scores_of(scores: NDArray[np.float64], queries: NDArray[np.int64], n_queries: int) -> Html:
    return histogram(count_bins(scores, queries, SCORE_EDGES, n_queries=n_queries), score_axis())


def areas_of(areas: NDArray[np.float64]) -> Html:
    axis = area_axis(areas.min(), areas.max(), unit="m²")
    counts = count_bins(areas, np.zeros(len(areas), dtype=np.int64), AREA_EDGES, n_queries=1)
    return histogram(bins_of(counts, axis), axis)


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(0, 1)), st.integers(1, 3))
def test_bars_count_every_object_and_stay_inside(scores: NDArray[np.float64], n_queries: int) -> None:
    queries = np.arange(len(scores)) % n_queries
    found = bars(scores_of(scores, queries, n_queries))
    assert sum(bar[5] for bar in found) == len(scores)
    assert len({bar[4] for bar in found}) <= n_queries
    for x, y, w, h, _, _ in found:
        assert x >= 40
        assert x + w <= 460
        assert y >= 10
        assert y + h <= 151


def test_heights_are_proportional_and_stacks_do_not_overlap() -> None:
    scores = np.array([0.1] * 6 + [0.9] * 3)
    tall, short = sorted(bars(scores_of(scores, np.zeros(9, dtype=np.int64), 1)))
    assert tall[3] / short[3] == pytest.approx(2.0, abs=0.01)
    low, high = sorted(bars(scores_of(np.array([0.5, 0.5]), np.array([0, 1]), 2)), key=lambda bar: -bar[1])
    assert low[1] == pytest.approx(high[1] + high[3], abs=0.11)


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(1e-3, 1e9)))
def test_area_bins_cover_all_areas(areas: NDArray[np.float64]) -> None:
    axis = area_axis(areas.min(), areas.max(), unit="m²")
    assert axis.edges[0] <= areas.min() * (1 + 1e-12)
    assert areas.max() <= axis.edges[-1] * (1 + 1e-12)
    assert sum(bar[5] for bar in bars(areas_of(areas))) == len(areas)


def test_values_beyond_the_edges_and_unknown_ones() -> None:
    edges = np.array([1.0, 2.0, 4.0])
    counts = count_bins(
        np.array([-5.0, 0.0, 1.0, 2.0, 4.0, 9.0, np.nan, np.inf]),
        np.array([0, 0, 0, 0, 1, 1, 1, 0]),
        edges,
        n_queries=2,
    )
    assert counts.tolist() == [[3, 1], [0, 2]]
    axis = area_axis(20.0, 900.0, unit="m²")
    assert axis.edges.tolist() == pytest.approx([10 ** (1 + i / 4) for i in range(9)])
    counts = count_bins(
        np.array([0.0, 20.0, 900.0, 5000.0]), np.zeros(4, dtype=np.int64), AREA_EDGES, n_queries=1
    )
    assert bins_of(counts, axis).tolist() == [[1, 1, 0, 0, 0, 0, 0, 2]]


@pytest.mark.parametrize(
    ("smallest", "largest", "n_decades"),
    [(np.inf, 0.0, 1), (1000.0, 1000.0, 1), (1e-300, 1e300, 32), (1e-30, 1e-29, 1)],
)
def test_there_is_always_an_axis(smallest: float, largest: float, n_decades: int) -> None:
    assert area_axis(smallest, largest, unit="pixels").edges.size == 4 * n_decades + 1


def test_labels_are_readable() -> None:
    svg = areas_of(np.array([0.5, 120.0, 90000.0]))
    texts = [node.text for node in ET.fromstring(svg).iter("text")]
    assert {"0.1", "1", "10", "100", "1,000", "10,000", "1e5", "area, m²"} <= set(texts)
