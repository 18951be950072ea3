"""A gate without a model that answers from a table and checks that it is used as the protocol says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.prompt.looks.gate import Gate, Look


class FakeGate:
    """Answers from `table[(key, query)]`; what is not in it gets `default`.

    Asserts: pixels are an 8-bit RGB picture, a look speaks for at least one tile, at least one query
    comes, and no picture is looked at twice.
    """

    def __init__(self, table: Mapping[tuple[str, str], float | None], *, default: float | None = 1.0) -> None:
        self._table = table
        self._default = default
        self.looks: list[Look] = []

    async def look(self, look: Look, queries: Sequence[str]) -> list[float | None]:
        assert look.rgb.dtype == np.uint8
        assert look.rgb.ndim == 3
        assert look.rgb.shape[2] == 3
        assert look.tiles, "a look speaks for a tile"
        assert queries, "at least one query"
        assert look.key not in [seen.key for seen in self.looks], f"{look.key} was looked at twice"
        self.looks.append(look)
        return [self._table.get((look.key, query), self._default) for query in queries]


_: type[Gate] = FakeGate
