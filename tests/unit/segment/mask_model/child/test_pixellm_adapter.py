"""PixelLM's adapter, run against stand-ins of its repository's modules; never against its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from segment.mask_model.child.stand_ins import (
    IMAGE,
    SHAPE,
    Weights,
    Words,
    adapter_of,
    asked,
    llava_modules,
    picture,
    reddish,
    set_modules,
)


class FakePixelLM(Weights):
    """Draws each of the two red squares as a mask of its own."""

    @classmethod
    def from_pretrained(cls, version: str, **settings: Any) -> FakePixelLM:
        assert version == "weights"
        assert settings == {
            "low_cpu_mem_usage": True,
            "vision_tower": "clip",
            "seg_token_idx": [4, 5, 6, 7, 8, 9],
            "torch_dtype": torch.float32,
            "seg_token_num": 3,
            "image_feature_scale_num": 2,
            "pad_train_clip_images": True,
            "resize_vision_tower": True,
            "resize_vision_tower_size": 448,
            "vision_tower_for_mask": True,
            "separate_mm_projector": True,
        }
        return cls()

    def evaluate(
        self,
        images_clip: torch.Tensor,
        images: torch.Tensor,
        input_ids: torch.Tensor,
        resize_list: list[tuple[int, int]],
        clip_resize_list: list[tuple[int, int]],
        original_size_list: list[tuple[int, int]],
        max_new_tokens: int = 32,
        tokenizer: Words | None = None,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        assert (images_clip.shape, images.shape) == ((1, 3, 64, 64), (1, 3, 1024, 1024))
        assert (resize_list, clip_resize_list, original_size_list) == ([(1024, 512)], [(64, 32)], [SHAPE])
        assert tokenizer is not None
        asked_for = tokenizer.decode(input_ids[0][input_ids[0] != IMAGE], skip_special_tokens=False)
        n = 2 if "red" in asked_for else 0
        reply = torch.tensor([[*input_ids[0].tolist(), *tokenizer.encode(f"I see {n} .", False)]])
        inner = reddish(images_clip)[None, None, :64, :32]
        logits = torch.nn.functional.interpolate(inner, size=SHAPE, mode="bilinear", align_corners=False)
        both = logits[0, 0].repeat(2, 1, 1)
        both[0, 15:] = -1
        both[1, :15] = -1
        return [reply], [both[:n]], [torch.tensor([n])], [torch.tensor([0.75, 1.0001][:n])]


@pytest.fixture
def pixellm(monkeypatch: pytest.MonkeyPatch) -> Any:
    set_modules(monkeypatch, llava_modules("PixelLM", FakePixelLM))
    return adapter_of("pixellm")


OPTIONS = {"checkpoint": "weights", "vision_tower": "clip", "precision": "fp32"}


def test_every_mask_is_an_object_with_the_models_own_score(pixellm: Any) -> None:
    masks, scores, text = asked(pixellm, "red roofs", **OPTIONS)
    red = picture()[1]
    upper = red.copy()
    upper[15:] = False
    np.testing.assert_array_equal(masks, np.stack([upper, red & ~upper]))
    assert (scores, text) == ([0.75, 1.0], "I see 2 .")
    assert not pixellm.ONE_MASK


def test_a_reply_without_masks_is_nothing(pixellm: Any) -> None:
    masks, scores, _ = asked(pixellm, "lakes", **OPTIONS)
    assert (masks.shape, scores) == ((0, *SHAPE), [])
