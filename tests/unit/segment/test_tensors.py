"""Cropping equals thresholding the fully enlarged map; padding, normalisation and prompt order checked
against torch and by hand.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.schema.tile_answers import Prompt
from pipeline.segment.tensors import (
    PIXEL_MEAN,
    PIXEL_STD,
    autocast,
    crop_masks,
    n_tokens,
    prompt_tensors,
    square_pixels,
)

torch = pytest.importorskip("torch")


@settings(max_examples=60, deadline=None)
@given(
    side=st.sampled_from([8, 16, 24]),
    square_px=st.integers(9, 70),
    cut=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    density=st.sampled_from([0.01, 0.1, 0.5, 1.0]),
    threshold=st.sampled_from([0.0, 0.7]),
    seed=st.integers(0, 10_000),
)
def test_cropping_equals_the_full_mask(
    side: int, square_px: int, cut: tuple[int, int], density: float, threshold: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(
        np.where(rng.random((3, side, side)) < density, 4.0, -1.0) + rng.normal(0, 0.5, (3, side, side))
    ).float()
    height = max(1, square_px - cut[0])
    width = max(1, square_px - cut[1])
    valid = rng.random((height, width)) < 0.9
    enlarged = torch.nn.functional.interpolate(
        logits[:, None], (square_px, square_px), mode="bilinear", align_corners=False
    )[:, 0].numpy()
    for i, crop in enumerate(crop_masks(logits, threshold, valid, square_px)):
        clear = (
            np.abs(enlarged[i, :height, :width] - threshold) > 1e-4
        )  # ties within rounding may go either way
        want = (enlarged[i, :height, :width] > threshold) & valid
        got = np.zeros_like(want)
        if crop is not None:
            row0 = crop.row0
            col0 = crop.col0
            mask = crop.mask
            assert mask[[0, -1]].any(axis=1).all()
            assert mask[:, [0, -1]].any(axis=0).all()
            got[row0 : row0 + mask.shape[0], col0 : col0 + mask.shape[1]] = mask
        assert np.array_equal(got[clear], want[clear])


def test_nothing_above_the_threshold() -> None:
    logits = torch.full((2, 8, 8), -1.0)
    logits[1, 3, 3] = 5.0
    valid = np.ones((16, 16), dtype=np.bool_)
    nothing, something = crop_masks(logits, 0.0, valid, 16)
    assert nothing is None
    assert something is not None
    assert crop_masks(logits[1:], 0.0, np.zeros((16, 16), dtype=np.bool_), 16) == [None]


def test_squares_repeat_the_border_and_normalise() -> None:
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
    pixels = square_pixels([rgb], square_px=4, image_px=4, device="cpu")[0].numpy()
    want = (np.pad(rgb, ((0, 2), (0, 1), (0, 0)), mode="edge") / 255 - np.array(PIXEL_MEAN)) / np.array(
        PIXEL_STD
    )
    assert pixels.transpose(1, 2, 0) == pytest.approx(want, abs=1e-5)


def test_statistics_are_those_of_the_package() -> None:
    from sam2.utils.transforms import SAM2Transforms

    theirs = SAM2Transforms(resolution=64, mask_threshold=0.0)
    assert list(PIXEL_MEAN) == theirs.mean
    assert list(PIXEL_STD) == theirs.std


def test_box_corners_come_before_clicks() -> None:
    prompt = Prompt(box_xyxy=(1.0, 2.0, 5.0, 7.0), points_xy=((3.0, 4.0), (0.5, 0.0)), point_labels=(1, 0))
    assert n_tokens(prompt) == 4
    coords, labels = prompt_tensors([prompt], 2.0, "cpu")
    assert coords.tolist() == [[[2, 4], [10, 14], [6, 8], [1, 0]]]
    assert labels.tolist() == [[2, 3, 1, 0]]
    clicks = Prompt(box_xyxy=None, points_xy=((3.0, 4.0),), point_labels=(1,))
    assert n_tokens(clicks) == 1
    assert prompt_tensors([clicks], 1.0, "cpu")[1].tolist() == [[1]]


def test_autocast_is_off_for_float32() -> None:
    with autocast("cpu", "float32"):
        assert not torch.is_autocast_enabled("cpu")
    with autocast("cpu", "bfloat16"):
        assert torch.is_autocast_enabled("cpu")
