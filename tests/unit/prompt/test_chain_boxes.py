"""Chains of boxes: ways worked out by hand, and pieces that cover what they were cut from."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prompt_tiles import PATIENT
from scipy import ndimage

from pipeline.prompt.chain_boxes import LEAST_PX, MOST_BOXES, along, chain_prompts, pieces_of
from pipeline.prompt.oracle_prompter import object_prompts


def snake() -> np.ndarray:
    """A band of 6 px that goes right, down and back: three arms of 100 px."""
    mask = np.zeros((60, 110), bool)
    mask[5:11, 5:105] = True
    mask[5:55, 99:105] = True
    mask[49:55, 5:105] = True
    return mask


def ring() -> np.ndarray:
    rows, cols = np.indices((120, 120))
    far = np.hypot(rows - 60, cols - 60)
    return np.asarray((far <= 50) & (far >= 40))


def test_the_way_along_a_bar_is_its_length() -> None:
    way = along(np.ones((1, 9), bool))
    assert sorted(way.ravel().tolist()) == list(range(9))
    corner = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], bool)
    assert np.isclose(along(corner)[corner].max(), 2 * np.sqrt(2))
    anti = corner[:, ::-1]
    assert np.isclose(along(anti)[anti].max(), 2 * np.sqrt(2))
    assert np.isinf(along(corner)[0, 1])


def test_a_snake_is_as_long_as_its_way_and_not_as_its_box() -> None:
    mask = snake()
    assert 225 < along(mask)[mask].max() < 260


def test_boxes_of_a_chain_hold_much_less_than_one_box() -> None:
    for mask in (snake(), ring()):
        (whole,) = object_prompts(mask.astype(np.int32))
        boxes = np.zeros(mask.shape, bool)
        prompts = chain_prompts(mask.astype(np.int32))
        assert 4 <= len(prompts) <= 2 * MOST_BOXES
        for prompt in prompts:
            assert prompt.label == whole.label == "oracle:1"
            assert prompt.box_xyxy is not None
            x0, y0, x1, y1 = (int(v) for v in prompt.box_xyxy)
            boxes[y0:y1, x0:x1] = True
            assert all(mask[int(y), int(x)] for x, y in prompt.points_xy)
        assert boxes[mask].all()
        assert whole.box_xyxy is not None
        x0, y0, x1, y1 = whole.box_xyxy
        assert boxes.sum() < 0.75 * (x1 - x0) * (y1 - y0)


def test_the_arms_of_a_ring_are_boxes_of_their_own() -> None:
    for prompt in chain_prompts(ring().astype(np.int32)):
        assert prompt.box_xyxy is not None
        x0, y0, x1, y1 = prompt.box_xyxy
        assert max(x1 - x0, y1 - y0) < 70


def test_compact_shapes_have_the_fixed_combination() -> None:
    labels = np.zeros((80, 80), np.int32)
    labels[5:25, 10:40] = 1
    labels[40:70, 30:60] = 3
    assert chain_prompts(labels) == object_prompts(labels)


@PATIENT
@given(st.integers(0, 2**32 - 1))
def test_pieces_lie_in_the_mask_and_cover_it(seed: int) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(60, 60)), 3)
    labels = ndimage.label(noise > 0.05)[0]
    for local in range(1, labels.max() + 1):
        mask = labels == local
        pieces = pieces_of(mask)
        union = np.any(pieces, axis=0)
        assert not (union & ~mask).any()
        assert (mask & ~union).sum() <= LEAST_PX * MOST_BOXES
        assert all(piece.any() for piece in pieces)
