"""LISA (X. Lai et al., arXiv:2308.00692) for `mask_child.py`. Not run with weights.

Written against dvlab-research/LISA at 3cb2d43 (31 December 2024), by reading chat.py, utils/utils.py, and
`evaluate` of model/LISA.py. As there: a picture for CLIP, one of 1024 px for SAM, greedy decoding, and a mask
wherever a logit is above 0. LISA gives a mask for each [SEG] in its reply, and none where it writes none. One
[SEG] may mean several objects. It scores nothing: the score is the mean probability within the mask.

The repository calls `.cuda()` itself, so it needs a GPU. `wording` is one of those it was trained with.
"""

from __future__ import annotations

from typing import Any

import numpy as np

NAME = "LISA"
VERSION = "1"
OPTIONS = {
    "checkpoint": None,  # such as xinlai/LISA-7B-v1
    "vision_tower": "openai/clip-vit-large-patch14",
    "conversation": "llava_v1",  # llava_llama_2 for the checkpoints of Llama 2
    "wording": "{query} Please output segmentation mask.",
    "precision": "bf16",  # or fp32
    "device": "cuda",
    "max_new_tokens": 512,
}
PATHS = ("checkpoint", "vision_tower")
ONE_MASK = True

SAM_PX = 1024
SAM_MEAN = (123.675, 116.28, 103.53)
SAM_STD = (58.395, 57.12, 57.375)


def load(options: dict[str, Any]) -> dict[str, Any]:
    """Load the model, its tokenizer, and both ways to prepare a picture."""
    import torch
    from model.LISA import LISAForCausalLM  # type: ignore[import-not-found]
    from model.segment_anything.utils.transforms import ResizeLongestSide  # type: ignore[import-not-found]
    from transformers import AutoTokenizer, CLIPImageProcessor

    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[options["precision"]]
    tokenizer = AutoTokenizer.from_pretrained(
        options["checkpoint"],
        model_max_length=512,
        padding_side="right",
        use_fast=False,
        trust_remote_code=False,
    )
    tokenizer.pad_token = tokenizer.unk_token
    lisa = LISAForCausalLM.from_pretrained(
        options["checkpoint"],
        low_cpu_mem_usage=True,
        vision_tower=options["vision_tower"],
        seg_token_idx=tokenizer("[SEG]", add_special_tokens=False).input_ids[0],
        torch_dtype=dtype,
    )
    for name in ("eos_token_id", "bos_token_id", "pad_token_id"):
        setattr(lisa.config, name, getattr(tokenizer, name))
    lisa.get_model().initialize_vision_modules(lisa.get_model().config)
    lisa.get_model().get_vision_tower().to(dtype=dtype)
    lisa = lisa.to(dtype=dtype, device=options["device"])
    lisa.get_model().get_vision_tower().to(device=options["device"])
    return {
        "lisa": lisa.eval(),
        "tokenizer": tokenizer,
        "clip": CLIPImageProcessor.from_pretrained(lisa.config.vision_tower),
        "resize": ResizeLongestSide(SAM_PX),
        "dtype": dtype,
        "options": options,
    }


def prepare(model: dict[str, Any], rgb: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Make the pictures for CLIP and for SAM."""
    import torch

    resized = model["resize"].apply_image(rgb)
    height, width = resized.shape[:2]
    for_sam = np.zeros((3, SAM_PX, SAM_PX), dtype=np.float32)
    for_sam[:, :height, :width] = ((resized - np.array(SAM_MEAN)) / np.array(SAM_STD)).transpose(2, 0, 1)
    where = {"device": model["options"]["device"], "dtype": model["dtype"]}
    return {
        "clip": model["clip"].preprocess(rgb, return_tensors="pt")["pixel_values"].to(**where),
        "sam": torch.from_numpy(for_sam)[None].to(**where),
        "resized": (height, width),
        "shape": rgb.shape[:2],
    }


def answer(
    model: dict[str, Any], picture: dict[str, Any], query: str
) -> tuple[np.ndarray[Any, Any], list[float], str]:
    """Ask one query."""
    import torch
    from model.llava.mm_utils import tokenizer_image_token  # type: ignore[import-not-found]
    from utils.utils import IMAGE_TOKEN_INDEX  # type: ignore[import-not-found]

    options = model["options"]
    tokens = tokenizer_image_token(_prompt(model, query), model["tokenizer"], return_tensors="pt")
    with torch.no_grad():
        replies, logits = model["lisa"].evaluate(
            picture["clip"],
            picture["sam"],
            tokens[None].to(options["device"]),
            [picture["resized"]],
            [picture["shape"]],
            max_new_tokens=options["max_new_tokens"],
            tokenizer=model["tokenizer"],
        )
    text = model["tokenizer"].decode(replies[0][replies[0] != IMAGE_TOKEN_INDEX], skip_special_tokens=False)
    found = logits[0].float()
    masks = found > 0
    inside = (found.sigmoid() * masks).flatten(1).sum(1) / masks.flatten(1).sum(1).clamp(min=1)
    return masks.cpu().numpy(), inside.cpu().tolist(), text.rpartition("ASSISTANT:")[2].strip()


def _prompt(model: dict[str, Any], query: str) -> str:
    """The conversation up to the reply."""
    from model.llava import conversation  # type: ignore[import-not-found]
    from utils.utils import DEFAULT_IM_END_TOKEN, DEFAULT_IM_START_TOKEN, DEFAULT_IMAGE_TOKEN

    options = model["options"]
    talk = conversation.conv_templates[options["conversation"]].copy()
    talk.messages = []
    image = DEFAULT_IM_START_TOKEN + DEFAULT_IMAGE_TOKEN + DEFAULT_IM_END_TOKEN
    talk.append_message(talk.roles[0], image + "\n" + options["wording"].format(query=query))
    talk.append_message(talk.roles[1], "")
    return str(talk.get_prompt())
