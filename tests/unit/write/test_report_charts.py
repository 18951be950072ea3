from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pipeline.write.report_charts import area_axis, histogram, score_axis


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


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(0, 1)), st.integers(1, 3))
def test_bars_count_every_object_and_stay_inside(scores: NDArray[np.float64], n_queries: int) -> None:
    queries = np.arange(len(scores)) % n_queries
    found = bars(histogram(scores, queries, score_axis(), n_queries=n_queries))
    assert sum(bar[5] for bar in found) == len(scores)
    assert len({bar[4] for bar in found}) <= n_queries
    for x, y, w, h, _, _ in found:
        assert x >= 40
        assert x + w <= 460
        assert y >= 10
        assert y + h <= 151


def test_heights_are_proportional_and_stacks_do_not_overlap() -> None:
    scores = np.array([0.1] * 6 + [0.9] * 3)
    tall, short = sorted(bars(histogram(scores, np.zeros(9, dtype=np.int64), score_axis(), n_queries=1)))
    assert tall[3] / short[3] == pytest.approx(2.0, abs=0.01)
    low, high = sorted(bars(histogram(np.array([0.5, 0.5]), np.array([0, 1]), score_axis(), n_queries=2)), key=lambda bar: -bar[1])
    assert low[1] == pytest.approx(high[1] + high[3], abs=0.11)


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(1e-3, 1e9)))
def test_area_bins_cover_all_areas(areas: NDArray[np.float64]) -> None:
    axis = area_axis(areas, unit="m²")
    assert axis.edges[0] <= areas.min() * (1 + 1e-12)
    assert areas.max() <= axis.edges[-1] * (1 + 1e-12)
    assert sum(bar[5] for bar in bars(histogram(areas, np.zeros(len(areas), dtype=np.int64), axis, n_queries=1))) == len(areas)


def test_labels_are_readable() -> None:
    svg = histogram(
        np.array([0.5, 120.0, 90000.0]), np.zeros(3, dtype=np.int64), area_axis(np.array([0.5, 90000.0]), unit="m²"), n_queries=1
    )
    texts = [node.text for node in ET.fromstring(svg).iter("text")]
    assert {"0.1", "1", "10", "100", "1,000", "10,000", "1e5", "area, m²"} <= set(texts)
