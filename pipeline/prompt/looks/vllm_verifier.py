"""The verifier of a vision-language model: one token about the crop around each mask."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pipeline.prompt.looks.decision import Decider
from pipeline.prompt.looks.verifier import VerifierOptions, crop_around
from pipeline.prompt.profile import Decision
from pipeline.prompt.vllm_prompter import VllmPrompter
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop


class VllmVerifier:
    """A `Verifier` that asks the engine of `prompter`. It closes that engine only when it owns it."""

    def __init__(
        self, prompter: VllmPrompter, decision: Decision, options: VerifierOptions, *, owns: bool
    ) -> None:
        """Look the decision's texts up. Raises ModelError when one is not a token of the checkpoint."""
        self._prompter = prompter
        self._options = options
        self._owns = owns
        self._decider = Decider(prompter, decision)

    async def verify(self, image: TileImage, query: str, masks: Sequence[MaskCrop]) -> list[float | None]:
        """Give P(yes) for each mask, in order; None: not decided. Raises ModelError for a dead engine."""
        answers = await asyncio.gather(
            *(self._one(image, query, mask) for mask in masks), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def _one(self, image: TileImage, query: str, mask: MaskCrop) -> float | None:
        crop = crop_around(mask, image.tile.read.shape, self._options)
        rgb = image.rgb[crop.row0 : crop.row1, crop.col0 : crop.col1]
        (probability,) = await self._decider.ask(f"{image.tile.tile_id}-crop", rgb, [query])
        return probability

    def close(self) -> None:
        """End the engine, if it is this verifier's own."""
        if self._owns:
            self._prompter.close()
