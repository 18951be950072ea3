"""A prompter and a segmenter that know the truth of a benchmark. They test the protocol without any model.

`TruthPrompter` answers with a box and inner points for every 4-connected part of the true mask, always the
same combination or one after the part's shape (`shape_points`). With the
preset's segmenter this shows the best that a prompter of one box and two points per object can reach.
`TruthSegmenter` turns those prompts back into the parts. With both, gIoU and cIoU are 1; anything less is a
fault of reading, squashing or scoring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.errors import ModelError
from pipeline.evaluate.benchmark.benchmark import Sample, SampleImage, read_mask
from pipeline.prompt.oracle_prompter import object_prompts
from pipeline.prompt.shape_points import shape_prompts
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt, Reason, TilePrompts, TileStatus
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.segmenter import Embedding

TruthPoints = Literal["fixed", "shape"]
"""`fixed`: a box and one or two points for every part. `shape`: points after its shape."""

MODEL_ID = "truth"
_COLUMNS = 100_000
"""Images per row of tiles, so that the numbers in tile ids keep their five digits."""


def image_tile(number: int, shape_hw: tuple[int, int]) -> TileSpec:
    """Make one tile of a whole image; `number` is the image's place in the evaluation."""
    whole = Window(row0=0, col0=0, row1=shape_hw[0], col1=shape_hw[1])
    return TileSpec(tile_row=number // _COLUMNS, tile_col=number % _COLUMNS, core=whole, read=whole)


def image_number(tile: TileSpec) -> int:
    """Read the number of the image that `image_tile` put into a tile."""
    return tile.tile_row * _COLUMNS + tile.tile_col


def askable(image: SampleImage) -> tuple[Sample, ...]:
    """List the queries of an image that may be put to a model."""
    return tuple(sample for sample in image.samples if not sample.refusal)


class TruthPrompter:
    """A `Prompter` that knows the true masks."""

    def __init__(self, images: Sequence[SampleImage], points: TruthPoints = "fixed") -> None:
        self._images = images
        self._prompts_of = shape_prompts if points == "shape" else object_prompts

    @property
    def model_id(self) -> str:
        return MODEL_ID

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        """Answer every askable query of the image, in order."""
        answers = []
        samples = askable(self._images[image_number(image.tile)])
        for index, (sample, _) in enumerate(zip(samples, queries, strict=True)):
            mask = read_mask(sample.mask, image.tile.read.shape)
            prompts = tuple(
                replace(prompt, label=f"{MODEL_ID}:{index}:{part}")
                for part, prompt in enumerate(self._prompts_of(_parts(mask)), start=1)
            )
            found = (TileStatus.FOUND, Reason.NONE) if prompts else (TileStatus.EMPTY, Reason.PROMPTER)
            answer = TilePrompts(
                tile_id=image.tile.tile_id,
                query_index=index,
                status=found[0],
                reason=found[1],
                prompts=prompts,
            )
            answers.append(answer)
        return answers

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class TruthSegmenter:
    """A `Segmenter` that returns the parts of the true masks."""

    def __init__(self, images: Sequence[SampleImage]) -> None:
        self._images = images
        self._n_embeddings = 0

    @property
    def model_id(self) -> str:
        return MODEL_ID

    @property
    def n_embeddings(self) -> int:
        return self._n_embeddings

    def embed(self, image: TileImage) -> Embedding:
        """Count one image encoding; nothing is read yet."""
        self._n_embeddings += 1
        height, width = image.rgb.shape[:2]
        samples = askable(self._images[image_number(image.tile)])
        return Embedding(
            tile=image.tile,
            shape_px=(height, width),
            square_px=max(height, width),
            valid=image.valid,
            features=samples,
        )

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        """Return the parts that the prompts name, with score 1.

        Raises ModelError for a prompt that the truth prompter did not make.
        """
        samples = embedding.features
        assert isinstance(samples, Sequence), "an embedding belongs to the segmenter that made it"
        masks = []
        parts = dict[int, NDArray[np.int32]]()
        for place, prompt in enumerate(prompts):
            scheme, _, rest = prompt.label.partition(":")
            query, _, part = rest.partition(":")
            if scheme != MODEL_ID or not query.isdecimal() or not part.isdecimal():
                raise ModelError(
                    f"the truth segmenter needs prompts of the truth prompter, got the label {prompt.label!r}"
                )
            if int(query) not in parts:
                parts[int(query)] = _parts(read_mask(samples[int(query)].mask, embedding.shape_px))
            rows, cols = np.nonzero(parts[int(query)] == int(part))
            row0 = int(rows.min())
            col0 = int(cols.min())
            crop = parts[int(query)][row0 : int(rows.max()) + 1, col0 : int(cols.max()) + 1] == int(part)
            masks.append(MaskCrop(row0=row0, col0=col0, mask=crop, score=1.0, prompt_index=place))
        return masks


def _parts(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Number the 4-connected parts of a mask 1..n; 0 = background."""
    labels: NDArray[np.int32] = ndimage.label(mask, output=np.int32)[0]
    return labels
