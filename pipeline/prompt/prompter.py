"""The contract of this stage: a tile and its queries in, one answer per query out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from pipeline.schema import TileImage, TilePrompts


class Prompter(Protocol):
    """Answers queries about one tile with prompts, a recorded rejection, or a recorded failure.

    `prompt` returns exactly one `TilePrompts` per query, in order. Its `query_index` is the query's position,
    its `tile_id` the tile's; coordinates are pixel edges of the tile's read window, inside it. `prompt` may
    be awaited for several tiles at once.

    What goes wrong with one tile is an answer with `TileStatus.FAILED`. The only exception is a `ModelError`:
    this prompter cannot answer any more (its engine died), and its process should end and start anew.
    """

    @property
    def model_id(self) -> str:
        """Name of what answers: a checkpoint, or the file that the prompts come from."""
        ...

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        """Answer every query, in order. Raises ModelError."""
        ...

    def close(self) -> None:
        """Give memory and processes back. May be called twice."""
        ...


def same_for_all(answer: TilePrompts, n_queries: int) -> list[TilePrompts]:
    """The answers of a prompter that does not read the query: `answer` once per query."""
    return [replace(answer, query_index=index) for index in range(n_queries)]
