"""The oracle's verifier: intersections over unions counted by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import rasterio
from label_worlds import write_label_world

from pipeline.errors import InputError
from pipeline.prompt.looks.oracle_verifier import OracleVerifier
from pipeline.prompt.looks.verifier import Verifier
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop
from pipeline.schema.tiling import RunGrid, TileLattice

_: type[Verifier] = OracleVerifier


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """40 x 40 px: object 1 in rows 4..11 and columns 4..11, object 2 (4 x 4) beside it from column 12."""
    ids = np.zeros((40, 40), dtype=np.int64)
    ids[4:12, 4:12] = 1
    ids[4:8, 12:16] = 2
    return write_label_world(tmp_path, ids).labels


def image_of(labels: Path, *, invalid: tuple[slice, slice] | None = None) -> tuple[TileImage, RunGrid]:
    with rasterio.open(labels) as dataset:
        grid = RunGrid(
            crs_wkt=dataset.crs.to_wkt(), transform=tuple(dataset.transform)[:6], width=40, height=40
        )
    tile = TileLattice(grid=grid, tile_px=36, halo_px=2, block_tiles=1).tile(0, 0)
    valid = np.ones(tile.read.shape, np.bool_)
    if invalid is not None:
        valid[invalid] = False
    return TileImage(tile=tile, rgb=np.zeros((*tile.read.shape, 3), np.uint8), valid=valid), grid


def square(row0: int, col0: int, height: int, width: int) -> MaskCrop:
    return MaskCrop(row0=row0, col0=col0, mask=np.ones((height, width), np.bool_), score=1.0, prompt_index=0)


def test_the_best_intersection_over_union_of_each_mask(labels: Path) -> None:
    image, grid = image_of(labels)
    verifier = OracleVerifier(f"oracle:{labels}?noise=strong&seed=3", grid)
    masks = [
        square(4, 4, 8, 8),  # object 1 exactly
        square(4, 8, 8, 8),  # 32 px of object 1 (64 px) and all 16 of object 2; the mask has 64
        square(4, 4, 8, 4),  # half of object 1
        square(20, 20, 5, 5),  # nothing
    ]
    best = [1.0, 32 / 96, 32 / 64, 0.0]
    assert asyncio.run(verifier.verify(image, "anything", masks)) == pytest.approx(best)
    verifier.close()


def test_only_valid_pixels_of_the_truth_count(labels: Path) -> None:
    image, grid = image_of(labels, invalid=(slice(4, 12), slice(4, 8)))
    verifier = OracleVerifier(f"oracle:{labels}", grid)
    assert asyncio.run(verifier.verify(image, "anything", [square(4, 8, 8, 4)])) == [1.0]


def test_an_unreadable_raster_judges_nothing(labels: Path) -> None:
    image, grid = image_of(labels)
    verifier = OracleVerifier(f"oracle:{labels}", grid)
    labels.unlink()
    masks = [square(4, 4, 8, 8), square(0, 0, 2, 2)]
    assert asyncio.run(verifier.verify(image, "anything", masks)) == [None, None]


def test_another_lattice_is_refused(labels: Path) -> None:
    _, grid = image_of(labels)
    wider = RunGrid(crs_wkt=grid.crs_wkt, transform=grid.transform, width=41, height=40)
    with pytest.raises(InputError, match="label raster"):
        OracleVerifier(f"oracle:{labels}", wider)
