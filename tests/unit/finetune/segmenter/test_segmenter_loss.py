"""The losses of the embedded segmenter against sums by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.finetune.segmenter.segmenter_loss import (
    PromptBatch,
    dense_loss,
    dense_targets,
    mask_loss,
    set_image_px,
    written_out_attention,
)
from pipeline.segment.sam2_model import EMBEDDED_DIR, build_architecture

torch = pytest.importorskip("torch")


def one_square(side: int = 32) -> PromptBatch:
    """One window with one object, 8 px a side, that fills half of no logit cell of 1 px."""
    mask = np.zeros((1, side, side), np.bool_)
    mask[0, 12:20, 12:20] = True
    return PromptBatch(
        rgb=np.zeros((1, side, side, 3), np.uint8),
        coords_xy=np.zeros((1, 2, 2), np.float32),
        labels=np.array([[2, 3]], np.int32),
        boxes_xyxy=np.array([[12, 12, 20, 20]], np.float32),
        masks=mask,
        dense=np.zeros((1, 2, side // 4, side // 4), np.float32),
    )


def test_a_sure_and_right_mask_costs_nothing() -> None:
    inputs = one_square()
    logits = torch.where(torch.from_numpy(inputs.masks), 50.0, -50.0)
    loss, reached = mask_loss(logits, torch.ones(1), inputs)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    assert reached.tolist() == [1.0]


def test_the_parts_of_an_undecided_mask_by_hand() -> None:
    """Logits 0: entropy ln 2 everywhere; chance 1/2 over 1,024 px, of which 64 are the object: dice is
    1 - (2 * 32 + 1) / (512 + 64 + 1); no pixel is above 0, so the IoU is 0, and 0.3 was predicted.
    """
    loss, reached = mask_loss(torch.zeros(1, 32, 32), torch.tensor([0.3]), one_square())
    assert float(loss) == pytest.approx(math.log(2) + 1 - 65 / 577 + 0.3**2, abs=1e-5)
    assert reached.tolist() == [0.0]


def test_a_wrong_pixel_near_the_box_costs_twenty_times_one_far_away() -> None:
    """The box grows by a quarter of its side and 8 px: x and y from 2 to 30. The corner lies outside."""
    inputs = one_square()
    right = torch.where(torch.from_numpy(inputs.masks), 20.0, -20.0)
    whole, _ = mask_loss(right, torch.ones(1), inputs)

    def entropy_of(row: int, col: int) -> float:
        wrong = right.clone()
        wrong[0, row, col] = 20.0
        loss, reached = mask_loss(wrong, torch.ones(1), inputs)
        dice = 1 - (2 * 64 + 1) / (65 + 64 + 1)
        missed = (1 - float(reached[0])) ** 2
        return float(loss - whole) - dice - missed

    assert entropy_of(5, 5) == pytest.approx(20 * entropy_of(0, 0), rel=1e-2)


def test_the_dense_loss_of_an_undecided_head_is_the_logarithm_of_two() -> None:
    head = torch.nn.Conv2d(4, 2, 1)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    loss = dense_loss(head, torch.randn(1, 4, 16, 16), one_square())
    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-6)


def test_dense_targets_by_hand() -> None:
    labels = np.zeros((8, 8), np.uint16)
    labels[:4, :4] = 1
    labels[4:, 6:] = 2
    share, edge = dense_targets(labels)
    assert share.tolist() == [[1.0, 0.0], [0.0, 0.5]]
    assert edge.tolist() == [[0.0, 0.0], [0.0, 1.0]]


def test_written_out_attention_equals_the_fused_one() -> None:
    from torch.nn import functional

    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 8) for _ in range(3))
    fused = functional.scaled_dot_product_attention
    want = fused(query, key, value)
    with written_out_attention(True):
        assert functional.scaled_dot_product_attention is not fused
        assert torch.allclose(functional.scaled_dot_product_attention(query, key, value), want, atol=1e-6)
    assert functional.scaled_dot_product_attention is fused


def test_image_size_can_change() -> None:
    model = build_architecture(EMBEDDED_DIR / "config.yaml")
    set_image_px(model, 64)
    assert model.forward_image(torch.zeros(1, 3, 64, 64))["backbone_fpn"][-1].shape[-1] == 4
    assert model.sam_prompt_encoder.get_dense_pe().shape[-2:] == (4, 4)
