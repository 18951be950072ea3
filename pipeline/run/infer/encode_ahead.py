"""Encode several tiles in one call, before the first of them is drawn: a GPU that gets one tile idles.

1. `EncodeAhead.embedding` is asked for one tile after the other, in the order that was said. It encodes the
   tile and those that follow it in one call, and keeps the rest for their turn.
2. A call that fails says nothing of its tiles: each is then encoded alone, and fails or works alone.

Without a batch, or with a segmenter that takes one tile at a time, nothing is encoded ahead.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import ModelError
from pipeline.schema.imagery import TileImage
from pipeline.segment.segmenter import BatchSegmenter, Embedding, Segmenter


class EncodeAhead:
    """Embeddings of the tiles of a block that will be drawn."""

    def __init__(self, segmenter: Segmenter | None, views: Sequence[TileImage], batch: int) -> None:
        """`segmenter`: None where a mask model draws. `views`: the tiles that will be asked for, in that
        order. `batch`: how many are encoded at a time; 1: none is encoded ahead.
        """
        self._segmenter = segmenter if isinstance(segmenter, BatchSegmenter) and batch > 1 else None
        self._views = {view.tile.tile_id: view for view in views}
        self._batch = batch
        self._ready: dict[str, Embedding] = {}

    def embedding(self, tile_id: str) -> Embedding | None:
        """The embedding of a tile, given away once. None: the tile is to be encoded alone. Raises a retryable
        ModelError, after which only a fresh process can go on.
        """
        if tile_id in self._ready:
            return self._ready.pop(tile_id)
        if self._segmenter is None or tile_id not in self._views:
            return None
        names = list(self._views)
        first = names.index(tile_id)
        chosen = names[first : first + self._batch]
        views = [self._views.pop(name) for name in chosen]
        if len(views) < 2:
            return None
        try:
            made = self._segmenter.embed_many(views)
        except Exception as error:
            if isinstance(error, ModelError) and error.retryable:
                raise
            return None
        self._ready = dict(zip(chosen, made, strict=True))
        return self._ready.pop(tile_id)
