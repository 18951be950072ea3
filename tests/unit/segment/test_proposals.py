"""Which masks of a grid of points are objects, with logits made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from prompt.prompt_tiles import PATIENT

from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.proposals import EverythingOptions, Proposals, sift, sound_masks, stabilities
from pipeline.segment.segmenter import Embedding

SIDE = 8
"""Of the small logits, and of the tile: one logit per pixel."""


def embedding(height: int = SIDE, width: int = SIDE) -> Embedding:
    window = Window(row0=0, col0=0, row1=height, col1=width)
    return Embedding(
        tile=TileSpec(tile_row=0, tile_col=0, core=window, read=window),
        shape_px=(height, width),
        square_px=SIDE,
        valid=np.ones((height, width), dtype=np.bool_),
        features=None,
    )


def hill(rows: int, *, sure: float = 9.0, rim: int = 0, rim_logit: float = 0.5) -> torch.Tensor:
    """(L, L) logits: `rows` rows of object, then `rim` rows that are hardly so, then ground."""
    logits = torch.full((SIDE, SIDE), -9.0)
    logits[:rows] = sure
    logits[rows : rows + rim] = rim_logit
    return logits


def sound(*maps: torch.Tensor, scores: list[float], **rules: Any) -> Proposals:
    """What is sound of masks that are each of a prompt of their own."""
    return sound_masks(
        torch.stack(maps)[:, None],
        torch.tensor(scores)[:, None],
        prompt_indices=range(len(maps)),
        embedding=embedding(),
        threshold=0.0,
        rules=EverythingOptions(**{"min_mask_px": 1, "max_mask_share": 1.0} | rules),
    )


def test_stability_is_the_iou_of_two_thresholds() -> None:
    """4 rows stay above +1; with the rim 5 are above -1. Nothing at all is not stable."""
    logits = torch.stack([hill(4), hill(4, rim=1), hill(4, rim=2, rim_logit=-0.5), hill(0)])[None]
    assert stabilities(logits, 0.0, 1.0)[0].tolist() == pytest.approx([1.0, 4 / 5, 4 / 6, 0.0])
    assert stabilities(logits, 0.0, 0.25)[0].tolist() == pytest.approx([1.0, 1.0, 1.0, 0.0])


def test_each_filter_leaves_out_its_own_and_counts_it() -> None:
    found = sound(
        hill(3),  # good
        hill(3),  # unsure
        hill(3, rim=1),  # unstable: 3 of 4 rows
        hill(1),  # 8 px: too small
        hill(8),  # 64 px: too large
        scores=[0.9, 0.7, 0.9, 0.9, 0.9],
        min_mask_px=9,
        max_mask_share=0.9,
    )
    assert (found.unsure, found.unstable, found.missized) == (1, 1, 2)
    (mask,) = found.masks
    assert (mask.prompt_index, mask.row0, mask.mask.shape) == (0, 0, (3, 8))
    assert mask.score == pytest.approx(0.9)
    assert mask.stability == 1.0
    assert found.text(5) == (
        "5 points; masks left out: 1 unsure, 1 unstable, 2 too small or large, 0 repeats; kept: 1"
    )


def test_several_masks_of_a_prompt_are_judged_one_by_one() -> None:
    """A score above 1, as MobileSAM gives, is 1."""
    logits = torch.stack([hill(2), hill(3), hill(4)])[None]
    found = sound_masks(
        logits,
        torch.tensor([[0.95, 0.5, 1.02]]),
        prompt_indices=[7],
        embedding=embedding(),
        threshold=0.0,
        rules=EverythingOptions(min_mask_px=1, max_mask_share=1.0),
    )
    assert [(mask.prompt_index, len(mask.mask)) for mask in found.masks] == [(7, 2), (7, 4)]
    assert [mask.score for mask in found.masks] == pytest.approx([0.95, 1.0])


def test_stability_is_that_of_the_tile_and_not_of_its_padding() -> None:
    """A tile of 5 rows in a square of 8: the rim lies below it."""
    found = sound_masks(
        hill(5, rim=3)[None, None],
        torch.tensor([[0.9]]),
        prompt_indices=[0],
        embedding=embedding(height=5),
        threshold=0.0,
        rules=EverythingOptions(min_mask_px=1, max_mask_share=1.0),
    )
    assert [mask.stability for mask in found.masks] == [1.0]


def block(row: int, col: int, height: int, width: int, *, score: float = 0.9, prompt: int = 0) -> MaskCrop:
    mask = np.ones((height, width), dtype=np.bool_)
    return MaskCrop(row0=row, col0=col, mask=mask, score=score, prompt_index=prompt, stability=1.0)


def points(n: int) -> list[Prompt]:
    return [Prompt(box_xyxy=None, points_xy=((float(i), 0.0),), point_labels=(1,)) for i in range(n)]


def test_a_mask_that_repeats_a_better_one_goes() -> None:
    """By hand: 8 of 12 common pixels are an IoU of 0.67, 9 of 11 are 0.82."""
    better = block(0, 0, 1, 10, score=0.95, prompt=2)
    near = block(0, 1, 1, 10, score=0.9, prompt=0)
    far = block(0, 2, 1, 10, score=0.9, prompt=1)
    found, prompts = sift(Proposals(masks=(near, far, better), unsure=3), points(3), EverythingOptions())
    assert [(mask.prompt_index, mask.col0) for mask in found.masks] == [(0, 2), (1, 0)]
    assert [prompt.points_xy[0][0] for prompt in prompts] == [1.0, 2.0]
    assert (found.repeats, found.unsure) == (1, 3)


def test_a_ring_and_what_it_encloses_are_two_objects() -> None:
    """Their boxes overlap by 36 / 64 and more; they have no pixel in common."""
    ring = np.ones((9, 9), dtype=np.bool_)
    ring[1:8, 1:8] = False
    around = MaskCrop(row0=0, col0=0, mask=ring, score=0.9, prompt_index=0, stability=1.0)
    found, _ = sift(
        Proposals(masks=(around, block(1, 1, 7, 7))), points(1), EverythingOptions(max_mask_iou=0.5)
    )
    assert len(found.masks) == 2


def test_masks_of_one_point_get_prompts_of_their_own() -> None:
    found, prompts = sift(
        Proposals(masks=(block(0, 0, 2, 2, prompt=1), block(0, 0, 8, 8, prompt=1))),
        points(2),
        EverythingOptions(),
    )
    assert [mask.prompt_index for mask in found.masks] == [0, 1]
    assert [prompt.points_xy for prompt in prompts] == [((1.0, 0.0),)] * 2


MASKS = st.builds(
    block,
    st.integers(0, 8),
    st.integers(0, 8),
    st.integers(1, 6),
    st.integers(1, 6),
    score=st.sampled_from([0.88, 0.9, 1.0]),
    prompt=st.integers(0, 3),
)


def shape(mask: MaskCrop) -> tuple[int, ...]:
    return mask.row0, mask.col0, *mask.mask.shape


def overlap(a: MaskCrop, b: MaskCrop) -> float:
    """IoU on a canvas, without the windows of the code under test."""
    canvas = np.zeros((2, 20, 20), dtype=np.bool_)
    for plane, mask in zip(canvas, (a, b), strict=True):
        plane[mask.row0 : mask.row0 + mask.mask.shape[0], mask.col0 : mask.col0 + mask.mask.shape[1]] = (
            mask.mask
        )
    return float((canvas[0] & canvas[1]).sum() / (canvas[0] | canvas[1]).sum())


@PATIENT
@given(masks=st.lists(MASKS, max_size=12), turn=st.randoms())
def test_what_stays_is_apart_and_what_goes_has_a_better_one(masks: list[MaskCrop], turn: Any) -> None:
    rules = EverythingOptions()
    found, _ = sift(Proposals(masks=tuple(masks)), points(4), rules)
    kept = list(found.masks)
    for i, mask in enumerate(kept):
        assert all(overlap(mask, other) <= rules.max_mask_iou for other in kept[:i])
    for mask in masks:
        assert any(overlap(mask, k) > rules.max_mask_iou and k.score >= mask.score for k in kept) or shape(
            mask
        ) in map(shape, kept)
    mixed = list(masks)
    turn.shuffle(mixed)
    again, _ = sift(Proposals(masks=tuple(mixed)), points(4), rules)
    assert sorted(map(shape, again.masks)) == sorted(map(shape, kept))


@pytest.mark.parametrize(
    "rules",
    [
        {"min_predicted_iou": 1.1},
        {"min_stability": -0.1},
        {"max_mask_iou": 2.0},
        {"max_mask_share": -1.0},
        {"stability_offset": -1.0},
        {"min_mask_px": 0},
    ],
)
def test_rules_that_mean_nothing_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(rules))):
        EverythingOptions(**rules)
