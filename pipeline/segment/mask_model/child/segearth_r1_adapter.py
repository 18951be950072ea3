"""SegEarth-R1 (K. Li et al., arXiv:2504.09644) for `mask_child.py`. Not run with weights.

Written against earth-insights/SegEarth-R1 at e796b3b (21 January 2026), by reading
segearth_r1/eval_and_test/eval.py, its eval_dataset/RS_val_dataset.py, and `eval_seg` of
segearth_r1/model/language_model/llava_phi.py. Its evaluation on EarthReason feeds the true answer behind the
query; here there is none, and the reply is the `Sure.` of its other data sets. By reading, the mask does not
depend on what follows the query. It gives one mask of all objects, without a score (1 stands for it), and has
no word for "nothing here": a mask without a pixel is that.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

NAME = "SegEarth-R1"
VERSION = "1"
OPTIONS = {
    "checkpoint": None,  # such as earth-insights/SegEarth-R1-EarthReason
    "mask_config": "segearth_r1/mask_config/maskformer2_swin_base_384_bs16_50ep.yaml",  # of the repository
    "conversation": "llava_phi",
    "task": "Reasoning",  # Referring for the checkpoints of RRSIS-D and RefSegRS
    "device": "cuda",
}
PATHS = ("checkpoint",)
ONE_MASK = True

PREFIX = "This is an image <image>, Please doing {task} Segmentation according to the following instruction:"
"""The wording that it was trained with."""

SIDE_PX = 1024
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def load(options: dict[str, Any]) -> dict[str, Any]:
    """Load the model and its tokenizer."""
    import torch
    from segearth_r1 import conversation  # type: ignore[import-not-found]
    from segearth_r1.mm_utils import get_model_name_from_path  # type: ignore[import-not-found]
    from segearth_r1.model.builder import load_pretrained_model  # type: ignore[import-not-found]

    tokenizer, segearth, _ = load_pretrained_model(
        options["checkpoint"],
        None,
        get_model_name_from_path(options["checkpoint"]),
        model_args=SimpleNamespace(model_map_name="segearth_r1", seg_task="referring"),
        mask_config=options["mask_config"],
        use_seg_query=False,
        device=options["device"],
    )
    conversation.default_conversation = conversation.conv_templates[options["conversation"]]
    return {
        "segearth": segearth.to(device=options["device"], dtype=torch.float).eval(),
        "tokenizer": tokenizer,
        "options": options,
    }


def prepare(model: dict[str, Any], rgb: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Fit the picture into the middle of a square."""
    import torch
    from segearth_r1.eval_and_test.eval_dataset.RS_val_dataset import (  # type: ignore[import-not-found]
        preprocess_image,
    )

    square = preprocess_image(rgb, SIDE_PX)
    mean = np.array(MEAN, dtype=np.float32)[:, None, None]
    std = np.array(STD, dtype=np.float32)[:, None, None]
    pixels = torch.from_numpy((square.astype(np.float32) - mean) / std)[None]
    return {"pixels": pixels.to(model["options"]["device"]), "shape": rgb.shape[:2]}


def answer(
    model: dict[str, Any], picture: dict[str, Any], query: str
) -> tuple[np.ndarray[Any, Any], list[float], str]:
    """Ask one query."""
    import torch
    from segearth_r1.constants import REFER_TOKEN_INDEX  # type: ignore[import-not-found]
    from segearth_r1.eval_and_test.eval_dataset.RS_val_dataset import (
        preprocess_llama2,
        preprocess_referring_instruction,
    )

    options = model["options"]
    tokenizer = model["tokenizer"]
    talk = [
        {"from": "human", "value": PREFIX.format(task=options["task"]) + "\n<refer>"},
        {"from": "gpt", "value": "\nSure."},
    ]
    said = preprocess_llama2([talk], tokenizer)
    tokens = said["input_ids"]
    refer = preprocess_referring_instruction(f" {query}", tokenizer)
    with torch.no_grad():
        (found,) = model["segearth"].eval_seg(
            input_ids=tokens.to(options["device"]),
            attention_mask=tokens.ne(tokenizer.pad_token_id).to(options["device"]),
            images=picture["pixels"],
            token_refer_id=[refer.to(options["device"])],
            refer_embedding_indices=(tokens == REFER_TOKEN_INDEX).long().to(options["device"]),
            labels=said["labels"].to(options["device"]),
            token_answer_id=None,
            answer_embedding_indices=None,
        )
    mask = found["pred_masks"].reshape(SIDE_PX, SIDE_PX).float()
    return unsquared(mask, picture["shape"]), [1.0], ""


def unsquared(mask: Any, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Cut the picture's part out of a mask of the square, and give it the picture's size: bool (1, H, W)."""
    import torch

    height, width = shape
    scale = SIDE_PX / max(height, width)
    inner_height = SIDE_PX if height >= width else int(height * scale)
    inner_width = int(width * scale) if height >= width else SIDE_PX
    top = (SIDE_PX - inner_height) // 2
    left = (SIDE_PX - inner_width) // 2
    cut = mask[None, None, top : top + inner_height, left : left + inner_width]
    resized = torch.nn.functional.interpolate(cut, size=(height, width), mode="bilinear", align_corners=False)
    return np.asarray((resized[0] > 0.5).cpu().numpy())
