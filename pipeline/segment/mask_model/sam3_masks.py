"""SAM3 asked by words, in this process: a `MaskModel` whose every instance is a mask of its own.

The picture is encoded once for all queries. Weights of SAM3 are gated; this project has not run it with them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Reason
from pipeline.segment.dual_route.sam3_text import EncodedPicture, Sam3Text
from pipeline.segment.mask_model.mask_model import MaskAnswer, masks_or_nothing, no_answer
from pipeline.segment.mask_model.mask_options import MaskModelOptions
from pipeline.segment.sam2_segmenter import find_device


class Sam3Masks:
    """A `MaskModel` over transformers' SAM3."""

    one_mask = False

    def __init__(self, options: MaskModelOptions) -> None:
        """Load it. Raises ModelError."""
        self._name = options.name
        self._finder = Sam3Text(
            options.checkpoint,
            revision=options.revision,
            device=find_device(options.device),
            threshold=options.threshold,
        )
        self._n_embeddings = 0

    @property
    def model_id(self) -> str:
        return self._name

    @property
    def n_embeddings(self) -> int:
        return self._n_embeddings

    def answer(self, image: TileImage, queries: Sequence[str]) -> list[MaskAnswer]:
        """Encode the picture, and look for each query in it."""
        try:
            seen = self._finder.encode(image.rgb)
        except Exception as error:
            return [no_answer(Reason.MODEL_ERROR, f"{type(error).__name__}: {error}") for _ in queries]
        self._n_embeddings += 1
        return [self._one(seen, query) for query in queries]

    def close(self) -> None:
        """Do nothing: the weights go with the object."""

    def _one(self, seen: EncodedPicture, query: str) -> MaskAnswer:
        try:
            masks, scores = self._finder.instances(seen, query)
        except Exception as error:
            return no_answer(Reason.MODEL_ERROR, f"{type(error).__name__}: {error}")
        return masks_or_nothing(masks, scores)
