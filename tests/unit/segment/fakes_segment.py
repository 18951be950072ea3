"""A hand-written segmenter that asserts how it is used: only its own embeddings, prompts inside the tile,
counted encodings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.segmenter import Embedding, Segmenter


class FakeSegmenter:
    """Fills each prompt's box, cut to the tile and to valid pixels; a prompt without a box gives no mask."""

    model_id = "fake"

    def __init__(self) -> None:
        self.n_embeddings = 0
        self.embedded: list[str] = []

    def embed(self, image: TileImage) -> Embedding:
        height, width = image.tile.read.shape
        assert image.rgb.shape == (height, width, 3), "pixels must cover the read window"
        assert image.rgb.dtype == np.uint8
        assert image.valid.shape == (height, width)
        assert image.tile.tile_id not in self.embedded, f"{image.tile.tile_id} was embedded twice"
        self.embedded.append(image.tile.tile_id)
        self.n_embeddings += 1
        return Embedding(
            tile=image.tile,
            shape_px=(height, width),
            square_px=max(height, width),
            valid=image.valid,
            features=id(self),
        )

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        assert embedding.features == id(self), "an embedding belongs to the segmenter that made it"
        height, width = embedding.shape_px
        masks = []
        for index, prompt in enumerate(prompts):
            for x, y in prompt.points_xy:
                assert 0 <= x <= width, "points lie in the tile's read window"
                assert 0 <= y <= height, "points lie in the tile's read window"
            if prompt.box_xyxy is None:
                continue
            x0, y0, x1, y1 = (round(v) for v in prompt.box_xyxy)
            rows = slice(max(y0, 0), min(y1, height))
            cols = slice(max(x0, 0), min(x1, width))
            mask = embedding.valid[rows, cols]
            if mask.any():
                masks.append(
                    MaskCrop(
                        row0=rows.start, col0=cols.start, mask=mask.copy(), score=0.5, prompt_index=index
                    )
                )
        return masks


_conforms: Segmenter = FakeSegmenter()
