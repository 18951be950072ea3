"""Let a frozen vision tower read every image only once.

`remember_images` adds a cache to the tower's `forward`. A group of G replies passes G copies of one image,
and later passes repeat them. Only new images are computed, all in one call. The features stay exact, because
the tower's attention never crosses images.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers.modeling_outputs import BaseModelOutputWithPooling

REMEMBERED_BYTES = 2**30
"""Size of the cache of one model, in bytes, on the tower's device. An image takes tokens x width x bytes per
number: 81 x 256 x 4 = 83 KB for the embedded prompter (12,900 images fit), 900 x 2048 x 2 = 3.7 MB for
Qwen2.5-VL-3B at 840 px in bfloat16 (291 images), 900 x 3584 x 2 = 6.5 MB for 7B (166). If the data has more
images, the cache still serves the copies within a step, but not the next pass over the data.
"""


def remember_images(visual: Module, *, limit_bytes: int = REMEMBERED_BYTES) -> None:
    """Add the cache to a frozen Qwen2.5-VL vision tower, in place. Parameters and their names stay the same.

    The key is a hash of the image's patches, so the trainer passes nothing extra. Beyond `limit_bytes` the
    oldest images are dropped, but never those of the current call.

    Raises ValueError when a parameter of the tower learns.
    """
    import torch

    if any(parameter.requires_grad for parameter in visual.parameters()):
        raise ValueError("features of a vision tower that learns cannot be kept")
    compute = visual.forward
    known: OrderedDict[bytes, Tensor] = OrderedDict()
    held = 0

    def forward(hidden_states: Tensor, grid_thw: Tensor, **given: object) -> BaseModelOutputWithPooling:
        nonlocal held
        images = hidden_states.split(grid_thw.prod(-1).tolist())
        keys = [_key(image, grid) for image, grid in zip(images, grid_thw.tolist(), strict=True)]
        new = {key: place for place, key in enumerate(keys) if key not in known}
        if new:
            places = list(new.values())
            with torch.no_grad():
                output = compute(
                    torch.cat([images[place] for place in places]), grid_thw=grid_thw[places], **given
                )
            merged = (grid_thw[places].prod(-1) // visual.spatial_merge_size**2).tolist()
            # cloned, because a view would keep the whole call's tensor alive
            known.update(
                (key, part.clone())
                for key, part in zip(new, output.pooler_output.detach().split(merged), strict=True)
            )
            held += sum(known[key].nbytes for key in new)
        features = torch.cat([known[key] for key in keys])
        while held > limit_bytes and len(known) > len(new):
            held -= known.popitem(last=False)[1].nbytes
        return _output(features)

    visual.forward = forward


def _key(image: Tensor, grid: list[int]) -> bytes:
    """Hash one image's patches (n, values) and its grid (time, height, width)."""
    pixels = image.detach().float().contiguous().cpu().numpy()
    return hashlib.blake2b(pixels.tobytes() + bytes(str(grid), "ascii"), digest_size=16).digest()


def _output(features: Tensor) -> BaseModelOutputWithPooling:
    """Wrap features (tokens, width) as the tower returns them; the unmerged states are None, as unused."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    return BaseModelOutputWithPooling(last_hidden_state=None, pooler_output=features)
