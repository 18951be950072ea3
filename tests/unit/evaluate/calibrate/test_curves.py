"""Curves of a handful of pairs, counted by hand."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from pipeline.evaluate.calibrate.curves import (
    EMPTY_SHARE,
    THRESHOLDS,
    Costs,
    JudgedMasks,
    JudgedPairs,
    choose,
    gate_curve,
    verifier_curve,
    why_none,
)

PAIRS = JudgedPairs(
    p=np.array([0.9, 0.4, 0.1, 0.6, 0.2, 0.05, 0.3]),
    present=np.array([1, 1, 1, 0, 0, 0, 0], dtype=bool),
    absent=np.array([0, 0, 0, 1, 1, 1, 0], dtype=bool),  # the last sees the class in its halo alone
    found=np.array([1, 1, 0, 1, 0, 0, 0], dtype=bool),
    picture=np.arange(7),
)
COSTS = Costs(look_s=0.1, prompter_s=0.5)


def test_one_row_of_the_gates_curve_by_hand() -> None:
    (row,) = gate_curve(PAIRS, COSTS, thresholds=(0.4,))
    exact = binomtest(2, 3).proportion_ci(method="exact")
    assert row["recall"] == pytest.approx(2 / 3, abs=1e-4)
    assert (row["recall_low"], row["recall_high"]) == pytest.approx((exact.low, exact.high), abs=1e-4)
    assert row["recall_of_found"] == 1.0
    assert row["passed_empty"] == pytest.approx(1 / 3, abs=1e-4)
    assert row["asked"] == pytest.approx(3 / 7, abs=1e-4)
    assert row["cost"] == pytest.approx(0.2 + 3 / 7, abs=1e-4)
    assert row["cost_rare"] == pytest.approx(0.2 + EMPTY_SHARE / 3 + (1 - EMPTY_SHARE) * 2 / 4, abs=1e-4)


def test_threshold_0_rejects_nothing_and_costs_the_look() -> None:
    first, *_ = gate_curve(PAIRS, COSTS)
    assert (first["threshold"], first["recall"], first["asked"], first["cost"]) == (0.0, 1.0, 1.0, 1.2)


def test_figures_over_nothing_are_none() -> None:
    nothing = np.zeros(7, dtype=bool)
    (row,) = gate_curve(
        JudgedPairs(p=PAIRS.p, present=nothing, absent=nothing, found=nothing, picture=PAIRS.picture),
        COSTS,
        thresholds=(0.4,),
    )
    assert (row["recall"], row["recall_of_found"], row["passed_empty"], row["cost_rare"]) == (
        None,
        None,
        None,
        None,
    )
    assert (row["recall_low"], row["recall_high"]) == (0.0, 1.0)


def test_pairs_of_one_picture_are_no_independent_draws() -> None:
    """The same figures from 10 pictures of 4 pairs that share a probability and from 40 pictures: one share,
    two certainties.
    """
    p = np.repeat(np.linspace(0, 0.9, 10), 4)
    everything = np.ones(40, dtype=bool)
    nothing = np.zeros(40, dtype=bool)
    rows = []
    for picture in (np.arange(40), np.repeat(np.arange(10), 4)):
        pairs = JudgedPairs(p=p, present=everything, absent=nothing, found=everything, picture=picture)
        rows += gate_curve(pairs, COSTS, thresholds=(0.15,))
    alone, together = rows
    assert alone["recall"] == together["recall"] == 0.8
    assert (alone["n"], alone["independent"]) == (40, 40.0)
    assert 8 <= together["independent"] <= 11
    assert together["recall_low"] < alone["recall_low"] - 0.1


def row(threshold: float, hits: int, n: int) -> dict[str, float]:
    return {
        "threshold": threshold,
        "recall": round(hits / n, 4),
        "recall_low": float(binomtest(hits, n).proportion_ci(method="exact").low),
        "n": n,
        "independent": float(n),
    }


def test_the_largest_threshold_whose_interval_begins_at_the_recall() -> None:
    curve = [
        row(0.0, 400, 400),
        row(0.1, 400, 400),
        row(0.2, 396, 400),
        row(0.3, 370, 400),
        row(0.4, 360, 400),
    ]
    for recall, threshold in ((0.99, 0.1), (0.95, 0.2), (0.9, 0.2), (0.89, 0.3), (0.85, 0.4)):
        chosen = choose(curve, recall)
        assert chosen is not None
        assert chosen["threshold"] == threshold
    assert choose(curve, 0.995) is None
    assert choose(curve[:1], 0.5) is None, "threshold 0 is no gate"
    assert choose([{**row(0.1, 1, 1), "n": 0}], 0.0) is None


def test_no_threshold_is_chosen_because_a_miss_was_seen() -> None:
    """300 pictures of 6 pairs that pass at 0.5, but for one pair of one picture with p = 0.15.

    Where all pass, nothing says how alike the pairs of a picture are: they are worth 300, and 0.025 ** (1 /
    300) = 0.9878. The miss says that they are hardly alike: recall is 1799 / 1800, and its lower end rises
    above the target that the smaller thresholds fail.
    """
    p = np.full(1800, 0.9)
    p[0] = 0.15
    yes = np.ones(1800, dtype=bool)
    thresholds = (0.0, 0.05, 0.1, 0.2, 0.5)
    pairs = JudgedPairs(p=p, present=yes, absent=~yes, found=yes, picture=np.arange(1800) // 6)
    curve = gate_curve(pairs, COSTS, thresholds=thresholds)
    assert [row["recall"] for row in curve] == [1.0, 1.0, 1.0, 0.9994, 0.9994]
    assert [row["recall_low"] for row in curve[:3]] == [0.9878] * 3
    assert all(row["recall_low"] == pytest.approx(0.9917, abs=1e-4) for row in curve[3:])
    assert choose(curve, 0.99) is None
    assert why_none(curve, 0.99, "pairs").startswith(
        "at 0.05 it is 1, but 1800 pairs are worth 300 independent ones"
    )
    chosen = choose(curve[::-1], 0.985)
    assert chosen is not None, "in whatever order the rows come"
    assert chosen["threshold"] == 0.5
    verified = verifier_curve(JudgedMasks(p=p, right=yes, picture=pairs.picture), 1.25, thresholds)
    assert choose(verified, 0.99) is None, "masks of one tile are no independent draws either"


def test_a_threshold_above_one_that_falls_short_is_not_chosen() -> None:
    """The lower end falls below the target at 0.2 and comes back at 0.3: the answer is 0.1."""
    curve = [
        {"threshold": t, "recall": 1.0, "recall_low": low, "n": 9}
        for t, low in ((0.1, 0.96), (0.2, 0.94), (0.3, 0.97))
    ]
    chosen = choose(curve, 0.95)
    assert chosen is not None
    assert chosen["threshold"] == 0.1


def test_why_there_is_no_threshold() -> None:
    """The interval of 100 pairs that all pass begins at 0.9638, that of 368 at 0.025 ** (1 / 368) = 0.99."""
    said = why_none([row(0.1, 100, 100)], 0.99, "pairs")
    assert said.startswith("at 0.1 it is 1, but 100 pairs are worth 100 independent ones")
    assert said.endswith("and 368 are needed: about 368 like these")
    clustered = {**row(0.1, 100, 100), "independent": 25.0}
    assert why_none([clustered], 0.99, "masks").endswith("and 368 are needed: about 1472 like these")
    assert why_none([row(0.1, 90, 100)], 0.95, "pairs") == "at 0.1 it is 0.9"
    assert why_none([row(0.0, 1, 1)], 0.95, "pairs") == "there are no pairs to judge by"
    assert (
        why_none([{**row(0.1, 1, 1), "recall": None, "n": 0}], 0.95, "masks")
        == "there are no masks to judge by"
    )


@pytest.mark.parametrize(
    ("n_pictures", "per_picture", "alike", "target"),
    [(50, 1, 1.0, 0.9), (200, 1, 1.0, 0.95), (40, 8, 1.0, 0.9), (150, 6, 0.5, 0.95), (300, 6, 0.3, 0.98)],
)
def test_a_chosen_threshold_keeps_its_recall(
    n_pictures: int, per_picture: int, alike: float, target: float
) -> None:
    """120 worlds whose log-odds are normal (deviation 2), `alike` of it common to a picture, around a mean
    that is the hardest case: threshold 0.1 keeps a little less than the target. By the share alone, 29 to 59
    % of the worlds would choose it or a larger one.
    """
    logit = math.log(0.1 / 0.9)
    short = target - 0.1 * (1 - target)
    mean = logit + 2 * NormalDist().inv_cdf(short)
    rng = np.random.default_rng(5)
    wrong = 0
    by_share = 0
    for _ in range(120):
        picture = np.repeat(np.arange(n_pictures), per_picture)
        normal = alike**0.5 * rng.standard_normal(n_pictures)[picture] + (
            1 - alike
        ) ** 0.5 * rng.standard_normal(picture.size)
        yes = np.ones(picture.size, dtype=bool)
        pairs = JudgedPairs(
            p=1 / (1 + np.exp(-(mean + 2 * normal))), present=yes, absent=~yes, found=yes, picture=picture
        )
        curve = gate_curve(pairs, COSTS, thresholds=(0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5))
        best = choose(curve, target)
        wrong += best is not None and best["threshold"] >= 0.1
        by_share += max((row["threshold"] for row in curve if row["recall"] >= target), default=0.0) >= 0.1
    assert wrong <= 5, "3 of 120 are one in forty"
    assert by_share >= 30, "the simulation must be able to tell the two rules apart"


def masks(p: list[float], right: list[bool]) -> JudgedMasks:
    return JudgedMasks(p=np.array(p), right=np.array(right), picture=np.arange(len(p)))


def test_the_verifiers_curve_by_hand() -> None:
    (row,) = verifier_curve(masks([0.9, 0.2, 0.8, 0.1], [True, True, False, False]), 1.25, thresholds=(0.5,))
    assert (row["recall"], row["kept_wrong"], row["precision"], row["cost"], row["n"]) == (
        0.5,
        0.5,
        0.5,
        1.25,
        2,
    )
    (none_kept,) = verifier_curve(masks([0.1], [False]), 1.25, thresholds=(0.5,))
    assert (none_kept["recall"], none_kept["precision"]) == (None, None)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_higher_threshold_never_passes_more(rows: list[tuple[float, bool, bool]]) -> None:
    p, present, found = (np.array(column) for column in zip(*rows, strict=True))
    pairs = JudgedPairs(
        p=p.astype(float), present=present, absent=~present, found=found, picture=np.arange(present.size) // 3
    )
    curve = gate_curve(pairs, COSTS)
    assert [row["threshold"] for row in curve] == sorted(THRESHOLDS)
    for figure in ("recall", "recall_of_found", "passed_empty", "asked", "cost"):
        values = [row[figure] for row in curve if row[figure] is not None]
        assert values == sorted(values, reverse=True)
