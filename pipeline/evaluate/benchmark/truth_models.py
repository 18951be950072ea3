"""A prompter and a segmenter that know the truth of a benchmark. They test the protocol without any model.

`TruthPrompter` answers with a box and inner points for every 4-connected part of the true mask, always the
same combination or one after the part's shape (`shape_points`). With the
preset's segmenter this shows the best that a prompter of one box and two points per object can reach.
`TruthSegmenter` turns those prompts back into the parts. With both, gIoU and cIoU are 1; anything less is a
fault of reading, squashing or scoring.

`TruthOptions` can make either of them err by a given size (`oracle_noise`, `oracle_routes`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.errors import ModelError
from pipeline.evaluate.benchmark.benchmark import Sample, SampleImage, read_mask
from pipeline.evaluate.benchmark.oracle_noise import INVENTED_PART, NO_NOISE, OracleNoise, disturbed
from pipeline.evaluate.benchmark.oracle_routes import BoxedOracle, OracleRoute
from pipeline.prompt.box_margins import BoxMargins, moved_boxes
from pipeline.prompt.chain_boxes import chain_prompts
from pipeline.prompt.oracle_prompter import LABEL_PREFIX, object_prompts
from pipeline.prompt.shape_points import counted_prompts, shape_prompts
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt, Reason, TilePrompts, TileStatus
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.dual_route.dual_options import Rules
from pipeline.segment.segmenter import Embedding

TruthPoints = Literal["fixed", "shape", "chain", "four", "negatives"]
"""`fixed`: a box and one or two points for every part. `shape`: points after its shape. `chain`: a chain of
boxes along a long part, a ring or a network. `four`: four points. `negatives`: two points, and two of label 0
in the rest of the box.
"""

_MAKERS: Mapping[TruthPoints, Callable[[NDArray[np.int32]], tuple[Prompt, ...]]] = {
    "fixed": object_prompts,
    "shape": shape_prompts,
    "chain": chain_prompts,
    "four": lambda labels: counted_prompts(labels, inside=4),
    "negatives": lambda labels: counted_prompts(labels, inside=2, outside=2),
}

MODEL_ID = "truth"
_COLUMNS = 100_000
"""Images per row of tiles, so that the numbers in tile ids keep their five digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TruthOptions:
    """How prompts and masks are made of the truth."""

    points: TruthPoints = "fixed"
    noise: OracleNoise = NO_NOISE
    margins: BoxMargins = field(default_factory=BoxMargins)
    """How the sides of disturbed boxes are moved."""
    routes: OracleRoute | None = None
    """Masks are drawn in the box alone, by these routes. None: with noise directly, else the true parts."""
    rules: Rules = "paper"
    """Rules of fusion."""

    @property
    def drawn_in_boxes(self) -> bool:
        """Whether masks are those of `BoxedOracle`."""
        return self.routes is not None or self.noise.on

    def result_parameters(self) -> dict[str, object]:
        """What can change a result, for a fingerprint; without what is as ever."""
        return {
            **({"truth_points": self.points} if self.points != "fixed" else {}),
            **({"noise": self.noise.result_parameters()} if self.noise.on else {}),
            **({"truth_margins": self.margins.result_parameters()} if self.margins.on else {}),
            **({"oracle_routes": [self.routes, self.rules]} if self.routes is not None else {}),
        }


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

    def __init__(self, images: Sequence[SampleImage], options: TruthOptions | None = None) -> None:
        self._images = images
        self._options = options or TruthOptions()

    @property
    def model_id(self) -> str:
        return MODEL_ID

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        """Answer every askable query of the image, in order."""
        answers = []
        number = image_number(image.tile)
        samples = askable(self._images[number])
        for index, (sample, _) in enumerate(zip(samples, queries, strict=True)):
            prompts = tuple(
                replace(prompt, label=f"{MODEL_ID}:{index}:{prompt.label.removeprefix(LABEL_PREFIX)}")
                for prompt in self._prompts_of(sample, (number, index), image.tile.read.shape)
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

    def _prompts_of(
        self, sample: Sample, key: tuple[int, int], shape_hw: tuple[int, int]
    ) -> tuple[Prompt, ...]:
        options = self._options
        exact = _MAKERS[options.points](_parts(read_mask(sample.mask, shape_hw)))
        return moved_boxes(disturbed(exact, options.noise, key, shape_hw), options.margins, shape_hw)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class TruthSegmenter:
    """A `Segmenter` that returns the parts of the true masks, or what a `BoxedOracle` draws of them."""

    def __init__(self, images: Sequence[SampleImage], options: TruthOptions | None = None) -> None:
        self._images = images
        options = options or TruthOptions()
        self._boxed = (
            BoxedOracle(options.routes or "direct", options.rules, options.noise)
            if options.drawn_in_boxes
            else None
        )
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
        """Return the masks of the prompts, with score 1; a mask without a pixel is left out.

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
            if self._boxed is None:
                mask = _part_mask(parts[int(query)], int(part))
            else:
                key = (image_number(embedding.tile), int(query))
                mask = self._boxed.draw(parts[int(query)], int(part), prompt, key)
            if mask is not None:
                masks.append(replace(mask, prompt_index=place))
        return masks


def _part_mask(parts: NDArray[np.int32], part: int) -> MaskCrop | None:
    """Cut out one part (H, W); None: there is none of this number, as of INVENTED_PART."""
    if part == INVENTED_PART:
        return None
    rows, cols = np.nonzero(parts == part)
    row0 = int(rows.min())
    col0 = int(cols.min())
    crop = parts[row0 : int(rows.max()) + 1, col0 : int(cols.max()) + 1] == part
    return MaskCrop(row0=row0, col0=col0, mask=crop, score=1.0, prompt_index=0)


def _parts(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Number the 4-connected parts of a mask 1..n; 0 = background."""
    labels: NDArray[np.int32] = ndimage.label(mask, output=np.int32)[0]
    return labels
