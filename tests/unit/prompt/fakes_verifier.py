"""A verifier without a model that answers from a table and checks that it is used as the protocol says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.prompt.looks.verifier import Verifier
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop


class FakeVerifier:
    """Answers from `table[(tile_id, query)]`, one probability per mask; what is not in it gets 1 for all.

    Asserts: masks lie in the tile, at least one comes, a tile and query comes once, nothing comes after
    `close`.
    """

    def __init__(self, table: Mapping[tuple[str, str], Sequence[float | None]]) -> None:
        self._table = table
        self._closed = False
        self.asked: list[tuple[str, str]] = []

    async def verify(self, image: TileImage, query: str, masks: Sequence[MaskCrop]) -> list[float | None]:
        assert not self._closed, "verify() after close()"
        height, width = image.tile.read.shape
        assert image.rgb.shape == (height, width, 3)
        assert masks, "at least one mask"
        for mask in masks:
            assert 0 <= mask.row0 <= mask.row0 + mask.mask.shape[0] <= height
            assert 0 <= mask.col0 <= mask.col0 + mask.mask.shape[1] <= width
        key = image.tile.tile_id, query
        assert key not in self.asked, f"{key} came twice"
        self.asked.append(key)
        answer = list(self._table.get(key, [1.0] * len(masks)))
        assert len(answer) == len(masks)
        return answer

    def close(self) -> None:
        self._closed = True


_: type[Verifier] = FakeVerifier
