"""Which tiles are encoded together, in what order they are given away, and what a failed call leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.run.infer.encode_ahead import EncodeAhead
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop, Prompt
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.segmenter import Embedding


def view(number: int) -> TileImage:
    window = Window(row0=0, col0=8 * number, row1=8, col1=8 * number + 8)
    tile = TileSpec(tile_row=0, tile_col=number, core=window, read=window)
    return TileImage(tile=tile, rgb=np.zeros((8, 8, 3), np.uint8), valid=np.ones((8, 8), np.bool_))


class OneAtATime:
    """A segmenter that notes what it was asked to encode."""

    model_id = "noting"

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    @property
    def n_embeddings(self) -> int:
        return sum(map(len, self.calls))

    def embed(self, image: TileImage) -> Embedding:
        self.calls.append([image.tile.tile_id])
        return Embedding(tile=image.tile, shape_px=(8, 8), square_px=8, valid=image.valid, features=None)

    def segment(self, embedding: Embedding, prompts: Sequence[Prompt]) -> list[MaskCrop]:
        return []


class Together(OneAtATime):
    def __init__(self, error: ModelError | None = None) -> None:
        super().__init__()
        self.error = error

    def embed_many(self, images: Sequence[TileImage]) -> list[Embedding]:
        self.calls.append([image.tile.tile_id for image in images])
        if self.error is not None:
            raise self.error
        return [
            Embedding(tile=image.tile, shape_px=(8, 8), square_px=8, valid=image.valid, features=None)
            for image in images
        ]


VIEWS = [view(number) for number in range(5)]
NAMES = [each.tile.tile_id for each in VIEWS]


def test_tiles_are_encoded_in_groups_and_each_gets_its_own() -> None:
    segmenter = Together()
    ahead = EncodeAhead(segmenter, VIEWS, 2)
    given = [ahead.embedding(name) for name in NAMES]
    assert segmenter.calls == [NAMES[:2], NAMES[2:4]]
    assert [each.tile.tile_id if each else None for each in given] == [*NAMES[:4], None]
    assert ahead.embedding(NAMES[0]) is None, "given away once"


def test_without_a_batch_nothing_is_encoded_ahead() -> None:
    for segmenter, batch in ((Together(), 1), (OneAtATime(), 4)):
        assert EncodeAhead(segmenter, VIEWS, batch).embedding(NAMES[0]) is None
        assert segmenter.calls == []


def test_a_failed_call_leaves_its_tiles_to_be_done_alone() -> None:
    segmenter = Together(ModelError("out of memory"))
    ahead = EncodeAhead(segmenter, VIEWS, 3)
    assert [ahead.embedding(name) for name in NAMES[:3]] == [None, None, None]
    assert segmenter.calls == [NAMES[:3]], "it is not tried again for the same tiles"
    assert ahead.embedding(NAMES[3]) is None
    assert segmenter.calls[1:] == [NAMES[3:]]
    lost = EncodeAhead(Together(ModelError("the device is lost", retryable=True)), VIEWS, 3)
    with pytest.raises(ModelError, match="device is lost"):
        lost.embedding(NAMES[0])
