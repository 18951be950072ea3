"""LISA's adapter, run against stand-ins of its repository's modules; never against its weights."""

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


class FakeLisa(Weights):
    """Draws what is red where it is asked for it, as a model of one mask of all objects does."""

    @classmethod
    def from_pretrained(
        cls, version: str, *, low_cpu_mem_usage: bool, vision_tower: str, seg_token_idx: int, torch_dtype: Any
    ) -> FakeLisa:
        assert (version, vision_tower, low_cpu_mem_usage) == ("weights", "clip", True)
        assert torch_dtype is torch.float32
        assert seg_token_idx == 4  # the first word after the four that every tokenizer has
        return cls()

    def evaluate(
        self,
        images_clip: torch.Tensor,
        images: torch.Tensor,
        input_ids: torch.Tensor,
        resize_list: list[tuple[int, int]],
        original_size_list: list[tuple[int, int]],
        max_new_tokens: int = 32,
        tokenizer: Words | None = None,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        assert not self.trains
        assert images_clip.shape == (1, 3, 4, 4)
        assert images.shape == (1, 3, 1024, 1024)
        assert (resize_list, original_size_list) == ([(1024, 512)], [SHAPE])
        assert (input_ids.shape[0], max_new_tokens) == (1, 64)
        assert tokenizer is not None
        assert not images[..., 512:].any(), "padding is 0 after normalising"
        asked_for = tokenizer.decode(input_ids[0][input_ids[0] != IMAGE], skip_special_tokens=False)
        said = "It is [SEG] ." if "red" in asked_for else "There is none ."
        reply = torch.tensor([[*input_ids[0].tolist(), *tokenizer.encode(said, False)]])
        inner = reddish(images)[None, None, :1024, :512]
        logits = torch.nn.functional.interpolate(inner, size=SHAPE, mode="bilinear", align_corners=False)
        return reply, [logits[0] if "red" in asked_for else logits[0][:0]]


@pytest.fixture
def lisa(monkeypatch: pytest.MonkeyPatch) -> Any:
    set_modules(monkeypatch, llava_modules("LISA", FakeLisa))
    return adapter_of("lisa")


OPTIONS = {"checkpoint": "weights", "vision_tower": "clip", "precision": "fp32", "max_new_tokens": 64}


def test_a_reply_with_seg_has_a_mask_in_the_pictures_own_pixels(lisa: Any) -> None:
    masks, scores, text = asked(lisa, "red roofs", **OPTIONS)
    np.testing.assert_array_equal(masks, picture()[1][None])
    assert text == "It is [SEG] ."
    assert len(scores) == 1
    assert 0.99 < scores[0] <= 1  # logits of 70 within the mask
    assert lisa.ONE_MASK


def test_a_reply_without_seg_is_nothing(lisa: Any) -> None:
    masks, scores, text = asked(lisa, "lakes", **OPTIONS)
    assert (masks.shape, scores, text) == ((0, *SHAPE), [], "There is none .")


def test_the_query_stands_in_the_wording_behind_the_image(lisa: Any) -> None:
    model = {"options": {"conversation": "llava_v1", "wording": "{query} Please output segmentation mask."}}
    assert lisa._prompt(model, "red {roofs}") == (
        "USER: <im_start> <image> <im_end>\nred {roofs} Please output segmentation mask. ASSISTANT: "
    )
