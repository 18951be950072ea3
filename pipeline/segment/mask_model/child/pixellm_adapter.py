"""PixelLM (Z. Ren et al., arXiv:2312.02228) for `mask_child.py`. Not run with weights.

Written against MaverickRen/PixelLM at ebf0792 (11 February 2025), by reading chat.py, README.md, and
`evaluate` of model/PixelLM.py. The defaults are those of the README's command for the published checkpoints:
three tokens for each mask, two scales, pictures of 448 px for CLIP, and no SAM. Every mask of a reply is an
object; its score is the model's own, the mean probability within it. Logits above 0 are object.

The repository calls `.cuda()` itself, so it needs a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

NAME = "PixelLM"
VERSION = "1"
OPTIONS = {
    "checkpoint": None,  # hf_model of maverickrzw/PixelLM-7B
    "vision_tower": "openai/clip-vit-large-patch14-336",
    "preprocessor": "configs/preprocessor_448.json",  # a file of the repository
    "conversation": "llava_v1",
    "wording": "{query} Please output segmentation mask.",
    "precision": "bf16",  # or fp32
    "device": "cuda",
    "max_new_tokens": 512,
    "tokens_per_mask": 3,
    "scales": 2,
    "clip_px": 448,
}
PATHS = ("checkpoint", "vision_tower")
ONE_MASK = False

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
SAM_PX = 1024
"""`evaluate` takes a picture for SAM, too, and does not look at it when CLIP's features make the masks."""


def load(options: dict[str, Any]) -> dict[str, Any]:
    """Load the model and its tokenizer."""
    import torch
    from model.PixelLM import PixelLMForCausalLM  # type: ignore[import-not-found]
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
    n_tokens = options["tokens_per_mask"] * options["scales"]
    words = ["[SEG]"] if n_tokens == 1 else [f"[SEG{number}]" for number in range(n_tokens)]
    tokenizer.add_tokens(words)
    ids = [tokenizer(word, add_special_tokens=False).input_ids[0] for word in words]
    pixellm = PixelLMForCausalLM.from_pretrained(
        options["checkpoint"],
        low_cpu_mem_usage=True,
        vision_tower=options["vision_tower"],
        seg_token_idx=ids[0] if n_tokens == 1 else ids,
        torch_dtype=dtype,
        seg_token_num=options["tokens_per_mask"],
        image_feature_scale_num=options["scales"],
        pad_train_clip_images=True,
        resize_vision_tower=True,
        resize_vision_tower_size=options["clip_px"],
        vision_tower_for_mask=True,
        separate_mm_projector=True,
    )
    for name in ("eos_token_id", "bos_token_id", "pad_token_id"):
        setattr(pixellm.config, name, getattr(tokenizer, name))
    pixellm.get_model().initialize_vision_modules(pixellm.get_model().config)
    pixellm.get_model().get_vision_tower().to(dtype=dtype)
    pixellm = pixellm.to(dtype=dtype, device=options["device"])
    pixellm.get_model().get_vision_tower().to(device=options["device"])
    clip_px = CLIPImageProcessor.from_pretrained(options["preprocessor"]).size["shortest_edge"]
    return {
        "pixellm": pixellm.eval(),
        "tokenizer": tokenizer,
        "clip_px": clip_px,
        "resizers": {px: ResizeLongestSide(px) for px in (clip_px, SAM_PX)},
        "dtype": dtype,
        "options": options,
    }


def prepare(model: dict[str, Any], rgb: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Make the pictures for CLIP and for SAM, both fitted into a square."""
    clip, clip_shape = _squared(model, rgb, model["clip_px"])
    sam, sam_shape = _squared(model, rgb, SAM_PX)
    return {
        "clip": clip,
        "clip_shape": clip_shape,
        "sam": sam,
        "sam_shape": sam_shape,
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
        replies, logits, _, scores = model["pixellm"].evaluate(
            picture["clip"],
            picture["sam"],
            tokens[None].to(options["device"]),
            [picture["sam_shape"]],
            clip_resize_list=[picture["clip_shape"]],
            original_size_list=[picture["shape"]],
            max_new_tokens=options["max_new_tokens"],
            tokenizer=model["tokenizer"],
        )
    reply = replies[0][0]
    text = model["tokenizer"].decode(reply[reply != IMAGE_TOKEN_INDEX], skip_special_tokens=False)
    masks = (logits[0].float() > 0).cpu().numpy()
    sure = scores[0].float().clamp(0, 1).cpu().tolist()
    return masks, sure, text.rpartition("ASSISTANT:")[2].strip()


def _squared(model: dict[str, Any], rgb: np.ndarray[Any, Any], side: int) -> tuple[Any, tuple[int, int]]:
    """A picture in the top left corner of a square, and its size there."""
    import torch

    resized = model["resizers"][side].apply_image(rgb)
    height, width = resized.shape[:2]
    square = np.zeros((3, side, side), dtype=np.float32)
    square[:, :height, :width] = ((resized - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)
    where = {"device": model["options"]["device"], "dtype": model["dtype"]}
    return torch.from_numpy(square)[None].to(**where), (height, width)


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
