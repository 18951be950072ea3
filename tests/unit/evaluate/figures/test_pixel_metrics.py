"""The seven pixel metrics against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from evaluate.mask_worlds import counts_of, random_pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from pipeline.evaluate.figures.boundary import boundary_agreement
from pipeline.evaluate.figures.pixel_metrics import PIXEL_METRICS, boundary_f, pixel_metrics

NAMES = ("true_px", "true_near", "predicted_px", "predicted_near")


def boundaries(pairs: list) -> dict[str, np.ndarray]:
    found = [boundary_agreement(true, predicted, 1.0) for true, predicted in pairs]
    return {name: np.array([getattr(item, name) for item in found], np.int64) for name in NAMES}


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_six_of_them_agree_with_scikit_learn(seed: int) -> None:
    pairs = random_pairs(seed, 5)
    got = pixel_metrics(counts_of(pairs), boundaries(pairs))
    assert tuple(got) == PIXEL_METRICS
    flat = [(true.ravel(), predicted.ravel()) for true, predicted in pairs]

    def mean(score, **options) -> float:  # type: ignore[no-untyped-def]
        return float(np.mean([score(t, p, **options) for t, p in flat]))

    def right_if_both_empty(score):  # type: ignore[no-untyped-def]
        return float(
            np.mean([score(t, p, zero_division=float(not t.any() and not p.any())) for t, p in flat])
        )

    assert got["iou"].value == pytest.approx(mean(jaccard_score, zero_division=1.0))
    assert got["dice"].value == pytest.approx(mean(f1_score, zero_division=1.0))
    assert got["accuracy"].value == pytest.approx(mean(accuracy_score))
    assert got["precision"].value == pytest.approx(right_if_both_empty(precision_score))
    assert got["recall"].value == pytest.approx(right_if_both_empty(recall_score))
    assert got["specificity"].value == pytest.approx(mean(recall_score, pos_label=0, zero_division=1.0))


def test_by_hand() -> None:
    true = np.zeros((4, 5), bool)
    true[1:3, 1:3] = True
    predicted = np.zeros((4, 5), bool)
    predicted[1:3, 2:5] = True  # 6 predicted, 2 in common, 4 true, 20 in all
    got = {
        name: ratio.value
        for name, ratio in pixel_metrics(
            counts_of([(true, predicted)]), boundaries([(true, predicted)])
        ).items()
    }
    assert got["iou"] == pytest.approx(2 / 8)
    assert got["dice"] == pytest.approx(4 / 10)
    assert got["accuracy"] == pytest.approx(14 / 20)
    assert got["precision"] == pytest.approx(2 / 6)
    assert got["recall"] == pytest.approx(2 / 4)
    assert got["specificity"] == pytest.approx(12 / 16)
    # outlines: all 4 true pixels, all 6 predicted ones (the frame is no outline, but above and below is
    # background); within 1 px lie 4 of the true ones (columns 1, 2 beside column 2) and 4 of the predicted
    # ones (columns 2 and 3)
    assert got["boundary_f"] == pytest.approx(2 * (4 / 6) * 1 / (4 / 6 + 1))


def test_boundary_f_where_there_is_no_outline() -> None:
    """The frame is no outline, so neither an empty mask nor one of the whole image has any: equal masks are
    right, others wrong.
    """
    empty = np.zeros((6, 6), bool)
    whole = np.ones((6, 6), bool)
    square = np.zeros((6, 6), bool)
    square[2:4, 2:4] = True
    right = [(empty, empty), (whole, whole), (square, square)]
    wrong = [
        (whole, empty),
        (empty, whole),
        (square, empty),
        (empty, square),
        (square, whole),
        (whole, square),
    ]
    got = boundary_f(counts_of(right + wrong), boundaries(right + wrong))
    assert got.tolist() == [1.0] * len(right) + [0.0] * len(wrong)
