"""The audit's arithmetic: by hand, against SciPy's exact interval, and by simulation of what it promises."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from pipeline.prompt.looks.gate_audit import GateCounts, clopper_pearson, gate_figures, gate_text
from pipeline.schema.tile_answers import Reason, TileStatus


@dataclass(frozen=True)
class Row:
    status: TileStatus
    reason: Reason = Reason.NONE
    gate_p: float | None = None
    audited: bool = False


FOUND = TileStatus.FOUND
EMPTY = TileStatus.EMPTY
FAILED = TileStatus.FAILED


def test_every_row_is_sorted_once() -> None:
    counts = GateCounts()
    counts.add(
        [
            Row(FOUND, gate_p=0.9),
            Row(EMPTY, Reason.PROMPTER, gate_p=0.6),
            Row(FAILED, Reason.MALFORMED, gate_p=0.6),
            Row(EMPTY, Reason.GATE, gate_p=0.01),
            Row(FOUND, gate_p=0.01, audited=True),
            Row(EMPTY, Reason.PROMPTER, gate_p=0.02, audited=True),
            Row(FAILED, Reason.TIMEOUT, gate_p=0.02, audited=True),
            Row(FOUND),  # the look failed
            Row(EMPTY, Reason.NODATA),  # nothing to look at
            Row(FAILED, Reason.CRASHED),  # the block killed the process before it was judged,
            Row(FAILED, Reason.CRASHED, gate_p=0.9),  # or after: passed, rejected and audited look alike
            Row(FAILED, Reason.CRASHED, gate_p=0.02, audited=True),
        ]
    )
    want = GateCounts(
        passed=3,
        passed_found=1,
        passed_failed=1,
        rejected=4,
        audited=3,
        audited_found=1,
        audited_failed=1,
        not_judged=1,
    )
    assert counts == want
    assert counts.judged == 7


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_exact_interval_is_scipys(k: int, more: int, level: float) -> None:
    n = k + more
    if n == 0:
        assert clopper_pearson(0, 0, level) == (0.0, 1.0)
        return
    want = binomtest(k, n).proportion_ci(confidence_level=level, method="exact")
    assert clopper_pearson(k, n, level) == pytest.approx((want.low, want.high))


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="3 of 2"):
        clopper_pearson(3, 2)


def test_recall_by_hand() -> None:
    """1000 rejected, 20 looked at (one more failed), 1 of them held something: 50 missed; 150 passed and
    found: 150 / 200.
    """
    counts = GateCounts(
        passed=400, passed_found=150, rejected=1000, audited=21, audited_found=1, audited_failed=1
    )
    figures = gate_figures(counts)
    held = binomtest(1, 20).proportion_ci(confidence_level=0.95, method="exact")
    assert figures["recall"] == 0.75
    assert figures["recall_low"] == pytest.approx(150 / (150 + 1000 * held.high), abs=1e-6)
    assert figures["recall_high"] == pytest.approx(150 / (150 + 1000 * held.low), abs=1e-6)
    assert "rejected 1000 of 1400 (tile, query) pairs (71.4 %); audited 21, found 1; " in gate_text(figures)
    assert (
        f"; recall of what is found without the gate: 0.750, 95 % [{figures['recall_low']:.3f}, "
        in gate_text(figures)
    )
    assert figures["recall_of"] == "what is found without the gate"


def test_failures_are_treated_alike_on_both_sides() -> None:
    """1000 passed pairs of which 200 hold something, 1000 rejected ones of which 50 do, all audited; 40 % of
    all calls time out.

    Of 600 answered passed pairs 120 are found: 20 %, 200 of 1000. Of 600 answered audited ones 30: 5 %, 50 of
    1000. 200 / 250.
    """
    counts = GateCounts(
        passed=1000,
        passed_found=120,
        passed_failed=400,
        rejected=1000,
        audited=1000,
        audited_found=30,
        audited_failed=400,
    )
    figures = gate_figures(counts)
    assert figures["recall"] == 0.8
    found, held = (binomtest(k, 600).proportion_ci(confidence_level=0.95, method="exact") for k in (120, 30))
    assert figures["recall_low"] == pytest.approx(found.low / (found.low + held.high), abs=1e-6)
    assert figures["recall_high"] == pytest.approx(found.high / (found.high + held.low), abs=1e-6)
    assert "audited 1000, found 30; failed 400 of the passed, 400 of the audited; " in gate_text(figures)
    assert figures["interval"].endswith("and of the found share of passed pairs")


def test_one_failure_moves_what_passed_by_no_more_than_one() -> None:
    """99 of 100 passed pairs answered, 50 found: with the failed one 50 or 51, and nothing was rejected that
    held something.
    """
    counts = GateCounts(passed=100, passed_found=50, passed_failed=1, rejected=10)
    figures = gate_figures(counts)
    assert figures["recall_low"] == pytest.approx(50 / 60, abs=1e-6)
    counts = GateCounts(
        passed=100, passed_found=50, passed_failed=1, rejected=10, audited=10, audited_found=10
    )
    assert gate_figures(counts)["recall_high"] == pytest.approx(51 / 61, abs=1e-6)


def test_when_all_that_passed_failed_no_recall_is_claimed() -> None:
    figures = gate_figures(GateCounts(passed=9, passed_failed=9, rejected=10, audited=10, audited_found=1))
    assert (figures["recall"], figures["recall_low"], figures["recall_high"]) == (None, 0.0, 0.9)


def test_without_an_audit_nothing_is_claimed() -> None:
    figures = gate_figures(GateCounts(passed=10, passed_found=5, rejected=15))
    assert (figures["recall"], figures["recall_low"], figures["recall_high"]) == (None, 0.25, 1.0)
    assert ": unknown, 95 % [0.250, 1.000]" in gate_text(figures)
    nothing_found = gate_figures(GateCounts(passed=10))
    assert nothing_found["recall_low"] is None
    assert "nothing was found" in gate_text(nothing_found)
    all_rejected = gate_figures(GateCounts(rejected=10))
    assert (all_rejected["recall"], all_rejected["recall_low"]) == (None, 0.0)
    assert "nothing was found" in gate_text(all_rejected)


def test_looks_without_an_answer_are_told() -> None:
    assert gate_text(gate_figures(GateCounts(not_judged=7))).endswith("; about 7 the gate gave no answer")
    assert "no answer" not in gate_text(gate_figures(GateCounts(passed=7)))


def test_a_gate_that_rejects_nothing_loses_nothing() -> None:
    figures = gate_figures(GateCounts(passed=10, passed_found=5))
    assert (figures["recall"], figures["recall_low"], figures["recall_high"]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("missed", "share"), [(0, 0.05), (12, 0.05), (40, 0.1), (5, 0.02)])
def test_the_interval_holds_the_truth_as_often_as_it_promises(missed: int, share: float) -> None:
    """1000 rejected pairs of which `missed` hold something, 60 passed and found, sampled 400 times."""
    rng = np.random.default_rng(missed)
    truth = 60 / (60 + missed)
    held = 0
    for _ in range(400):
        sampled = rng.random(1000) < share
        counts = GateCounts(
            passed=80,
            passed_found=60,
            rejected=1000,
            audited=int(sampled.sum()),
            audited_found=int(sampled[:missed].sum()),
        )
        figures = gate_figures(counts)
        held += figures["recall_low"] - 1e-6 <= truth <= figures["recall_high"] + 1e-6
    assert held >= 0.95 * 400


@pytest.mark.parametrize("audit", [0.1, 1.0])
def test_the_interval_holds_the_truth_when_calls_fail(audit: float) -> None:
    """200 of 1000 passed pairs hold something and 50 of 1000 rejected ones; four of ten calls fail, drawn 400
    times.
    """
    rng = np.random.default_rng(9)
    held = 0
    for _ in range(400):
        answered = rng.random((2, 1000)) < 0.6
        sampled = rng.random(1000) < audit
        counts = GateCounts(
            passed=1000,
            passed_found=int(answered[0][:200].sum()),
            passed_failed=int((~answered[0]).sum()),
            rejected=1000,
            audited=int(sampled.sum()),
            audited_found=int((sampled & answered[1])[:50].sum()),
            audited_failed=int((sampled & ~answered[1]).sum()),
        )
        figures = gate_figures(counts)
        held += figures["recall_low"] <= 0.8 <= figures["recall_high"]
    assert held >= 0.95 * 400
