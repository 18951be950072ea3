"""Route B: SAM3 asked by a phrase, through transformers.

All instances above a threshold are joined. A picture that holds nothing of the phrase gives an empty mask.
The weights of SAM3 are gated; this project has not run it with them.
"""

from __future__ import annotations

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
        import torch
        from PIL import Image

        height, width = rgb.shape[:2]
        picture = Image.fromarray(np.ascontiguousarray(rgb))
        inputs: Mapping[str, Any] = self._processor(images=picture, text=phrase, return_tensors="pt").to(
            self._device
        )
        with torch.inference_mode():
            outputs = self._model(**inputs)
        (found,) = self._processor.post_process_instance_segmentation(
            outputs, threshold=self._threshold, mask_threshold=0.5, target_sizes=[(height, width)]
        )
        masks = found["masks"].bool().cpu().numpy().reshape(-1, height, width)
        if not len(masks):
            return np.zeros((height, width), dtype=np.bool_), 0.0
        return masks.any(axis=0), float(found["scores"].max())
