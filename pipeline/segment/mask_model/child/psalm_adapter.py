"""PSALM (Z. Zhang et al., arXiv:2403.14598) for `mask_child.py`, asked as for referring expressions. Not run
with weights.

Written against zamling/PSALM at d5dbfda (30 December 2024), by reading psalm/eval/referring_segmentation.py,
psalm/train/train_datasets.py (`RefCOCO_dataset`), the mapper of its pictures, and `eval_seg` of
psalm/model/language_model/llava_phi.py. It proposes many masks with scores and, as its evaluation does, the
one of the highest score is the answer. It has no word for "nothing here": below `least_score` the answer is
that. The default 0 always gives a mask, as published.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

NAME = "PSALM"
VERSION = "1"
OPTIONS = {
    "checkpoint": None,  # such as EnmingZhang/PSALM
    "mask_config": "psalm/mask_config/maskformer2_swin_base_384_bs16_50ep.yaml",  # a file of the repository
    "conversation": "llava_phi",
    "device": "cuda",
    "least_score": 0.0,
}
PATHS = ("checkpoint",)
ONE_MASK = True

PREFIX = (
    "This is an image <image>, Please doing Referring Segmentation according to the following instruction:"
)
"""The wording that it was trained with."""


def load(options: dict[str, Any]) -> dict[str, Any]:
    """Load the model, its tokenizer, and how it prepares pictures."""
    import torch
    from psalm import conversation  # type: ignore[import-not-found]
    from psalm.mm_utils import get_model_name_from_path  # type: ignore[import-not-found]
    from psalm.model.builder import load_pretrained_model  # type: ignore[import-not-found]
    from psalm.train.train_datasets import RefCOCO_dataset  # type: ignore[import-not-found]

    tokenizer, psalm, pictures, _ = load_pretrained_model(
        options["checkpoint"],
        None,
        get_model_name_from_path(options["checkpoint"]),
        model_args=SimpleNamespace(model_map_name="psalm", seg_task="referring"),
        mask_config=options["mask_config"],
        device=options["device"],
    )
    conversation.default_conversation = conversation.conv_templates[options["conversation"]]
    words = RefCOCO_dataset.__new__(RefCOCO_dataset)  # its methods alone: there is no data set
    words.tokenizer = tokenizer
    return {
        "psalm": psalm.to(device=options["device"], dtype=torch.float).eval(),
        "tokenizer": tokenizer,
        "pictures": pictures["instance"] if isinstance(pictures, dict) else pictures,
        "words": words,
        "options": options,
    }


def prepare(model: dict[str, Any], rgb: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Fit the picture into the model's square. The mapper takes pixels where it takes a file."""
    height, width = rgb.shape[:2]
    named = {"file_name": rgb, "height": height, "width": width, "image_id": 0}
    seen: dict[str, Any] = model["pictures"].preprocess(named, mask_format="polygon")
    return seen


def answer(
    model: dict[str, Any], picture: dict[str, Any], query: str
) -> tuple[np.ndarray[Any, Any], list[float], str]:
    """Ask one query."""
    import torch

    device = model["options"]["device"]
    inputs = _inputs(model, picture, query)
    with torch.no_grad():
        (found,) = model["psalm"].eval_seg(
            input_ids=inputs["input_ids"].to(device),
            attention_mask=inputs["attention_mask"].to(device),
            images=inputs["images"].to(device).float(),
            seg_info=inputs["seg_info"],
            token_refer_id=[ids.to(device) for ids in inputs["token_refer_id"]],
            refer_embedding_indices=inputs["refer_embedding_indices"].to(device),
            labels=inputs["labels"].to(device),
        )
    scores = found["instances"].scores.cpu().numpy()
    best = int(scores.argmax())
    score = float(np.clip(scores[best], 0, 1))
    masks = found["instances"].pred_masks[best : best + 1].cpu().numpy() > 0.5
    if score < model["options"]["least_score"]:
        return masks[:0], [], f"the best of {len(scores)} masks has the score {score:.3f}"
    return masks, [score], ""


def _inputs(model: dict[str, Any], picture: dict[str, Any], query: str) -> dict[str, Any]:
    """The batch of one that `eval_seg` takes, made by the repository's own collator."""
    import torch
    from psalm.constants import REFER_TOKEN_INDEX  # type: ignore[import-not-found]
    from psalm.train.train_datasets import DataCollatorForCOCODatasetV2

    talk = [
        {"from": "human", "value": PREFIX + "\n<refer>"},
        {"from": "gpt", "value": "\nSure, the segmentation result is <seg>"},
    ]
    words = model["words"]
    said = words.preprocess_llama2([talk], model["tokenizer"])
    tokens = said["input_ids"][0]
    where = torch.zeros_like(tokens)
    where[tokens == REFER_TOKEN_INDEX] = 1
    sample = {
        **picture,
        "input_ids": tokens,
        "labels": said["labels"][0],
        "dataset_type": "referring_coco",
        "token_refer_id": words.preprocess_referring_instruction(f" {query}."),
        "refer_embedding_indices": where,
    }
    batch: dict[str, Any] = DataCollatorForCOCODatasetV2(tokenizer=model["tokenizer"])([sample])
    return batch
