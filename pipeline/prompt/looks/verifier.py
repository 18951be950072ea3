"""The verifier: a second look at each mask, off by default. It may reject a mask, but never changes one.

1. `crop_around` cuts a square around the mask out of the tile.
2. A `Verifier` gives the probability that the crop shows what was asked for. `judge` rejects masks below the
   threshold; a look that fails rejects nothing.
3. `LooksAt` judges many answers, with all looks in flight together.

The model sees the crop, not the outline: a wrong mask beside a right object passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from pipeline.prompt.vllm_engine import check_gpu_share
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop
from pipeline.schema.tiling import Window

VerifierMode = Literal["off", "crop"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifierOptions:
    """The `[verifier]` table."""

    mode: VerifierMode = "off"
    threshold: float = 0.2
    """Masks with a smaller probability are rejected. Choose it with jobs/calibrate_gate.py."""
    pad: float = 0.5
    """Margin on each side of the bounding box, as a share of its longer side."""
    min_side: float = 0.5
    """Smallest side of the crop, as a share of the tile's shorter side. So a small object is shown with its
    surroundings, at a scale that the checkpoint knows.
    """
    gpu_memory_utilization: float | None = None
    """Share of the device for the verifier's own engine (Ray on a GPU); None: the prompter's. Does not change
    the result.
    """

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1 or not 0 <= self.min_side <= 1 or self.pad < 0:
            given = f"{self.threshold}, {self.min_side} and {self.pad}"
            raise ValueError(
                f"threshold and min_side lie between 0 and 1 and pad is not negative, got {given}"
            )
        if self.gpu_memory_utilization is not None:
            check_gpu_share(self.gpu_memory_utilization)

    @property
    def on(self) -> bool:
        return self.mode != "off"

    def result_parameters(self) -> dict[str, object]:
        """Every option that can change a result, for a fingerprint."""
        return asdict(replace(self, gpu_memory_utilization=None))


class Verifier(Protocol):
    """Judges masks of one tile for one query. May be awaited for several tiles at once.

    A look that fails gives None. The only exception is a ModelError: the verifier can answer nothing more.
    """

    async def verify(self, image: TileImage, query: str, masks: Sequence[MaskCrop]) -> list[float | None]:
        """Give each mask, in order, the probability 0..1 that it answers the query. None: not judged."""
        ...

    def close(self) -> None:
        """Release what the verifier itself loaded. May be called twice."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnMasks:
    """The masks that were drawn for the answer to one query about one tile; there may be none."""

    image: TileImage
    query: str
    n_prompts: int
    """Prompts of the answer; a mask's `prompt_index` is below it."""
    masks: Sequence[MaskCrop]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """An answer after the verifier.

    An object that spans several tiles is looked at once in each. Its row has the probability of the piece
    that gave it label, box and rationale.
    """

    kept: tuple[MaskCrop, ...]
    verified: tuple[float | None, ...]
    """Per prompt, the probability that its mask is right. None: no mask, or not judged.

    Empty when there was no mask at all.
    """


def judge(drawn: DrawnMasks, probabilities: Sequence[float | None], threshold: float) -> Judged:
    """Keep the masks that pass. `probabilities`: one per mask, in order; a mask that has None passes."""
    return judged(drawn.masks, drawn.n_prompts, probabilities, threshold)


def judged(
    masks: Sequence[MaskCrop], n_prompts: int, probabilities: Sequence[float | None], threshold: float
) -> Judged:
    """Keep the masks that pass, of an answer with `n_prompts` prompts, as `judge` does."""
    if not masks:
        return Judged(kept=(), verified=())
    by_prompt = {mask.prompt_index: p for mask, p in zip(masks, probabilities, strict=True)}
    kept = tuple(mask for mask, p in zip(masks, probabilities, strict=True) if p is None or p >= threshold)
    return Judged(kept=kept, verified=tuple(by_prompt.get(index) for index in range(n_prompts)))


@dataclass(frozen=True, kw_only=True)
class LooksAt:
    """A verifier, and how this process awaits it."""

    verifier: Verifier
    run: Callable[[Coroutine[Any, Any, list[list[float | None]]]], list[list[float | None]]]

    def judge(self, answers: Sequence[DrawnMasks], threshold: float) -> list[Judged]:
        """Judge every answer, in order, with all looks in flight together. Raises ModelError."""

        async def look(drawn: DrawnMasks) -> list[float | None]:
            return await self.verifier.verify(drawn.image, drawn.query, drawn.masks) if drawn.masks else []

        async def look_at_all() -> list[list[float | None]]:
            return list(await asyncio.gather(*(look(drawn) for drawn in answers)))

        return [
            judge(drawn, given, threshold)
            for drawn, given in zip(answers, self.run(look_at_all()), strict=True)
        ]


def crop_around(mask: MaskCrop, shape_hw: tuple[int, int], options: VerifierOptions) -> Window:
    """Choose the part of a tile to look at for a mask: a square, cut off where the tile ends.

    `shape_hw` is the tile's (height, width) in pixels; the window is in pixels of the tile.
    """
    height, width = mask.mask.shape
    side = max(round(max(height, width) * (1 + 2 * options.pad)), round(min(shape_hw) * options.min_side), 1)
    starts = []
    for first, length, whole in ((mask.row0, height, shape_hw[0]), (mask.col0, width, shape_hw[1])):
        start = first + (length - side) // 2
        starts.append((max(min(start, whole - side), 0), min(side, whole)))
    (row0, rows), (col0, cols) = starts
    return Window(row0=row0, col0=col0, row1=row0 + rows, col1=col0 + cols)
