"""Masks of one tile -> label image and fragments; expected values by hand, overlap and order rules by brute
force.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.stitch.flatten import EAST, NO_MARGIN, NORTH, SOUTH, WEST, flatten_tile, quantise
from pipeline.stitch.stitch_options import StitchOptions

OPTIONS = StitchOptions()
KEEP_SLIVERS = StitchOptions(min_visible_share=0.0)


def crop(image: np.ndarray, score: float = 0.5, prompt_index: int = 0) -> MaskCrop:
    rows, cols = np.nonzero(image)
    r0 = int(rows.min())
    c0 = int(cols.min())
    return MaskCrop(
        row0=r0,
        col0=c0,
        mask=image[r0 : rows.max() + 1, c0 : cols.max() + 1],
        score=score,
        prompt_index=prompt_index,
    )


def block(
    row0: int, col0: int, height: int, width: int, score: float = 0.5, prompt_index: int = 0
) -> MaskCrop:
    return MaskCrop(
        row0=row0,
        col0=col0,
        mask=np.ones((height, width), dtype=np.bool_),
        score=score,
        prompt_index=prompt_index,
    )


def prompts(n: int) -> list[Prompt]:
    return [Prompt(box_xyxy=None, points_xy=((1.0, 1.0),), point_labels=(1,)) for _ in range(n)]


def test_fragments_by_hand(worlds: SimpleNamespace) -> None:
    """Middle tile of 3 x 3 (core 10, halo 4): read window rows and columns 6..24, core 10..20."""
    lattice = worlds.make_lattice((30, 30), 10, 4)
    tile = lattice.tile(1, 1)
    masks = [block(5, 12, 3, 6, 0.9, 1), block(6, 3, 2, 4, 0.25, 0), block(1, 7, 2, 2, 1.0, 2)]
    labels, fragments = flatten_tile(tile, masks, prompts(3), lattice, OPTIONS)
    assert labels is not None
    assert labels.shape == (18, 18)
    assert np.unique(labels).tolist() == [0, 1, 2, 3]
    ghost, east, inside = fragments
    assert (ghost.local, ghost.prompt_index, ghost.score_q, ghost.full_px, ghost.core_px, ghost.anchor) == (
        1,
        2,
        65535,
        4,
        0,
        -1,
    )
    assert (ghost.censored, ghost.margin) == (NORTH, 1)
    assert (east.local, east.prompt_index, east.score_q, east.full_px, east.core_px) == (2, 1, 58982, 18, 6)
    assert east.anchor == (6 + 5) * 30 + 6 + 12
    assert (east.window.row0, east.window.col0, east.window.row1, east.window.col1) == (11, 18, 14, 24)
    assert (east.censored, east.margin) == (EAST, 0)
    assert (inside.full_px, inside.core_px, inside.anchor, inside.censored, inside.margin) == (
        8,
        6,
        12 * 30 + 10,
        0,
        3,
    )


def test_grid_borders_do_not_censor_and_boxes_do(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((30, 30), 10, 4)
    corner = lattice.tile(0, 0)
    _, (touching,) = flatten_tile(corner, [block(0, 0, 3, 3)], prompts(1), lattice, OPTIONS)
    assert (touching.censored, touching.margin) == (0, 11)
    box = Prompt(box_xyxy=(0.0, 5.0, 12.5, 13.0))
    _, (boxed,) = flatten_tile(corner, [block(6, 1, 3, 3)], [box], lattice, OPTIONS)
    assert (boxed.censored, boxed.margin) == (EAST | SOUTH, 5), (
        "the box ends 1.5 and 1 px from read-window borders"
    )
    middle = lattice.tile(1, 1)
    _, (west,) = flatten_tile(middle, [block(8, 2, 3, 3)], prompts(1), lattice, OPTIONS)
    _, (free,) = flatten_tile(middle, [block(8, 3, 3, 3)], prompts(1), lattice, OPTIONS)
    assert (west.censored, free.censored) == (WEST, 0)
    single = worlds.make_lattice((8, 8), 10, 4)
    _, (alone,) = flatten_tile(single.tile(0, 0), [block(0, 0, 8, 8)], prompts(1), single, OPTIONS)
    assert (alone.censored, alone.margin) == (0, NO_MARGIN)


def test_priority_is_score_then_small_area_then_first_pixel(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((10, 10), 10, 1)
    tile = lattice.tile(0, 0)
    for better, worse in (
        (block(0, 0, 4, 4, 0.9, 0), block(2, 2, 3, 3, 0.8, 1)),
        (block(2, 2, 3, 3, 0.8, 1), block(0, 0, 4, 4, 0.8, 0)),
        (block(0, 0, 3, 3, 0.8, 1), block(1, 1, 3, 3, 0.8, 0)),
    ):
        for masks in ([better, worse], [worse, better]):
            labels, fragments = flatten_tile(tile, masks, prompts(2), lattice, OPTIONS)
            assert labels is not None
            top = next(f for f in fragments if f.prompt_index == better.prompt_index)
            assert top.full_px == better.mask.sum(), "the better mask keeps all its pixels"
            assert labels[better.row0, better.col0] == top.local


def test_duplicates_go_and_overpainted_masks_disappear(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((20, 20), 20, 1)
    tile = lattice.tile(0, 0)
    duplicate = [block(2, 2, 10, 10, 0.9, 0), block(2, 2, 10, 9, 0.8, 1)]  # IoU 0.9
    labels, fragments = flatten_tile(tile, duplicate, prompts(2), lattice, OPTIONS)
    assert [f.prompt_index for f in fragments] == [0]
    distinct = [block(2, 2, 10, 10, 0.9, 0), block(2, 2, 10, 8, 0.95, 1)]  # IoU 0.8 is not above 0.8
    assert [f.prompt_index for f in flatten_tile(tile, distinct, prompts(2), lattice, KEEP_SLIVERS)[1]] == [
        1,
        0,
    ]
    buried = [block(2, 2, 10, 10, 0.9, 0), block(3, 3, 2, 2, 0.1, 1)]
    assert [f.prompt_index for f in flatten_tile(tile, buried, prompts(2), lattice, OPTIONS)[1]] == [0]
    chain = [block(0, 0, 1, 20, 0.9, 0), block(0, 0, 1, 17, 0.8, 1), block(0, 0, 1, 14, 0.7, 2)]
    kept = flatten_tile(tile, chain, prompts(3), lattice, OPTIONS)[1]
    assert [f.prompt_index for f in kept] == [0], (
        "17/20 is a duplicate of the best; 14/20 is none of any KEPT mask but is buried"
    )
    assert labels is not None


def test_what_better_masks_leave_less_than_half_of_is_dropped(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((20, 20), 20, 1)
    tile = lattice.tile(0, 0)
    best = block(0, 0, 10, 10, 0.9, 0)
    half = block(0, 5, 10, 10, 0.8, 1)
    sliver = block(0, 9, 10, 8, 0.7, 2)
    labels, fragments = flatten_tile(tile, [sliver, half, best], prompts(3), lattice, OPTIONS)
    assert labels is not None
    assert [(f.prompt_index, f.full_px) for f in fragments] == [(0, 100), (1, 50)], (
        "50 of 100 px are left of one, 20 of 80 of the other"
    )
    assert (labels[:10, 15:17] == 0).all(), "the sliver's pixels stay empty"
    dropped = block(0, 4, 10, 8, 0.8, 1)  # 20 of 80 px are left
    below = block(0, 10, 10, 4, 0.1, 2)
    shown = flatten_tile(tile, [best, dropped, below], prompts(3), lattice, OPTIONS)[1]
    assert [(f.prompt_index, f.full_px) for f in shown] == [(0, 100), (2, 40)], "a dropped mask hides nothing"


def test_parts_stay_one_fragment(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((10, 10), 10, 1)
    image = np.zeros((10, 10), dtype=np.bool_)
    image[1, 1] = image[5, 5] = image[8, 1:4] = True
    labels, fragments = flatten_tile(lattice.tile(0, 0), [crop(image)], prompts(1), lattice, OPTIONS)
    assert labels is not None
    np.testing.assert_array_equal(labels == 1, image)
    assert (len(fragments), fragments[0].full_px) == (1, 5)


def test_nothing_found_and_bad_masks(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((10, 10), 10, 1)
    tile = lattice.tile(0, 0)
    assert flatten_tile(tile, [], [], lattice, OPTIONS) == (None, ())
    blank = MaskCrop(row0=0, col0=0, mask=np.zeros((2, 2), dtype=np.bool_), score=1.0, prompt_index=0)
    assert flatten_tile(tile, [blank], prompts(1), lattice, OPTIONS) == (None, ())
    with pytest.raises(ValueError, match="must lie in the read window"):
        flatten_tile(tile, [block(8, 8, 3, 3)], prompts(1), lattice, OPTIONS)


@pytest.mark.parametrize(("n", "fits"), [(65535, True), (65536, False)])
def test_a_tile_holds_65535_fragments(worlds: SimpleNamespace, n: int, fits: bool) -> None:
    lattice = worlds.make_lattice((256, 256), 256, 1)
    one = np.ones((1, 1), dtype=np.bool_)
    masks = [MaskCrop(row0=i // 256, col0=i % 256, mask=one, score=0.5, prompt_index=0) for i in range(n)]
    if fits:
        labels, fragments = flatten_tile(lattice.tile(0, 0), masks, prompts(1), lattice, OPTIONS)
        assert labels is not None
        assert (len(fragments), int(labels.max()), int(labels[255, 254])) == (65535, 65535, 65535)
    else:
        with pytest.raises(ValueError, match="at most 65535"):
            flatten_tile(lattice.tile(0, 0), masks, prompts(1), lattice, OPTIONS)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_equal_to_brute_force_whatever_the_order(worlds: SimpleNamespace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lattice = worlds.make_lattice((24, 24), 8, 3)
    tile = lattice.tile(1, 1)
    masks = []
    for index in range(int(rng.integers(1, 9))):
        image = np.zeros(tile.read.shape, dtype=np.bool_)
        for _ in range(int(rng.integers(1, 3))):
            r, c = rng.integers(0, 13, 2)
            image[r : r + int(rng.integers(1, 7)), c : c + int(rng.integers(1, 7))] = True
        masks.append(crop(image, float(rng.choice([0.2, 0.5, 0.9])), index))
    options = OPTIONS if seed % 2 else KEEP_SLIVERS
    labels, fragments = flatten_tile(tile, masks, prompts(9), lattice, options)
    expected = brute_force(masks, tile.read.shape, options.min_visible_share)
    assert labels is not None
    shown = np.zeros(tile.read.shape, dtype=np.int64) - 1
    for fragment in fragments:
        mine = labels == fragment.local
        shown[mine] = fragment.prompt_index
        assert fragment.full_px == mine.sum()
        assert fragment.core_px == mine[3:11, 3:11].sum()
        rows, cols = np.nonzero(mine)
        w = fragment.window
        assert (w.row0, w.col0, w.row1, w.col1) == (
            rows.min() + 5,
            cols.min() + 5,
            rows.max() + 6,
            cols.max() + 6,
        )
    np.testing.assert_array_equal(shown, expected)
    firsts = [int(np.flatnonzero(labels == f.local)[0]) for f in fragments]
    assert firsts == sorted(firsts)
    again = flatten_tile(tile, [masks[i] for i in rng.permutation(len(masks))], prompts(9), lattice, options)
    assert again[1] == fragments
    np.testing.assert_array_equal(again[0], labels)


def brute_force(masks: list[MaskCrop], shape: tuple[int, int], min_visible_share: float) -> np.ndarray:
    """Prompt index per pixel, -1 = background, on full-size images."""
    full = []
    for mask in masks:
        image = np.zeros(shape, dtype=np.bool_)
        image[mask.row0 : mask.row0 + mask.mask.shape[0], mask.col0 : mask.col0 + mask.mask.shape[1]] = (
            mask.mask
        )
        full.append(
            (-quantise(mask.score), int(image.sum()), int(np.flatnonzero(image)[0]), mask.prompt_index, image)
        )
    full.sort(key=lambda item: item[:4])
    kept: list[tuple[int, np.ndarray]] = []
    for *_, index, image in full:
        if all((image & other).sum() / (image | other).sum() <= 0.8 for _, other in kept):
            kept.append((index, image))
    out = np.full(shape, -1, dtype=np.int64)
    for index, image in kept:
        free = image & (out < 0)
        if free.sum() >= min_visible_share * image.sum():
            out[free] = index
    return out


@pytest.mark.parametrize(
    ("score", "expected"), [(0.0, 0), (1.0, 65535), (1.5, 65535), (-0.1, 0), (0.5, 32768), (float("nan"), 0)]
)
def test_scores_become_integers(score: float, expected: int) -> None:
    assert quantise(score) == expected
