"""Overlap tables against worlds counted by hand and against scikit-learn-free brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate.figures.overlap import Overlaps

TRUE = np.array([[1, 1, 0, 0], [1, 1, 0, 2], [0, 0, 0, 2]])
PREDICTED = np.array([[7, 7, 0, 0], [7, 0, 0, 0], [0, 0, 9, 8]])


def test_by_hand() -> None:
    table = Overlaps()
    table.add(TRUE, PREDICTED)
    match = table.match(0.5)
    # object 1: 3 of 4 pixels, IoU 0.75; object 2: 1 of 2 pixels, IoU 0.5; prediction 9 hits nothing
    assert dict(zip(match.true_ids.tolist(), match.iou.tolist(), strict=True)) == {1: 0.75, 2: 0.5}
    assert (match.n_true, match.n_predicted) == (2, 3)
    assert match.recall == 1.0
    assert match.precision == pytest.approx(2 / 3)
    assert table.pixel_iou() == pytest.approx(4 / 7)


def test_nothing_there_and_nothing_said() -> None:
    table = Overlaps()
    table.add(np.zeros((3, 3), int), np.zeros((3, 3), int))
    assert table.pixel_iou() == 1.0
    assert np.isnan(table.match().precision)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="same window"):
        Overlaps().add(np.zeros((3, 3), int), np.zeros((3, 4), int))


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([0.2, 0.5, 0.8]))
def test_windows_add_up_and_match_brute_force(seed: int, cuts: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 4, (12, 12))
    predicted = rng.integers(0, 4, (12, 12))
    predicted = np.where(rng.random((12, 12)) < 0.7, true, predicted)
    table = Overlaps()
    for strip in np.array_split(np.arange(12), cuts):
        table.add(true[strip], predicted[strip])
    match = table.match(threshold)
    pairs = {}
    for t in range(1, 4):
        for p in range(1, 4):
            union = ((true == t) | (predicted == p)).sum()
            pairs[t, p] = ((true == t) & (predicted == p)).sum() / union if union else 0.0
    for t, p, iou in zip(
        match.true_ids.tolist(), match.predicted_ids.tolist(), match.iou.tolist(), strict=True
    ):
        assert iou == pytest.approx(pairs[t, p])
        assert iou >= threshold
    assert len(set(match.true_ids.tolist())) == len(match.iou)
    assert len(set(match.predicted_ids.tolist())) == len(match.iou)
    if threshold >= 0.5:  # then every pair above the threshold is unique, up to ties at exactly one half
        assert len(match.iou) >= sum(value > threshold for value in pairs.values())
