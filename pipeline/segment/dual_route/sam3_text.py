"""Route B: SAM3 asked by a phrase, through transformers.

All instances above a threshold are joined. A picture that holds nothing of the phrase gives an empty mask.
The weights of SAM3 are gated; this project has not run it with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Sam3Text:
    """Finds what a phrase names."""

    def __init__(
        self, model: str, *, revision: str | None = None, device: str = "cpu", threshold: float = 0.25
    ) -> None:
        """Load SAM3 and its processor.

        Args:
            model: folder or hub id.
            revision: branch, tag or commit of a hub id; None: the main branch.
            device: where it runs.
            threshold: least score of an instance.

        Raises:
            ModelError: it does not load.
        """
        try:
            from transformers import Sam3Model, Sam3Processor

            loaded = Sam3Model.from_pretrained(model, revision=revision, use_safetensors=True)
            self._model: Any = loaded.to(device).eval()
            self._processor: Any = Sam3Processor.from_pretrained(model, revision=revision)
        except (OSError, ValueError, ImportError) as error:
            raise ModelError(f"SAM3 does not load from {model}: {error}") from error
        self._device = device
        self._threshold = threshold

    def find(self, rgb: NDArray[np.uint8], phrase: str) -> tuple[NDArray[np.bool_], float]:
        """Join the masks of all instances in a picture (H, W, 3). Returns the mask (H, W) and the best score.

        The score is 0 where there is none.
        """
        masks, scores = self.instances(self.encode(rgb), phrase)
        joined: NDArray[np.bool_] = np.any(masks, axis=0)
        return joined, max(scores, default=0.0)

    def encode(self, rgb: NDArray[np.uint8]) -> EncodedPicture:
        """Encode a picture (H, W, 3), for any number of phrases."""
        import torch
        from PIL import Image

        height, width = rgb.shape[:2]
        picture = Image.fromarray(np.ascontiguousarray(rgb))
        inputs = self._processor(images=picture, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            features = self._model.get_vision_features(pixel_values=inputs["pixel_values"])
        return EncodedPicture(shape_px=(height, width), features=features)

    def instances(self, seen: EncodedPicture, phrase: str) -> tuple[NDArray[np.bool_], list[float]]:
        """Find every instance of a phrase. Returns masks (N, H, W) and N scores in 0..1."""
        import torch

        words: Mapping[str, Any] = self._processor(text=phrase, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            outputs = self._model(
                vision_embeds=seen.features,
                input_ids=words["input_ids"],
                attention_mask=words.get("attention_mask"),
            )
        (found,) = self._processor.post_process_instance_segmentation(
            outputs, threshold=self._threshold, mask_threshold=0.5, target_sizes=[seen.shape_px]
        )
        masks = found["masks"].bool().cpu().numpy().reshape(-1, *seen.shape_px)
        return masks, [float(score) for score in found["scores"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedPicture:
    """What SAM3 keeps of a picture until phrases are looked for in it."""

    shape_px: tuple[int, int]
    """(height, width)."""
    features: Any
    """Tensors on the model's device."""
