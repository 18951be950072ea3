"""Curves of a handful of pairs, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate.gate_audit import clopper_pearson
from pipeline.evaluate.gate_curves import EMPTY_SHARE, THRESHOLDS, Costs, JudgedPairs, choose, gate_curve, verifier_curve

PAIRS = JudgedPairs(
    p=np.array([0.9, 0.4, 0.1, 0.6, 0.2, 0.05, 0.3]),
    present=np.array([1, 1, 1, 0, 0, 0, 0], dtype=bool),
    absent=np.array([0, 0, 0, 1, 1, 1, 0], dtype=bool),  # the last sees the class in its halo alone
    found=np.array([1, 1, 0, 1, 0, 0, 0], dtype=bool),
)
COSTS = Costs(look_s=0.1, prompter_s=0.5)


def test_one_row_of_the_gates_curve_by_hand() -> None:
    (row,) = gate_curve(PAIRS, COSTS, thresholds=(0.4,))
    low, high = clopper_pearson(2, 3)
    assert row["recall"] == pytest.approx(2 / 3, abs=1e-4)
    assert (row["recall_low"], row["recall_high"]) == (round(low, 4), round(high, 4))
    assert row["recall_of_found"] == 1.0
    assert row["passed_empty"] == pytest.approx(1 / 3, abs=1e-4)
    assert row["asked"] == pytest.approx(3 / 7, abs=1e-4)
    assert row["cost"] == pytest.approx(0.2 + 3 / 7, abs=1e-4)
    assert row["cost_rare"] == pytest.approx(0.2 + EMPTY_SHARE / 3 + (1 - EMPTY_SHARE) * 2 / 3, abs=1e-4)


def test_threshold_0_rejects_nothing_and_costs_the_look() -> None:
    first, *_ = gate_curve(PAIRS, COSTS)
    assert (first["threshold"], first["recall"], first["asked"], first["cost"]) == (0.0, 1.0, 1.0, 1.2)


def test_figures_over_nothing_are_none() -> None:
    nothing = np.zeros(7, dtype=bool)
    (row,) = gate_curve(JudgedPairs(p=PAIRS.p, present=nothing, absent=nothing, found=nothing), COSTS, thresholds=(0.4,))
    assert (row["recall"], row["recall_of_found"], row["passed_empty"], row["cost_rare"]) == (None, None, None, None)
    assert (row["recall_low"], row["recall_high"]) == (0.0, 1.0)


def test_the_largest_threshold_that_keeps_a_recall() -> None:
    curve = gate_curve(PAIRS, COSTS)
    for recall, threshold in ((1.0, 0.1), (0.6, 0.4), (0.3, 0.9)):
        row = choose(curve, recall)
        assert row is not None
        assert row["threshold"] == threshold
    assert choose([row for row in curve if row["threshold"] > 0.9], 0.5) is None


def test_the_verifiers_curve_by_hand() -> None:
    (row,) = verifier_curve(np.array([0.9, 0.2, 0.8, 0.1]), np.array([True, True, False, False]), thresholds=(0.5,))
    assert (row["recall"], row["kept_wrong"], row["precision"]) == (0.5, 0.5, 0.5)
    (none_kept,) = verifier_curve(np.array([0.1]), np.array([False]), thresholds=(0.5,))
    assert (none_kept["recall"], none_kept["precision"]) == (None, None)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_higher_threshold_never_passes_more(rows: list[tuple[float, bool, bool]]) -> None:
    p, present, found = (np.array(column) for column in zip(*rows, strict=True))
    pairs = JudgedPairs(p=p.astype(float), present=present, absent=~present, found=found)
    curve = gate_curve(pairs, COSTS)
    assert [row["threshold"] for row in curve] == sorted(THRESHOLDS)
    for figure in ("recall", "recall_of_found", "passed_empty", "asked", "cost"):
        values = [row[figure] for row in curve if row[figure] is not None]
        assert values == sorted(values, reverse=True)
