"""A prompter without a model that answers from a table and checks that it is used as the protocol says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.prompt.prompter import Prompter
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt, Reason, TilePrompts, TileStatus


class FakePrompter:
    """Answers from `table[(tile_id, query)]`; what is not in it is EMPTY(prompter).

    Asserts: pixels and validity have the shape of the read window, at least one query comes and all are text,
    a tile is asked about once, nothing is asked after `close`.
    """

    def __init__(self, table: Mapping[tuple[str, str], tuple[Prompt, ...]]) -> None:
        self._table = table
        self._closed = False
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    @property
    def model_id(self) -> str:
        return "fake"

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        assert not self._closed, "prompt() after close()"
        assert image.rgb.shape == (*image.tile.read.shape, 3)
        assert image.rgb.dtype == np.uint8
        assert image.valid.shape == image.tile.read.shape
        assert image.valid.dtype == np.bool_
        assert queries, "at least one query"
        assert all(isinstance(query, str) and query for query in queries)
        tile_id = image.tile.tile_id
        assert tile_id not in [asked for asked, _ in self.asked], f"{tile_id} was asked about twice"
        self.asked.append((tile_id, tuple(queries)))
        return [self._answer(tile_id, index, query) for index, query in enumerate(queries)]

    def _answer(self, tile_id: str, index: int, query: str) -> TilePrompts:
        prompts = self._table.get((tile_id, query), ())
        status, reason = (TileStatus.FOUND, Reason.NONE) if prompts else (TileStatus.EMPTY, Reason.PROMPTER)
        return TilePrompts(
            tile_id=tile_id, query_index=index, status=status, reason=reason, prompts=prompts, n_calls=1
        )

    def close(self) -> None:
        self._closed = True


_: type[Prompter] = FakePrompter
