"""The decoder's warm-up on boxes without images."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.finetune.segmenter.segmenter_loss import set_image_px
from pipeline.finetune.segmenter.warmup import WARMUP_IMAGE_PX, random_boxes, tie_places, warm_up_loss
from pipeline.segment.sam2_model import EMBEDDED_DIR, build_architecture

torch = pytest.importorskip("torch")


def test_warm_up_boxes_hold_their_points() -> None:
    for seed in range(20):
        boxes, coords, k = random_boxes(np.random.default_rng(seed))
        assert coords.shape == (len(boxes), 2 + k, 2)
        assert np.array_equal(coords[:, :2].reshape(-1, 4), boxes)
        assert (coords[:, 2:] >= boxes[:, None, :2]).all()
        assert (coords[:, 2:] <= boxes[:, None, 2:]).all()


def test_tied_places_look_at_themselves_three_times_as_sharply() -> None:
    torch.manual_seed(0)
    model = build_architecture(EMBEDDED_DIR / "config.yaml")
    attention = model.sam_mask_decoder.transformer.layers[0].cross_attn_token_to_image
    queries = attention.q_proj.weight.detach().clone()
    values = attention.v_proj.weight.detach().clone()
    tie_places(model)
    assert torch.equal(attention.q_proj.weight, 3 * queries)
    assert torch.equal(attention.k_proj.weight, attention.q_proj.weight)
    assert torch.equal(attention.v_proj.weight, values)


def test_the_trained_decoder_fills_boxes_without_an_image() -> None:
    """The shipped weights learned it; fresh ones have not."""
    from pipeline.segment.sam2_model import load_weights

    torch.manual_seed(0)
    config = EMBEDDED_DIR / "config.yaml"
    fresh = build_architecture(config)
    shipped = build_architecture(config)
    load_weights(shipped, EMBEDDED_DIR / "model.safetensors")
    figures = []
    for model in (fresh, shipped):
        set_image_px(model, WARMUP_IMAGE_PX)
        with torch.no_grad():
            loss, reached = warm_up_loss(model, np.random.default_rng(3))
        figures.append((float(loss), float(reached.mean())))
    assert figures[1][0] < figures[0][0]
    assert figures[1][1] > figures[0][1]
