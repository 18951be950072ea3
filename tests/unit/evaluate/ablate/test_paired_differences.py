"""Differences against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from evaluate.sample_worlds import SHAPE, record, rectangle

from pipeline.errors import RecordError
from pipeline.evaluate.ablate.paired_differences import differences, figures_by_line
from pipeline.evaluate.figures.intervals import BootstrapOptions

OPTIONS = BootstrapOptions(draws=200)
NOTHING = np.zeros(SHAPE, bool)
TRUE = rectangle(0, 0, 4, 10)
HALF = rectangle(0, 0, 2, 10)


def test_a_difference_is_the_mean_over_samples() -> None:
    reference = [record("a", TRUE, HALF), record("b", TRUE, TRUE), record("c", NOTHING, HALF)]
    better = [record("a", TRUE, TRUE), record("b", TRUE, TRUE), record("c", NOTHING, NOTHING)]
    found = differences(better, reference, OPTIONS)
    assert found["giou"]["value"] == pytest.approx(1.5 / 3)
    assert found["giou_present"]["value"] == pytest.approx(0.25)
    assert found["giou_present"]["changed"] == 1
    assert found["rejection"]["value"] == 1.0
    low, high = found["giou_present"]["low"], found["giou_present"]["high"]
    assert low is not None
    assert high is not None
    assert low <= 0.25 <= high


def test_a_variant_does_not_differ_from_itself() -> None:
    same = [record("a", TRUE, HALF), record("b", TRUE, TRUE)]
    for entry in differences(same, same, OPTIONS).values():
        assert entry["changed"] == 0
        assert entry["value"] in (0.0, None)
        assert entry["low"] == entry["high"]


def test_other_samples_are_refused() -> None:
    with pytest.raises(RecordError, match="the same samples"):
        differences([record("a", TRUE, HALF)], [record("b", TRUE, HALF)], OPTIONS)
    with pytest.raises(RecordError, match="the same samples"):
        differences([record("a", TRUE, HALF)], [record("a", HALF, HALF)], OPTIONS)


def test_kinds_of_long_targets_have_figures_of_their_own() -> None:
    river = {"strata": {"line": "river"}}
    road = {"strata": {"line": "road"}}
    reference = [record("a", TRUE, HALF, **river), record("b", TRUE, TRUE, **road)]
    better = [record("a", TRUE, TRUE, **river), record("b", TRUE, HALF, **road)]
    found = figures_by_line(better, reference)
    assert [(name, entry["n"], entry["giou"]) for name, entry in found.items()] == [
        ("river", 1, 1.0),
        ("road", 1, 0.5),
    ]
    assert [entry["difference"]["value"] for entry in found.values()] == [0.5, -0.5]
    assert figures_by_line(better, None)["river"]["difference"] is None
    assert figures_by_line([record("a", TRUE, HALF)], None) == {}
