"""Row codecs: every function and its inverse."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rows import block_to_row, bounding_window, bytes_to_prompts, image_to_row, prompts_to_bytes, row_to_block, row_to_image
from pipeline.schema import BlockImage, BlockSpec, Prompt, Reason, RunGrid, TileLattice, TilePrompts, TileStatus, Window


def make_lattice(height: int, width: int) -> TileLattice:
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0), width=width, height=height)
    return TileLattice(grid=grid, tile_px=16, halo_px=3, block_tiles=2)


def make_block(lattice: TileLattice, *, skip: int = 0) -> BlockSpec:
    tiles = tuple(lattice.tiles_of_block(0, 0))[skip:]
    read = bounding_window([t.read for t in tiles])
    return BlockSpec(block_row=0, block_col=0, core=lattice.block_core(0, 0), read=read, tiles=tiles)


def test_bounding_window_by_hand() -> None:
    windows = [Window(row0=2, col0=5, row1=4, col1=6), Window(row0=1, col0=7, row1=3, col1=9)]
    assert bounding_window(windows) == Window(row0=1, col0=5, row1=4, col1=9)


@given(st.integers(1, 45), st.integers(1, 45), st.integers(0, 1))
def test_block_survives_the_row(height: int, width: int, skip: int) -> None:
    lattice = make_lattice(height, width)
    n_tiles = len(list(lattice.tiles_of_block(0, 0)))
    block = make_block(lattice, skip=min(skip, n_tiles - 1))
    assert row_to_block(block_to_row(block), lattice) == block


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_pixels_survive_the_row_bit_by_bit(height: int, width: int, seed: int) -> None:
    lattice = make_lattice(height, width)
    block = make_block(lattice)
    rng = np.random.default_rng(seed)
    image = BlockImage(
        block=block,
        rgb=rng.integers(0, 256, (*block.read.shape, 3), dtype=np.uint8),
        valid=rng.random(block.read.shape) < 0.5,
        unreadable={block.tiles[0].tile_id: "read failed"},
    )
    back = row_to_image(image_to_row(image), lattice)
    np.testing.assert_array_equal(back.rgb, image.rgb)
    np.testing.assert_array_equal(back.valid, image.valid)
    assert back.valid.dtype == np.bool_
    assert back.unreadable == image.unreadable
    assert back.block == block


def test_rows_hold_only_scalars_and_bytes() -> None:
    block = make_block(make_lattice(20, 20))
    image = BlockImage(block=block, rgb=np.zeros((*block.read.shape, 3), np.uint8), valid=np.ones(block.read.shape, np.bool_))
    assert {type(value) for value in image_to_row(image).values()} <= {int, bytes}


def test_prompts_survive_the_row() -> None:
    answers = (
        TilePrompts(
            tile_id="r00000c00001",
            query_index=1,
            status=TileStatus.FOUND,
            reason=Reason.NONE,
            prompts=(
                Prompt(box_xyxy=(1.0, 2.0, 3.5, 4.0), points_xy=((2.0, 3.0),), point_labels=(1,), label="tank é"),
                Prompt(box_xyxy=None, points_xy=((0.5, 0.5), (1.5, 2.5)), point_labels=(1, 0)),
            ),
            reply='<think>"quoted"</think>',
            rationale='"quoted"',
            n_calls=2,
        ),
        TilePrompts(tile_id="r00000c00002", query_index=0, status=TileStatus.FAILED, reason=Reason.MALFORMED, error="no list"),
    )
    assert bytes_to_prompts(prompts_to_bytes(answers)) == answers
