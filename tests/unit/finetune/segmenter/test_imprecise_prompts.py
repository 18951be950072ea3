"""Imprecise prompts and disturbed windows: bounds that must always hold, and hand-checked cases."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.finetune.segmenter.imprecise_prompts import (
    augment,
    interior_points,
    jittered_box,
    pick_objects,
    true_box,
)
from pipeline.finetune.segmenter.training_windows import MIN_OBJECT_PX


def test_true_box_is_in_pixel_edges() -> None:
    mask = np.zeros((10, 12), np.bool_)
    mask[2:5, 7:11] = True
    assert true_box(mask).tolist() == [7, 2, 11, 5]


@settings(max_examples=200, deadline=None)
@given(
    corner=st.tuples(st.integers(0, 250), st.integers(0, 250)),
    size=st.tuples(st.integers(1, 256), st.integers(1, 256)),
    seed=st.integers(0, 10_000),
)
def test_jittered_boxes_stay_usable(corner: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    box = np.array([*corner, min(corner[0] + size[0], 256), min(corner[1] + size[1], 256)], dtype=np.float64)
    moved, error_px = jittered_box(box, 256, np.random.default_rng(seed))
    assert (moved >= 0).all()
    assert (moved <= 256).all()
    assert error_px >= 0
    if error_px > 0:
        assert (moved[2:] - moved[:2] >= 3 - 1e-9).all()


def test_jitter_has_the_stated_spread() -> None:
    rng = np.random.default_rng(0)
    box = np.array([100.0, 100.0, 160.0, 160.0])
    moved = np.array([jittered_box(box, 256, rng)[0] for _ in range(4000)])
    shift = moved - box
    typical = np.abs(shift) < 12
    assert 1.5 < np.median(np.abs(shift[shift != 0])) < 4.5
    assert typical.mean() > 0.9
    assert 0.07 < (shift == 0).all(axis=1).mean() < 0.13


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(0, 3))
def test_exact_points_lie_inside_the_object(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((40, 50), np.bool_)
    mask[5:30, 10:20] = True
    mask[20:30, 10:45] = True
    points = interior_points(mask, n, 0.0, rng)
    assert points.shape == (n, 2)
    for x, y in points:
        assert mask[int(y), int(x)]


def test_augment_keeps_pixels_and_labels_together() -> None:
    """Label = brightness class of the pixel; after any turn the two still agree where pixels were not
    disturbed.
    """
    rng = np.random.default_rng(0)
    labels = np.zeros((64, 64), np.uint16)
    labels[4:20, 8:60] = 1
    rgb = np.where(labels[..., None] > 0, 250, 5).astype(np.uint8).repeat(3, axis=2)[..., :3]
    seen = set()
    for _ in range(40):
        out, turned = augment(rgb, labels, rng)
        assert out.shape == rgb.shape
        assert out.dtype == np.uint8
        assert turned.sum() == labels.sum()
        assert out[turned == 1].mean() > out[turned == 0].mean() + 50
        seen.add(turned.tobytes())
    assert len(seen) == 8


def test_pick_objects_repeats_only_after_all() -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros((40, 40), np.uint16)
    labels[:6, :6], labels[10:20, :5], labels[30, 30:33] = 1, 2, 3
    assert (labels == 3).sum() < MIN_OBJECT_PX
    assert sorted(pick_objects(labels, 4, rng)) == [1, 1, 2, 2]
    assert pick_objects(np.zeros((40, 40), np.uint16), 4, rng) == []
