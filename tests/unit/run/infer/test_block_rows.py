"""Row codecs: every function and its inverse."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.run.infer.block_rows import (
    LEAST_STORE_BYTES,
    block_to_row,
    bytes_to_prompts,
    image_row_bytes,
    image_to_table,
    prompts_to_bytes,
    row_to_block,
    store_limit_bytes,
    table_to_image,
)
from pipeline.schema.imagery import BlockImage, ScenePixels
from pipeline.schema.tile_answers import Prompt, Reason, TilePrompts, TileStatus
from pipeline.schema.tiling import BlockSpec, RunGrid, TileLattice, Window


def make_lattice(height: int, width: int) -> TileLattice:
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0), width=width, height=height)
    return TileLattice(grid=grid, tile_px=16, halo_px=3, block_tiles=2)


def make_block(lattice: TileLattice, *, skip: int = 0) -> BlockSpec:
    tiles = tuple(lattice.tiles_of_block(0, 0))[skip:]
    read = Window.around([t.read for t in tiles])
    return BlockSpec(block_row=0, block_col=0, core=lattice.block_core(0, 0), read=read, tiles=tiles)


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
    valid = rng.random(block.read.shape) < 0.5
    which = rng.integers(1, 4, block.read.shape).astype(np.uint16) * valid
    image = BlockImage(
        block=block,
        rgb=rng.integers(0, 256, (*block.read.shape, 3), dtype=np.uint8),
        valid=valid,
        unreadable={block.tiles[0].tile_id: "read failed"},
        scenes=ScenePixels(numbers=(0, 5, 70_000), image=which),
        hidden=~valid if seed % 2 else None,
    )
    back = table_to_image(image_to_table(image).append_column("answers", pa.array([b"[]"])), lattice)
    np.testing.assert_array_equal(back.rgb, image.rgb)
    np.testing.assert_array_equal(back.valid, image.valid)
    assert back.valid.dtype == np.bool_
    assert (back.hidden is None) == (image.hidden is None)
    if image.hidden is not None:
        np.testing.assert_array_equal(back.hidden, image.hidden)
        assert back.hidden.dtype == np.bool_
    assert back.unreadable == image.unreadable
    assert back.scenes.numbers == (0, 5, 70_000)
    np.testing.assert_array_equal(back.scenes.image, which)
    assert back.block == block


def plain_image(lattice: TileLattice) -> BlockImage:
    block = make_block(lattice)
    return BlockImage(
        block=block, rgb=np.zeros((*block.read.shape, 3), np.uint8), valid=np.ones(block.read.shape, np.bool_)
    )


def test_rows_hold_only_scalars_and_bytes() -> None:
    types = set(image_to_table(plain_image(make_lattice(20, 20))).schema.types)
    assert types <= {pa.int64(), pa.binary(), pa.large_binary()}


def test_pixels_are_not_copied_on_either_side() -> None:
    lattice = make_lattice(20, 20)
    image = plain_image(lattice)
    table = image_to_table(image)
    back = table_to_image(table, lattice)
    assert back.rgb.ctypes.data == image.rgb.ctypes.data
    assert not back.rgb.flags.writeable


@given(st.integers(1, 60), st.integers(1, 60))
def test_no_row_is_heavier_than_foretold(height: int, width: int) -> None:
    lattice = make_lattice(height, width)
    foretold = image_row_bytes(lattice)
    for block_row in range(lattice.n_block_rows):
        for block_col in range(lattice.n_block_cols):
            shape = Window.around([tile.read for tile in lattice.tiles_of_block(block_row, block_col)]).shape
            table = image_to_table(
                BlockImage(
                    block=make_block(lattice),
                    rgb=np.zeros((*shape, 3), np.uint8),
                    valid=np.ones(shape, np.bool_),
                )
            )
            assert sum(len(table[name][0].as_buffer()) for name in ("rgb", "valid")) <= foretold


def test_the_weight_of_a_row_by_hand() -> None:
    # core 16 - 2 * 3 = 10 px; a block reads 2 * 10 + 2 * 3 = 26 px a side where the grid is large enough
    assert image_row_bytes(make_lattice(100, 100)) == 3 * 676 + 2 * 85
    assert image_row_bytes(make_lattice(100, 5)) == 3 * 26 * 5 + 2 * 17


def test_the_store_holds_what_is_on_its_way_twice_over() -> None:
    # reader -> prompter (4 rows in flight) -> segmenter (2): 4 + 2 inputs and 2 outputs in the making; 3
    # stages and the source
    assert store_limit_bytes(10**8, [2, 4, 2]) == 2 * (6 + 2 + 4) * 10**8
    assert store_limit_bytes(1000, [2, 4, 2]) == LEAST_STORE_BYTES


def test_prompts_survive_the_row() -> None:
    answers = (
        TilePrompts(
            tile_id="r00000c00001",
            query_index=1,
            status=TileStatus.FOUND,
            reason=Reason.NONE,
            prompts=(
                Prompt(
                    box_xyxy=(1.0, 2.0, 3.5, 4.0), points_xy=((2.0, 3.0),), point_labels=(1,), label="tank é"
                ),
                Prompt(box_xyxy=None, points_xy=((0.5, 0.5), (1.5, 2.5)), point_labels=(1, 0)),
            ),
            reply='<think>"quoted"</think>',
            rationale='"quoted"',
            n_calls=2,
        ),
        TilePrompts(
            tile_id="r00000c00002",
            query_index=0,
            status=TileStatus.FAILED,
            reason=Reason.MALFORMED,
            error="no list",
        ),
    )
    assert bytes_to_prompts(prompts_to_bytes(answers)) == answers
