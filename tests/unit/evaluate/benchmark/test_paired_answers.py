from __future__ import annotations

import numpy as np
import pytest
from evaluate.sample_worlds import SHAPE, record, rectangle

from pipeline.evaluate.benchmark.paired_answers import pair_figures, pairs_text
from pipeline.evaluate.benchmark.sample_records import SampleRecord
from pipeline.evaluate.figures.intervals import BootstrapOptions

NOTHING = np.zeros(SHAPE, bool)
LEFT = rectangle(0, 0, 10, 10)
HALF = rectangle(0, 5, 10, 15)
"""Shares 50 of 150 pixels with LEFT."""
RIGHT = rectangle(12, 12, 20, 20)


def answers(name: str, first: np.ndarray, second: np.ndarray) -> list[SampleRecord]:
    return [
        record(f"{name}{side}", mask, mask, image_id=name, strata={"pair": name, "side": side})
        for side, mask in (("with", first), ("without", second))
    ]


def test_overlap_and_disjoint_by_hand() -> None:
    records = [
        *answers("alike", LEFT, LEFT),  # 1
        *answers("half", LEFT, HALF),  # 1 / 3
        *answers("apart", LEFT, RIGHT),  # 0
        *answers("one", LEFT, NOTHING),  # 0
        *answers("none", NOTHING, NOTHING),  # no overlap
    ]
    figures = pair_figures(records, BootstrapOptions())
    assert figures is not None
    assert (figures["pairs"], figures["without_masks"]) == (5, 1)
    assert figures["overlap"] == pytest.approx((1 + 1 / 3) / 4, abs=1e-6)
    assert figures["disjoint"] == 0.5
    assert figures["overlap_low"] is not None
    assert figures["overlap_low"] <= (1 + 1 / 3) / 4
    text = pairs_text(figures)
    assert text.startswith("5 pairs of queries that exclude each other: their answers overlap by 33.3 % [")
    assert "50.0 % are disjoint, and in 1 neither answer marks anything" in text


def test_without_pairs_there_is_nothing_to_say() -> None:
    assert pair_figures([record("a", LEFT, LEFT)], BootstrapOptions()) is None
    assert pair_figures(answers("a", LEFT, LEFT)[:1], BootstrapOptions()) is None
    assert pairs_text(None) == ""


def test_pairs_that_mark_nothing() -> None:
    figures = pair_figures(answers("none", NOTHING, NOTHING), BootstrapOptions())
    assert figures is not None
    assert figures["overlap"] is None
    assert pairs_text(figures).endswith("no answer marks anything.")
