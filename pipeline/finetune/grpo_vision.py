"""A frozen vision tower reads every image once: its features are kept by the image's pixels.

1. `remember_images` lays a memory over the tower's `forward`. A group of G replies hands the tower G copies of one image, and does so
   again when the likelihood of the replies is computed, again in the next pass over the data: each is looked up, only new images
   are computed, all of them in one call.
2. The key is a hash of the image's patches, so nothing else has to be handed through the trainer.
3. The oldest images are forgotten beyond `limit`. Features are exact: the tower's attention never crosses images.

A tower that learns has no memory: its features change at every step.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

REMEMBERED_IMAGES = 4096
"""At 81 tokens of 256 float32 numbers, as the embedded prompter has them: 83 KB an image, 340 MB in all."""


def remember_images(visual: Any, *, limit: int = REMEMBERED_IMAGES) -> None:
    """Lay the memory over a frozen Qwen2.5-VL vision tower, in place; its parameters and their names stay as they are.

    Raises ValueError when a parameter of it learns.
    """
    import torch

    if any(parameter.requires_grad for parameter in visual.parameters()):
        raise ValueError("features of a vision tower that learns cannot be kept")
    compute, known = visual.forward, OrderedDict[bytes, Any]()

    def forward(hidden_states: Any, grid_thw: Any, **given: Any) -> Any:
        images = hidden_states.split(grid_thw.prod(-1).tolist())
        keys = [_key(image, grid) for image, grid in zip(images, grid_thw.tolist(), strict=True)]
        new = {key: place for place, key in enumerate(keys) if key not in known}
        if new:
            places = list(new.values())
            with torch.no_grad():
                output = compute(torch.cat([images[place] for place in places]), grid_thw=grid_thw[places], **given)
            merged = (grid_thw[places].prod(-1) // visual.spatial_merge_size**2).tolist()
            known.update(zip(new, output.pooler_output.detach().split(merged), strict=True))
        features = torch.cat([known[key] for key in keys])
        while len(known) > max(limit, len(new)):
            known.popitem(last=False)
        return _output(features)

    visual.forward = forward


def _key(image: Any, grid: list[int]) -> bytes:
    """Of one image's patches (n, values) and its grid (time, height, width)."""
    pixels = image.detach().float().contiguous().cpu().numpy()
    return hashlib.blake2b(pixels.tobytes() + bytes(str(grid), "ascii"), digest_size=16).digest()


def _output(features: Any) -> Any:
    """(tokens, width) as the tower returns it; the unmerged states are not kept, since nothing reads them."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    return BaseModelOutputWithPooling(last_hidden_state=None, pooler_output=features)
