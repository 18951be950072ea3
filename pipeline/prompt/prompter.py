"""The contract of prompters: a tile and its queries in, one answer per query out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import TilePrompts


class Prompter(Protocol):
    """Answers queries about one tile with prompts, a recorded rejection, or a recorded failure.

    `prompt` returns exactly one `TilePrompts` per query, in order. Its `query_index` is the query's position,
    its `tile_id` that of the tile. Coordinates are pixel edges of the tile's read window and lie inside it.
    `prompt` may be awaited for several tiles at once.

    An error with one tile gives an answer with `TileStatus.FAILED`. The only exception is a `ModelError`: the
    engine died, the prompter can answer nothing more, and its process should be replaced.
    """

    @property
    def model_id(self) -> str:
        """Name of what answers: a checkpoint, or the file that the prompts come from."""
        ...

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        """Answer every query, in order. Raises ModelError."""
        ...

    def close(self) -> None:
        """Release memory and processes. May be called twice."""
        ...


def same_for_all(answer: TilePrompts, n_queries: int) -> list[TilePrompts]:
    """Repeat `answer` once per query, for a prompter that does not read the query."""
    return [replace(answer, query_index=index) for index in range(n_queries)]
