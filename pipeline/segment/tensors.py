"""What encoder and decoder do to arrays on the device: normalisation, padding, prompts as tensors, cropped masks.

1. `square_pixels` turns uint8 tiles into the model's input: padded to a square, resized, normalised, all on the device.
2. `prompt_tensors` writes a prompt as SAM2 does: box corners as points with labels 2 and 3, before the clicks.
3. `crop_masks` enlarges low-resolution logits only inside the rows and columns that can hold object pixels,
   thresholds, removes invalid pixels, and cuts each mask to its bounding box before it leaves the device.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

PIXEL_MEAN: Final = (0.485, 0.456, 0.406)
PIXEL_STD: Final = (0.229, 0.224, 0.225)
"""ImageNet statistics of pixels in 0..1, as in `sam2.utils.transforms.SAM2Transforms`."""


def autocast(device: str, dtype: str) -> AbstractContextManager[Any]:
    """Mixed precision on the device, or nothing for float32."""
    import torch

    if dtype == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=getattr(torch, dtype))
