"""Figures by hand, under every convention, and against scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluate.mask_worlds import counts_of, random_pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from pipeline.evaluate.figures.metrics import (
    CONVENTIONS,
    SampleCounts,
    rejection_figures,
    rejection_table,
    sample_scores,
    segmentation_figures,
)

CASES = (
    # true, predicted, common, abstained, failed
    (100, 100, 50, False, False),  # 0  IoU 50/150 = 1/3
    (100, 100, 100, False, False),  # 1  IoU 1
    (100, 50, 50, False, False),  # 2  IoU exactly 1/2
    (100, 0, 0, True, False),  # 3  wrongly rejected
    (100, 0, 0, False, True),  # 4  malformed on a present target
    (0, 0, 0, True, False),  # 5  rightly rejected
    (0, 80, 0, False, False),  # 6  false alarm
    (0, 0, 0, False, True),  # 7  malformed on an empty target
    (0, 0, 0, False, False),  # 8  prompts that gave no pixel, on an empty target
)


def hand_counts() -> SampleCounts:
    columns = np.array(CASES, dtype=np.int64).T
    true, predicted, common, abstained, failed = columns
    return SampleCounts(
        true_px=true,
        predicted_px=predicted,
        common_px=common,
        total_px=np.full(len(CASES), 400),
        abstained=abstained.astype(bool),
        failed=failed.astype(bool),
    )


THIRD = 1 / 3

# scores of the nine cases, cIoU as (common, union), P@0.5 as (hits, of)
EXPECTED = {
    "paper": ([THIRD, 1, 0.5, 0, 0, 1, 0, 0, 1], (200, 150 + 100 + 100 + 100 + 100 + 80), (3, 9)),
    "think2seg": ([THIRD, 1, 0.5, 0, 0, 1, 0, 0, 0], (200, 150 + 100 + 100 + 100 + 100), (2, 5)),
    "segearth-r1": ([50 / 150.00001, 100 / 100.00001, 50 / 100.00001, 0, 0, 1, 0, 1, 1], (200, 630), (4, 9)),
    "vision-reasoner": ([THIRD, 1, 0.5, 0, 0, 0, 0, 0, 0], (200, 630), (1, 9)),
}


@pytest.mark.parametrize("name", list(EXPECTED))
def test_every_open_case_under_every_convention(name: str) -> None:
    scores, (common, union), (hits, among) = EXPECTED[name]
    convention = CONVENTIONS[name]
    np.testing.assert_allclose(sample_scores(hand_counts(), convention), scores, rtol=1e-12)
    figures = segmentation_figures(hand_counts(), convention)
    assert figures["giou"].value == pytest.approx(sum(scores) / 9)
    assert figures["giou_present"].value == pytest.approx(sum(scores[:5]) / 5)
    assert figures["giou_present"].n == 5
    assert figures["ciou"].value == pytest.approx(common / union)
    assert figures["p@0.5"].value == pytest.approx(hits / among)
    assert (figures["p@0.5"].numerator.sum(), figures["p@0.5"].denominator.sum()) == (hits, among)


def test_a_convention_for_every_name_and_the_paper_first() -> None:
    assert list(CONVENTIONS) == list(EXPECTED)
    assert all(convention.name == name for name, convention in CONVENTIONS.items())


def test_exactly_one_half_is_a_hit_only_where_the_code_says_so() -> None:
    exact = hand_counts().subset(np.arange(9) == 2)
    hits = {
        name: segmentation_figures(exact, convention)["p@0.5"].value
        for name, convention in CONVENTIONS.items()
    }
    assert hits == {"paper": 0.0, "think2seg": 1.0, "segearth-r1": 0.0, "vision-reasoner": 0.0}


def test_rejection_table_by_hand() -> None:
    table = rejection_table(hand_counts())
    assert (table.n_empty, table.true, table.false, table.failed_on_empty) == (4, 1, 3, 1)
    assert (table.n_present, table.falsely_rejected) == (5, 1)
    figures = rejection_figures(hand_counts())
    assert figures["rejection"].value == 0.25
    assert figures["false_rejection"].value == 0.2
    assert figures["failure"].value == pytest.approx(2 / 9)


def test_the_numbers_of_a_published_table_come_out_again() -> None:
    """Think2Seg-RS-7B on the EarthReason test set: 24 of 39 empty targets rejected, printed as 61.5 %."""
    counts = SampleCounts(
        true_px=np.zeros(39, np.int64),
        predicted_px=np.r_[np.zeros(24, np.int64), np.full(15, 9)],
        common_px=np.zeros(39, np.int64),
        total_px=np.full(39, 100),
        abstained=np.arange(39) < 24,
        failed=np.zeros(39, bool),
    )
    assert (rejection_table(counts).true, rejection_table(counts).false) == (24, 15)
    assert round(100 * rejection_figures(counts)["rejection"].value, 1) == 61.5


def test_a_figure_without_samples_does_not_exist() -> None:
    present_only = hand_counts().subset(~hand_counts().empty)
    assert np.isnan(rejection_figures(present_only)["rejection"].value)
    none = present_only.subset(np.zeros(5, bool))
    assert np.isnan(segmentation_figures(none, CONVENTIONS["paper"])["giou"].value)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_giou_and_ciou_agree_with_scikit_learn(seed: int) -> None:
    pairs = random_pairs(seed, 6)
    figures = segmentation_figures(counts_of(pairs), CONVENTIONS["paper"])
    per_sample = [jaccard_score(t.ravel(), p.ravel(), zero_division=1.0) for t, p in pairs]
    assert figures["giou"].value == pytest.approx(np.mean(per_sample))
    true, predicted = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    if (true | predicted).any():
        assert figures["ciou"].value == pytest.approx(jaccard_score(true, predicted))
    for threshold in (0.5, 0.7, 0.9):
        assert figures[f"p@{threshold}"].value == pytest.approx(np.mean(np.array(per_sample) > threshold))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_conventions_differ_only_where_a_target_is_empty_or_an_answer_has_no_mask(seed: int) -> None:
    pairs = [pair for pair in random_pairs(seed, 8) if pair[0].any() and pair[1].any()]
    counts = counts_of(pairs)
    paper = segmentation_figures(counts, CONVENTIONS["paper"])
    for name, convention in CONVENTIONS.items():
        for figure, ratio in segmentation_figures(counts, convention).items():
            ties = figure.startswith("p@") and (counts.iou == float(figure[2:])).any()
            if not (name == "think2seg" and ties):
                assert ratio.value == pytest.approx(paper[figure].value, abs=1e-4, nan_ok=True), (
                    name,
                    figure,
                )


def test_contradicting_counts_are_refused() -> None:
    counts = hand_counts()
    with pytest.raises(ValueError, match="contradict"):
        replace(counts, common_px=counts.true_px + 1)
    with pytest.raises(ValueError, match="one entry per sample"):
        replace(counts, failed=np.zeros(3, bool))
    with pytest.raises(ValueError, match="no predicted pixels"):
        replace(counts, failed=np.ones(9, bool))
