"""The oracle segmenter against a raster small enough to check by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from pipeline.errors import ModelError
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt
from pipeline.schema.tiling import TileSpec, Window
from pipeline.segment.oracle_segmenter import OracleSegmenter
from pipeline.segment.proposals import EverythingOptions
from pipeline.world.oracle import OracleTruth

LABELS = np.array(
    [
        [0, 0, 7, 7, 7],
        [5, 0, 7, 0, 7],
        [5, 5, 0, 0, 0],
    ],
    dtype=np.uint32,
)


@pytest.fixture
def truth(tmp_path: Path) -> OracleTruth:
    path = tmp_path / "labels.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=3,
        width=5,
        count=1,
        dtype="uint32",
        transform=from_origin(0, 0, 1, 1),
    ) as dataset:
        dataset.write(LABELS, 1)
    return OracleTruth(str(path))


def image(valid: np.ndarray | None = None) -> TileImage:  # type: ignore[type-arg]
    window = Window(row0=0, col0=0, row1=3, col1=5)
    tile = TileSpec(tile_row=0, tile_col=0, core=window, read=window)
    return TileImage(
        tile=tile,
        rgb=np.zeros((3, 5, 3), np.uint8),
        valid=np.ones((3, 5), np.bool_) if valid is None else valid,
    )


def named(local: int) -> Prompt:
    return Prompt(box_xyxy=(0.0, 0.0, 1.0, 1.0), label=f"oracle:{local}")


def test_masks_are_the_objects(truth: OracleTruth) -> None:
    segmenter = OracleSegmenter(truth)
    local_labels = truth.tile(image().tile).labels
    masks = segmenter.segment(
        segmenter.embed(image()), [named(int(local_labels[0, 2])), named(int(local_labels[1, 0]))]
    )
    assert [(m.row0, m.col0, m.score, m.prompt_index) for m in masks] == [(0, 2, 1.0, 0), (1, 0, 1.0, 1)]
    assert masks[0].mask.tolist() == [[True, True, True], [True, False, True]]
    assert masks[1].mask.tolist() == [[True, False], [True, True]]
    assert segmenter.n_embeddings == 1


def test_invalid_pixels_shrink_or_remove_masks(truth: OracleTruth) -> None:
    segmenter = OracleSegmenter(truth)
    valid = np.ones((3, 5), np.bool_)
    valid[:, :2] = False
    valid[0] = False
    embedding = segmenter.embed(image(valid))
    masks = segmenter.segment(embedding, [named(1), named(2)])
    assert len(masks) == 1
    assert (masks[0].row0, masks[0].col0, masks[0].mask.tolist()) == (1, 2, [[True, False, True]])


@pytest.mark.parametrize("label", ["", "oracle:0", "oracle:3", "oracle:x", "tank"])
def test_prompts_of_others_are_refused(truth: OracleTruth, label: str) -> None:
    segmenter = OracleSegmenter(truth)
    with pytest.raises(ModelError, match="oracle:1 to oracle:2"):
        segmenter.segment(segmenter.embed(image()), [Prompt(box_xyxy=(0.0, 0.0, 1.0, 1.0), label=label)])


def test_points_get_the_object_under_them(truth: OracleTruth) -> None:
    """Two points in object 7, one in object 5, which is too small, and one in the background."""
    segmenter = OracleSegmenter(truth)
    prompts = [
        Prompt(box_xyxy=None, points_xy=(xy,), point_labels=(1,))
        for xy in ((2.5, 0.5), (4.9, 1.9), (0.5, 1.5), (1.5, 0.5))
    ]
    rules = EverythingOptions(min_mask_px=4, max_mask_share=1.0)
    found = segmenter.propose(segmenter.embed(image()), prompts, rules)
    assert [(m.prompt_index, m.row0, m.col0, m.score, m.stability) for m in found.masks] == [
        (0, 0, 2, 1.0, 1.0),
        (1, 0, 2, 1.0, 1.0),
    ]
    assert found.masks[0].mask.tolist() == [[True, True, True], [True, False, True]]
    assert (found.unsure, found.missized) == (1, 1)
