"""A segmenter that answers from the truth: the mask of the object that an oracle prompt names.

`embed` reads the tile's labels; they are the ones that the oracle prompter read, for ids are a function of
the tile. `segment` returns the pixels of `oracle:<local id>` with score 1. It does not look at boxes and
points. `propose` returns the object under each point, with score and stability 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.errors import ModelError
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.segment.proposals import EverythingOptions, Proposals, fits
from pipeline.segment.segmenter import Embedding
from pipeline.segment.tensors import trimmed
from pipeline.world.oracle import ORACLE_SCHEME, OracleTruth


@dataclass(frozen=True, kw_only=True, slots=True)
class _Objects:
    """The true objects of one tile."""

    labels: NDArray[np.int32]
    """(H, W) over the read window, 0 = background, i = object i."""
    places: list[tuple[slice, slice]]
    """Rows and columns of object i at [i - 1]."""

    def mask(self, local: int, valid: NDArray[np.bool_], prompt_index: int) -> MaskCrop | None:
        """The valid pixels of one object. None: there are none."""
        rows, cols = self.places[local - 1]
        crop = trimmed((self.labels[rows, cols] == local) & valid[rows, cols], rows.start, cols.start)
        if crop is None:
            return None
        return MaskCrop(row0=crop.row0, col0=crop.col0, mask=crop.mask, score=1.0, prompt_index=prompt_index)


class OracleSegmenter:
    """A `Segmenter` without weights. Every `embed` reads the label raster once and counts as one encoding."""

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
            features=_Objects(labels=answer.labels, places=ndimage.find_objects(answer.labels)),
        )

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        """Return the valid pixels of the named objects.

        Raises ModelError for a prompt that names none of the tile's objects.
        """
        objects = embedding.features
        assert isinstance(objects, _Objects), "an embedding belongs to the segmenter that made it"
        masks = []
        for index, prompt in enumerate(prompts):
            mask = objects.mask(_local_id(prompt.label, len(objects.places)), embedding.valid, index)
            if mask is not None:
                masks.append(mask)
        return masks

    def propose(self, embedding: Embedding, prompts: Sequence[Prompt], rules: EverythingOptions) -> Proposals:
        """Return the valid pixels of the objects under the first point of each prompt, where they fit."""
        objects = embedding.features
        assert isinstance(objects, _Objects), "an embedding belongs to the segmenter that made it"
        masks = []
        unsure = missized = 0
        for index, prompt in enumerate(prompts):
            x, y = prompt.points_xy[0]
            local = int(objects.labels[int(y), int(x)])
            mask = objects.mask(local, embedding.valid, index) if local else None
            if mask is None:
                unsure += 1
            elif fits(mask.mask.sum(), embedding, rules):
                masks.append(replace(mask, stability=1.0))
            else:
                missized += 1
        return Proposals(masks=tuple(masks), unsure=unsure, missized=missized)

    def feature_map(self, embedding: Embedding) -> NDArray[np.float32]:
        """No features: an oracle does not look at pixels."""
        assert isinstance(embedding.features, _Objects), "an embedding belongs to the segmenter that made it"
        return np.zeros((0, 1, 1), dtype=np.float32)


def _local_id(label: str, n_objects: int) -> int:
    number = label.removeprefix(ORACLE_SCHEME)
    if not label.startswith(ORACLE_SCHEME) or not number.isdecimal() or not 1 <= int(number) <= n_objects:
        raise ModelError(
            f"the oracle segmenter needs prompts labelled oracle:1 to oracle:{n_objects} of this tile, "
            f"got {label!r}; use it together with the oracle prompter"
        )
    return int(number)
