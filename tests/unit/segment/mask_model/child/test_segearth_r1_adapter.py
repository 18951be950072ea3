"""SegEarth-R1's adapter, run against stand-ins of its repository's modules; never against its weights."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from segment.mask_model.child.stand_ins import (
    IMAGE,
    REFER,
    SHAPE,
    Weights,
    Words,
    adapter_of,
    asked,
    picture,
    reddish,
    set_modules,
)

WORDS = Words()


class FakeSegEarth(Weights):
    def eval_seg(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        images: torch.Tensor,
        token_refer_id: list[torch.Tensor],
        token_answer_id: None,
        refer_embedding_indices: torch.Tensor,
        answer_embedding_indices: None,
    ) -> list[dict[str, Any]]:
        assert token_answer_id is answer_embedding_indices is None
        assert attention_mask.dtype is torch.bool
        assert (input_ids[refer_embedding_indices == 1] == REFER).all()
        assert int(refer_embedding_indices.sum()) == 1
        assert images.shape == (1, 3, 1024, 1024)
        wanted = "red" in WORDS.decode(token_refer_id[0], skip_special_tokens=False)
        masks = (reddish(images) > 0).float() if wanted else torch.zeros((1024, 1024))
        return [{"pred_masks": masks, "scores": None}]


def preprocess_image(rgb: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """As the repository fits pictures: the longer side fills the square, the rest lies in its middle."""
    height, width = rgb.shape[:2]
    factor = image_size // max(height, width)
    large = rgb.repeat(factor, axis=0).repeat(factor, axis=1)
    square = np.zeros((image_size, image_size, 3), dtype=np.uint8)
    top = (image_size - large.shape[0]) // 2
    left = (image_size - large.shape[1]) // 2
    square[top : top + large.shape[0], left : left + large.shape[1]] = large
    return square.transpose(2, 0, 1)


def preprocess_llama2(sources: list[list[dict[str, str]]], tokenizer: Words) -> dict[str, torch.Tensor]:
    (talk,) = sources
    said = " ".join(turn["value"] for turn in talk)
    assert "doing Reasoning Segmentation" in said
    assert said.endswith("Sure."), "no answer of the truth is given away"
    special = {"<image>": IMAGE, "<refer>": REFER}
    ids: list[int] = []
    for chunk in re.split("(<image>|<refer>)", said):
        ids += [special[chunk]] if chunk in special else tokenizer.encode(chunk, False)
    return {"input_ids": torch.tensor([ids]), "labels": torch.tensor([ids])}


@pytest.fixture
def segearth(monkeypatch: pytest.MonkeyPatch) -> Any:
    def load_pretrained_model(
        path: str, base: None, name: str, model_args: Any, mask_config: str, use_seg_query: bool, device: str
    ) -> tuple[Any, ...]:
        assert (path, name, use_seg_query, device) == ("models/R1", "R1", False, "cpu")
        assert (model_args.model_map_name, model_args.seg_task) == ("segearth_r1", "referring")
        return WORDS, FakeSegEarth(), 2048

    set_modules(
        monkeypatch,
        {
            "segearth_r1.conversation": {"conv_templates": {"llava_phi": object()}},
            "segearth_r1.constants": {"REFER_TOKEN_INDEX": REFER},
            "segearth_r1.mm_utils": {"get_model_name_from_path": lambda path: path.split("/")[-1]},
            "segearth_r1.model.builder": {"load_pretrained_model": load_pretrained_model},
            "segearth_r1.eval_and_test.eval_dataset.RS_val_dataset": {
                "preprocess_image": preprocess_image,
                "preprocess_llama2": preprocess_llama2,
                "preprocess_referring_instruction": lambda text, tokenizer: torch.tensor(
                    tokenizer.encode(text + " [SEG]", False)
                ),
            },
        },
    )
    return adapter_of("segearth_r1")


def test_the_mask_comes_back_in_the_pictures_own_pixels(segearth: Any) -> None:
    masks, scores, _ = asked(segearth, "red roofs", checkpoint="models/R1")
    np.testing.assert_array_equal(masks, picture()[1][None])
    assert scores == [1.0]


def test_a_mask_without_a_pixel_stays_one_that_the_run_leaves_out(segearth: Any) -> None:
    masks, _, _ = asked(segearth, "lakes", checkpoint="models/R1")
    assert (masks.shape, masks.any()) == ((1, *SHAPE), False)


@pytest.mark.parametrize("shape", [(32, 16), (16, 32), (32, 32)])
def test_what_is_fitted_is_cut_out_again(segearth: Any, shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).random(shape) < 0.5
    square = preprocess_image(np.where(mask[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2), 1024)
    back = segearth.unsquared(torch.from_numpy(square[0] > 0).float(), shape)
    np.testing.assert_array_equal(back, mask[None])
