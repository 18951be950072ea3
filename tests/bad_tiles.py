"""Steps and actors in which single tiles kill their process, or do not come back; the others are done by
oracles.

Their own module, so that child processes and Ray's workers can import it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.load.reader import CogReader
from pipeline.prompt.prompter import Prompter
from pipeline.run.config import RunConfig
from pipeline.run.infer import actors, read_step
from pipeline.run.infer.actors import PromptActor, ReadActor, SegmentActor
from pipeline.run.infer.local_steps import Steps
from pipeline.run.infer.shared_models import SharedModels
from pipeline.run.infer.steps import RunContext
from pipeline.schema.imagery import BlockImage, TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt, TilePrompts
from pipeline.schema.tiling import BlockSpec, TileLattice
from pipeline.segment.segmenter import Embedding, Segmenter

LONG_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class BadTiles:
    """Which tiles misbehave where: (step, what) -> tile_id. `what`: `kills`, `hangs` in a call to C, or, of
    the prompter alone, `waits` for ever.
    """

    tiles: dict[tuple[str, str], str] = field(default_factory=dict)

    def meet(self, step: str, tile_ids: Sequence[str]) -> None:
        """What happens to a call in a step that has these tiles in its hand."""
        if self.tiles.get((step, "kills")) in tile_ids:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.tiles.get((step, "hangs")) in tile_ids:
            time.sleep(LONG_S)


class BadPrompter:
    """A prompter to which a bad tile happens."""

    def __init__(self, own: Prompter, bad: BadTiles) -> None:
        self._own = own
        self._bad = bad

    @property
    def model_id(self) -> str:
        return self._own.model_id

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        await asyncio.sleep(0.05)  # so that all tiles in flight are
        self._bad.meet("prompt", [image.tile.tile_id])
        if self._bad.tiles.get(("prompt", "waits")) == image.tile.tile_id:
            await asyncio.Event().wait()
        return await self._own.prompt(image, queries)

    def close(self) -> None:
        self._own.close()


class BadSegmenter:
    """A segmenter to which a bad tile happens."""

    def __init__(self, own: Segmenter, bad: BadTiles) -> None:
        self._own = own
        self._bad = bad

    @property
    def model_id(self) -> str:
        return self._own.model_id

    @property
    def n_embeddings(self) -> int:
        return self._own.n_embeddings

    def embed(self, image: TileImage) -> Embedding:
        self._bad.meet("segment", [image.tile.tile_id])
        return self._own.embed(image)

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        return self._own.segment(embedding, prompts)


class BadModels(SharedModels):
    """A run's models, to which bad tiles happen."""

    def __init__(self, bad: BadTiles) -> None:
        super().__init__()
        self._bad = bad

    def prompter(self, config: RunConfig, lattice: TileLattice) -> Prompter:
        return BadPrompter(super().prompter(config, lattice), self._bad)

    def segmenter(self, config: RunConfig, lattice: TileLattice) -> Segmenter:
        return BadSegmenter(super().segmenter(config, lattice), self._bad)


class BadSteps(Steps):
    """The steps of a child process."""

    def __init__(self, contexts: Sequence[RunContext], *, bad: BadTiles) -> None:
        super().__init__(contexts)
        self._models = BadModels(bad)


def bad_actors(bad: BadTiles) -> dict[str, type]:
    """Ray's actors by their names, with bad tiles."""

    class BadReader(CogReader):
        def read(self, block: BlockSpec) -> BlockImage:
            bad.meet("read", [tile.tile_id for tile in block.tiles])
            return super().read(block)

        def left_behind(self) -> CogReader:
            fresh = super().left_behind()
            fresh.__class__ = BadReader
            return fresh

    def meet_them(_: Any = None) -> None:
        """In the worker's process, whose modules are its own."""
        make: Callable[[], SharedModels] = lambda: BadModels(bad)  # noqa: E731
        actors.SharedModels = make  # type: ignore[misc,assignment]
        read_step.CogReader = BadReader  # type: ignore[misc]

    def after(actor: type) -> type:
        def begin(self: Any, context: Sequence[RunContext]) -> None:
            meet_them()
            actor.__init__(self, context)  # type: ignore[misc]

        return type(f"Bad{actor.__name__}", (actor,), {"__init__": begin})

    return {actor.__name__: after(actor) for actor in (ReadActor, PromptActor, SegmentActor)}
