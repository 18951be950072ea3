"""A segmenter that answers from the truth: the mask of the local id that an oracle prompt names.

`embed` reads the tile's `OracleTile` (the same one that the oracle prompter read: ids are a function of the
tile); `segment` returns the pixels of `oracle:<local id>`, score 1. Boxes and points of the prompts are not
looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from pipeline.errors import ModelError
from pipeline.schema import MaskCrop, Prompt, TileImage
from pipeline.segment.segmenter import Embedding
from pipeline.world.oracle import ORACLE_SCHEME, OracleTruth


class OracleSegmenter:
    """A `Segmenter` without weights; every `embed` is one read of the label raster and counts as one
    encoding.
    """

    def __init__(self, truth: OracleTruth, *, model_id: str = ORACLE_SCHEME) -> None:
        self._truth = truth
        self._model_id = model_id
        self._n_embeddings = 0

    @property
    def model_id(self) -> str:
        return self._model_id

    @property
    def n_embeddings(self) -> int:
        return self._n_embeddings

    def embed(self, image: TileImage) -> Embedding:
        """Read the tile's labels. Raises SourceError or InputError as `OracleTruth.tile` does."""
        answer = self._truth.tile(image.tile)
        self._n_embeddings += 1
        height, width = image.rgb.shape[:2]
        return Embedding(
            tile=image.tile,
            shape_px=(height, width),
            square_px=max(height, width),
            valid=image.valid,
            features=(answer.labels, ndimage.find_objects(answer.labels)),
        )

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        """The named objects' valid pixels. Raises ModelError for a prompt that names none of the tile's
        objects.
        """
        labels, boxes = embedding.features
        masks = []
        for index, prompt in enumerate(prompts):
            local = _local_id(prompt.label, len(boxes))
            rows, cols = boxes[local - 1]
            mask = (labels[rows, cols] == local) & embedding.valid[rows, cols]
            if not mask.any():
                continue
            hit_rows = np.flatnonzero(mask.any(axis=1))
            hit_cols = np.flatnonzero(mask.any(axis=0))
            crop = mask[hit_rows[0] : hit_rows[-1] + 1, hit_cols[0] : hit_cols[-1] + 1]
            row0 = rows.start + int(hit_rows[0])
            col0 = cols.start + int(hit_cols[0])
            masks.append(
                MaskCrop(row0=row0, col0=col0, mask=np.ascontiguousarray(crop), score=1.0, prompt_index=index)
            )
        return masks


def _local_id(label: str, n_objects: int) -> int:
    number = label.removeprefix(ORACLE_SCHEME)
    if not label.startswith(ORACLE_SCHEME) or not number.isdecimal() or not 1 <= int(number) <= n_objects:
        raise ModelError(
            f"the oracle segmenter needs prompts labelled oracle:1 to oracle:{n_objects} of this tile, got {label!r}; "
            f"use it together with the oracle prompter"
        )
    return int(number)
