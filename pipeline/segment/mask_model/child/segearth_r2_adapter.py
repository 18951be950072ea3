"""SegEarth-R2 (arXiv:2512.20013) for `mask_child.py`. Not run with weights, of which none are published.

Written against earth-insights/SegEarth-R2 at 3646d72, by reading segearth_r2/eval/eval.py,
segearth_r2/utils/builder.py, segearth_r2/datasets/dataset.py, and `inference` of
segearth_r2/model/language_model/llava_phi.py. The branch `contest`, which is shown first, has no code. The
repository has no licence file.

It writes a reply with a [SEG] for each mask, or none. Its evaluation samples at a temperature of 0.2; here
decoding is greedy, so that a tile that is done again gets the same answer. It scores nothing: 1 stands
for that.
"""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np

NAME = "SegEarth-R2"
VERSION = "1"
OPTIONS = {
    "checkpoint": None,
    "vision_tower": None,  # a SigLIP of 384 px
    "mask_config": "segearth_r2/model/mask_decoder/mask_config/maskformer2_swin_base_384_bs16_50ep.yaml",
    "conversation": "llava_phi",
    "device": "cuda",
    "max_new_tokens": 128,
}
PATHS = ("checkpoint", "vision_tower")
ONE_MASK = False

SIDE_PX = 1024
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def load(options: dict[str, Any]) -> dict[str, Any]:
    """Load the model and its tokenizer."""
    import torch
    from segearth_r2.utils import conversation  # type: ignore[import-not-found]
    from segearth_r2.utils.builder import load_pretrained_model  # type: ignore[import-not-found]
    from transformers import SiglipImageProcessor

    tokenizer, segearth, _, _ = load_pretrained_model(
        options["checkpoint"],
        model_args=SimpleNamespace(model_map_name="segearth_r2"),
        mask_config=options["mask_config"],
        device=options["device"],
    )
    conversation.default_conversation = conversation.conv_templates[options["conversation"]]
    tokenizer.pad_token = tokenizer.eos_token
    return {
        "segearth": segearth.to(device=options["device"], dtype=torch.float32).eval(),
        "tokenizer": tokenizer,
        "clip": SiglipImageProcessor.from_pretrained(options["vision_tower"]),
        "seg": tokenizer.encode("[SEG]", add_special_tokens=False)[0],
        "options": options,
    }


def prepare(model: dict[str, Any], rgb: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Make the pictures for SigLIP and for the masks; the latter lies at the top left of a square."""
    import torch
    from PIL import Image
    from segearth_r2.datasets.dataset import preprocess_image  # type: ignore[import-not-found]

    file = io.BytesIO()  # the repository reads files alone
    Image.fromarray(rgb).save(file, format="PNG")
    file.seek(0)
    square = preprocess_image(file).astype(np.float32)
    pixels = ((square - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1).astype(np.float32)
    device = model["options"]["device"]
    return {
        "pixels": torch.from_numpy(pixels)[None].to(device),
        "clip": model["clip"].preprocess(rgb, return_tensors="pt")["pixel_values"].to(device),
        "shape": rgb.shape[:2],
    }


def answer(
    model: dict[str, Any], picture: dict[str, Any], query: str
) -> tuple[np.ndarray[Any, Any], list[float], str]:
    """Ask one query."""
    import torch
    from segearth_r2.eval.eval import DEFAULT_PREFIX_INST, preprocess_instruction  # type: ignore[import-not-found]
    from segearth_r2.utils import conversation

    options = model["options"]
    tokenizer = model["tokenizer"]
    tokens = preprocess_instruction(query.strip(), DEFAULT_PREFIX_INST, tokenizer, conversation)[None]
    with torch.no_grad():
        reply, found = model["segearth"].inference(
            input_ids=tokens.to(options["device"]),
            images=picture["pixels"],
            images_clip=picture["clip"],
            do_sample=False,
            temperature=1.0,
            num_beams=1,
            max_new_tokens=options["max_new_tokens"],
            eos_token_id=tokenizer.eos_token_id,
            use_cache=True,
            SEG_token_id=model["seg"],
        )
    text = tokenizer.decode(reply[0][tokens.shape[1] :], skip_special_tokens=True).strip()
    if found is None:
        return np.zeros((0, *picture["shape"]), dtype=np.bool_), [], text
    masks = unpadded(found.reshape(-1, SIDE_PX, SIDE_PX), picture["shape"])
    return masks, [1.0] * len(masks), text


def unpadded(masks: np.ndarray[Any, Any], shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Cut the picture's part out of masks of the square, and give it the picture's size: bool (N, H, W)."""
    import torch

    height, width = shape
    scale = SIDE_PX / max(height, width)
    inner = masks[:, : int(height * scale + 0.5), : int(width * scale + 0.5)]
    cut = torch.from_numpy(np.ascontiguousarray(inner, dtype=np.float32))[:, None]
    resized = torch.nn.functional.interpolate(cut, size=(height, width), mode="bilinear", align_corners=False)
    return np.asarray((resized[:, 0] > 0.5).numpy())
