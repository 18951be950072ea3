"""SegEarth-R2's adapter, run against stand-ins of its repository's modules; never against its weights."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from segment.mask_model.child.stand_ins import (
    SHAPE,
    ImageProcessor,
    Weights,
    Words,
    adapter_of,
    asked,
    picture,
    reddish,
    set_modules,
)

WORDS = Words()


class FakeSegEarth2(Weights):
    def inference(
        self,
        do_sample: bool,
        temperature: float,
        num_beams: int,
        max_new_tokens: int,
        eos_token_id: int,
        use_cache: bool,
        input_ids: torch.Tensor,
        images_clip: torch.Tensor,
        images: torch.Tensor,
        SEG_token_id: int,
    ) -> tuple[torch.Tensor, NDArray[np.uint8] | None]:
        assert (do_sample, num_beams, max_new_tokens, eos_token_id, use_cache) == (False, 1, 128, 2, True)
        assert (images.shape, images_clip.shape) == ((1, 3, 1024, 1024), (1, 3, 4, 4))
        assert WORDS.known[SEG_token_id] == "[SEG]"
        said = WORDS.decode(input_ids[0], skip_special_tokens=False)
        wanted = "red" in said
        told = "They are [SEG] ." if wanted else "There are none ."
        reply = torch.tensor([[*input_ids[0].tolist(), *WORDS.encode(told, False)]])
        masks = (reddish(images) > 0).numpy().astype(np.uint8)[None, None]
        return reply, masks if wanted else None


def preprocess_image(file: BinaryIO) -> NDArray[np.float64]:
    """As the repository fits pictures: at the top left of a square, the rest is grey."""
    rgb = np.array(Image.open(file))
    factor = 1024 // max(rgb.shape[:2])
    square = np.full((1024, 1024, 3), 128.0)
    large = rgb.repeat(factor, axis=0).repeat(factor, axis=1)
    square[: large.shape[0], : large.shape[1]] = large
    return square


@pytest.fixture
def segearth2(monkeypatch: pytest.MonkeyPatch) -> Any:
    def load_pretrained_model(path: str, model_args: Any, mask_config: str, device: str) -> tuple[Any, ...]:
        assert (path, device) == ("models/R2", "cpu")
        return WORDS, FakeSegEarth2(), object(), 2048

    def preprocess_instruction(text: str, prefix_inst: str, tokenizer: Words, lib: Any) -> torch.Tensor:
        assert lib.default_conversation == "phi"
        return torch.tensor(tokenizer.encode(f"{prefix_inst} {text}", False))

    set_modules(
        monkeypatch,
        {
            "segearth_r2.utils.conversation": {"conv_templates": {"llava_phi": "phi"}},
            "segearth_r2.utils.builder": {"load_pretrained_model": load_pretrained_model},
            "segearth_r2.datasets.dataset": {"preprocess_image": preprocess_image},
            "segearth_r2.eval.eval": {
                "DEFAULT_PREFIX_INST": "This is an image",
                "preprocess_instruction": preprocess_instruction,
            },
            "transformers": {"SiglipImageProcessor": ImageProcessor},
        },
    )
    return adapter_of("segearth_r2")


OPTIONS = {"checkpoint": "models/R2", "vision_tower": "siglip"}


def test_a_mask_for_each_seg_comes_back_in_the_pictures_own_pixels(segearth2: Any) -> None:
    masks, scores, text = asked(segearth2, "red roofs", **OPTIONS)
    np.testing.assert_array_equal(masks, picture()[1][None])
    assert (scores, text) == ([1.0], "They are [SEG] .")


def test_a_reply_without_seg_is_nothing(segearth2: Any) -> None:
    masks, scores, text = asked(segearth2, "lakes", **OPTIONS)
    assert (masks.shape, scores, text) == ((0, *SHAPE), [], "There are none .")


@pytest.mark.parametrize("shape", [(32, 16), (16, 32), (32, 32)])
def test_what_is_fitted_is_cut_out_again(segearth2: Any, shape: tuple[int, int]) -> None:
    masks = np.random.default_rng(1).random((2, *shape)) < 0.5
    factor = 1024 // 32
    square = np.zeros((2, 1024, 1024), dtype=np.uint8)
    large = masks.repeat(factor, axis=1).repeat(factor, axis=2)
    square[:, : large.shape[1], : large.shape[2]] = large
    np.testing.assert_array_equal(segearth2.unpadded(square, shape), masks)
