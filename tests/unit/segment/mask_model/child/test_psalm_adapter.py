"""PSALM's adapter, run against stand-ins of its repository's modules; never against its weights."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
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

SEG = -201
SPECIAL = {"<image>": IMAGE, "<seg>": SEG, "<refer>": REFER}


class FakePsalm(Weights):
    def eval_seg(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        images: torch.Tensor,
        seg_info: list[dict[str, Any]],
        token_refer_id: list[torch.Tensor],
        refer_embedding_indices: torch.Tensor,
    ) -> list[dict[str, Any]]:
        assert [int((input_ids == token).sum()) for token in SPECIAL.values()] == [1, 1, 1]
        assert input_ids.shape == attention_mask.shape == labels.shape == refer_embedding_indices.shape
        assert (input_ids[refer_embedding_indices == 1] == REFER).all()
        assert (seg_info[0]["height"], seg_info[0]["width"]) == SHAPE
        assert "image" not in seg_info[0], "the collator has taken it out"
        red = torch.nn.functional.interpolate(reddish(images)[None, None], size=SHAPE)[0] > 0
        masks = torch.cat([~red, red]).float()
        said = WORDS.decode(token_refer_id[0], skip_special_tokens=False)
        assert said.endswith(". [SEG]")
        scores = torch.tensor([0.3, 0.8] if "red" in said else [0.2, 0.1])
        return [{"instances": SimpleNamespace(pred_masks=masks, scores=scores)}]


WORDS = Words()


class FakeDataset:
    def __init__(self) -> None:
        raise AssertionError("there is no data set to open")

    def tokens(self, text: str) -> list[int]:
        ids: list[int] = []
        for chunk in re.split("(<image>|<seg>|<refer>)", text):
            ids += [SPECIAL[chunk]] if chunk in SPECIAL else self.tokenizer.encode(chunk, False)
        return ids

    def preprocess_llama2(self, sources: list[list[dict[str, str]]], tokenizer: Words) -> dict[str, Any]:
        (talk,) = sources
        assert [turn["from"] for turn in talk] == ["human", "gpt"]
        self.tokenizer = tokenizer
        ids = torch.tensor([self.tokens(" ".join(turn["value"] for turn in talk))])
        return {"input_ids": ids, "labels": ids.clone()}

    def preprocess_referring_instruction(self, instruction: str, REFER_token: str = "[SEG]") -> torch.Tensor:
        return torch.tensor(self.tokenizer.encode(instruction.replace(".", " . ") + REFER_token, False))


class FakeCollator:
    def __init__(self, tokenizer: Words) -> None:
        self.tokenizer = tokenizer

    def __call__(self, instances: list[dict[str, Any]]) -> dict[str, Any]:
        (one,) = instances
        batch = {
            "input_ids": one["input_ids"][None],
            "labels": one["labels"][None],
            "attention_mask": torch.ones_like(one["input_ids"])[None].bool(),
            "images": one["image"][None],
            "token_refer_id": [one["token_refer_id"]],
            "refer_embedding_indices": one["refer_embedding_indices"][None],
        }
        for name in ("input_ids", "labels", "image"):
            del one[name]
        return {**batch, "seg_info": instances}


class FakeMapper:
    def preprocess(self, named: dict[str, Any], mask_format: str) -> dict[str, Any]:
        rgb = np.array(named["file_name"])
        assert rgb.shape == (named["height"], named["width"], 3)
        assert "annotations" not in named
        square = torch.from_numpy(rgb.transpose(2, 0, 1).astype(np.float32))
        mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
        return {**named, "image": (square - mean) / 58.395, "padding_mask": torch.zeros(SHAPE)}


@pytest.fixture
def psalm(monkeypatch: pytest.MonkeyPatch) -> Any:
    def load_pretrained_model(
        path: str, base: None, name: str, model_args: Any, mask_config: str, device: str
    ) -> tuple[Any, ...]:
        assert (path, base, name, device) == ("models/PSALM", None, "PSALM", "cpu")
        assert (model_args.model_map_name, model_args.seg_task) == ("psalm", "referring")
        assert mask_config.endswith(".yaml")
        return WORDS, FakePsalm(), {"instance": FakeMapper()}, 2048

    set_modules(
        monkeypatch,
        {
            "psalm.conversation": {"conv_templates": {"llava_phi": object()}, "default_conversation": None},
            "psalm.constants": {"REFER_TOKEN_INDEX": REFER},
            "psalm.mm_utils": {"get_model_name_from_path": lambda path: path.split("/")[-1]},
            "psalm.model.builder": {"load_pretrained_model": load_pretrained_model},
            "psalm.train.train_datasets": {
                "RefCOCO_dataset": FakeDataset,
                "DataCollatorForCOCODatasetV2": FakeCollator,
            },
        },
    )
    return adapter_of("psalm")


def test_the_mask_of_the_highest_score_is_the_answer(psalm: Any) -> None:
    masks, scores, _ = asked(psalm, "red roofs", checkpoint="models/PSALM")
    np.testing.assert_array_equal(masks, picture()[1][None])
    assert scores == [pytest.approx(0.8)]


def test_below_the_least_score_is_nothing_and_by_default_there_is_always_a_mask(psalm: Any) -> None:
    masks, scores, text = asked(psalm, "lakes", checkpoint="models/PSALM", least_score=0.25)
    assert (masks.shape, scores) == ((0, *SHAPE), [])
    assert text == "the best of 2 masks has the score 0.200"
    masks, scores, _ = asked(psalm, "lakes", checkpoint="models/PSALM")
    assert (len(masks), scores) == (1, [pytest.approx(0.2)])
