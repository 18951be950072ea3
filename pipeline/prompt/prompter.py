"""The seam of this stage: a tile and its queries in, one answer per query out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.schema import TileImage, TilePrompts


class Prompter(Protocol):
    """Answers queries about one tile with prompts, a recorded rejection, or a recorded failure.

    `prompt` returns exactly one `TilePrompts` per query, in order, with `query_index` equal to the query's
    position and `tile_id` equal to the tile's. Its coordinates are pixel edges of the tile's read window,
    inside it. What goes wrong with one tile is an answer with `TileStatus.FAILED`, never an exception; the
    only exception is a `ModelError`, which means that this prompter cannot answer any more (its engine died)
    and the process holding it should end and start anew. `prompt` may be awaited for several tiles at once.
    """

    @property
    def model_id(self) -> str:
        """What answers: a checkpoint, or the file the prompts come from. A name; what pins the content is
        recorded by the run.
        """
        ...

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        """One answer per query, in order."""
        ...

    def close(self) -> None:
        """Gives memory and processes back. May be called twice."""
        ...
