"""The contract: the fake and the real ones conform, and options refuse what cannot work."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fakes_segment import FakeSegmenter

from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt
from pipeline.segment.oracle_segmenter import OracleSegmenter
from pipeline.segment.sam2_segmenter import Sam2Segmenter
from pipeline.segment.segmenter import Sam2Options, Segmenter
from pipeline.world.oracle import OracleTruth


def test_implementations_conform(tiny: Sam2Segmenter) -> None:
    segmenters: list[Segmenter] = [FakeSegmenter(), OracleSegmenter(OracleTruth("labels.tif")), tiny]
    for segmenter in segmenters:
        assert segmenter.model_id
        assert segmenter.n_embeddings >= 0


def test_fake_asserts_the_protocol(tile: Callable[..., TileImage]) -> None:
    fake = FakeSegmenter()
    image = tile(32, 32)
    embedding = fake.embed(image)
    masks = fake.segment(
        embedding,
        [
            Prompt(box_xyxy=(2.0, 3.0, 6.0, 5.0)),
            Prompt(box_xyxy=None, points_xy=((1.0, 1.0),), point_labels=(1,)),
        ],
    )
    assert [(m.prompt_index, m.row0, m.col0, m.mask.shape) for m in masks] == [(0, 3, 2, (2, 4))]
    with pytest.raises(AssertionError, match="embedded twice"):
        fake.embed(image)
    with pytest.raises(AssertionError, match="belongs to"):
        FakeSegmenter().segment(embedding, [])
    with pytest.raises(AssertionError, match="read window"):
        fake.segment(embedding, [Prompt(box_xyxy=None, points_xy=((99.0, 1.0),), point_labels=(1,))])


@pytest.mark.parametrize("wrong", [{"prompt_batch": 0}, {"image_px": 100}, {"image_px": 32}])
def test_options_refuse(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Sam2Options(**wrong)  # type: ignore[arg-type]
