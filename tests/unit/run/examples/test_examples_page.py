"""Precision and recall of marks that were left out, by hand and against scikit-learn."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from pipeline.run.examples.examples_page import (
    at_threshold,
    average_precision,
    curve,
    curve_svg,
    curve_text,
)

P = np.array([0.9, 0.8, 0.6, 0.4, 0.1])
YES = np.array([True, False, True, True, False])


def test_one_threshold_by_hand() -> None:
    """From 0.6 up: two right of three kept, of three that there are."""
    point = at_threshold(P, YES, 0.6)
    assert (point.precision, point.recall) == pytest.approx((2 / 3, 2 / 3))
    nothing = at_threshold(P, YES, 0.95)
    assert (nothing.precision, nothing.recall) == (1.0, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_scikit_learn_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    yes = rng.random(30) < 0.4
    probability = np.round(rng.random(30), 1)  # with ties
    assert average_precision(curve(probability, yes)) == pytest.approx(
        average_precision_score(yes, probability)
    )


def test_the_text_names_the_threshold_in_use() -> None:
    text = curve_text(P, YES, 0.5)
    assert "3 marks yes, 2 no" in text
    (line,) = [line for line in text.splitlines() if "in use" in line]
    assert line.split()[:3] == ["0.50", "0.67", "0.67"]
    assert "average precision 0.81" in text


def test_the_picture_is_one_line_in_its_frame() -> None:
    root = ET.fromstring(curve_svg(P, YES))
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    places = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert len(places) == 1 + len(P)
    assert places[-1] == pytest.approx((40 + 220, 20 + 220 * (1 - 3 / 5)), abs=0.1)
