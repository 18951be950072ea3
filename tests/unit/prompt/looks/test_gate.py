"""What a gate is shown and who belongs to the audit, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_tiles import grid, lattice, tile_image

from pipeline.prompt.looks.gate import GateOptions, in_audit, parent_look, tile_look
from pipeline.schema.imagery import BlockImage
from pipeline.schema.tiling import BlockSpec, RunGrid, TileLattice, Window


def block_image(cut: TileLattice, row: int, col: int, keep: slice = slice(None)) -> BlockImage:
    """A block whose every pixel is (row % 250 + 1, column % 250 + 1, 7) of the run grid."""
    tiles = tuple(cut.tiles_of_block(row, col))[keep]
    read = Window.around([tile.read for tile in tiles])
    rows, cols = np.mgrid[read.row0 : read.row1, read.col0 : read.col1]
    rgb = np.stack([rows % 250 + 1, cols % 250 + 1, np.full_like(rows, 7)], axis=-1).astype(np.uint8)
    block = BlockSpec(block_row=row, block_col=col, core=cut.block_core(row, col), read=read, tiles=tiles)
    return BlockImage(block=block, rgb=rgb, valid=np.ones(read.shape, bool))


def test_a_tile_look_is_the_tile() -> None:
    image = tile_image(lattice(grid(), tile_px=60, halo_px=10))
    look = tile_look(image)
    assert (look.key, look.tiles) == (image.tile.tile_id, (image.tile,))
    assert look.rgb is image.rgb


@pytest.mark.parametrize(
    ("row", "col", "keep"),
    [(0, 0, slice(None)), (1, 1, slice(None)), (2, 2, slice(None)), (1, 1, slice(3, 4))],
)
def test_a_parent_look_has_one_scale_wherever_the_block_lies(row: int, col: int, keep: slice) -> None:
    """Core 16, halo 2, K = 2: the canvas covers 2 * 16 + 2 * 2 = 36 px a side and begins 2 px before the
    block's core.
    """
    cut = TileLattice(
        grid=RunGrid(crs_wkt=None, transform=(1, 0, 0, 0, 1, 0), width=70, height=75),
        tile_px=20,
        halo_px=2,
        block_tiles=2,
    )
    image = block_image(cut, row, col, keep)
    look = parent_look(image, cut, image.block.tiles)
    assert look.rgb.shape == (36, 36, 3)
    assert look.key == f"b{row:05d}_{col:05d}"
    top = 32 * row - 2
    left = 32 * col - 2
    read = image.block.read
    for r in range(36):
        for c in range(36):
            inside = read.row0 <= top + r < read.row1 and read.col0 <= left + c < read.col1
            want = ((top + r) % 250 + 1, (left + c) % 250 + 1, 7) if inside else (0, 0, 0)
            assert tuple(look.rgb[r, c]) == want


def tile_ids(n: int) -> list[str]:
    return [f"r{k // 100:05d}c{k % 100:05d}" for k in range(n)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_the_audit_is_a_sample_of_the_asked_size(seed: int, share: float) -> None:
    """Of 4000 pairs; five standard deviations of a binomial count."""
    options = GateOptions(audit_share=share, seed=seed)
    chosen = [in_audit(tile, query, options) for tile in tile_ids(2000) for query in ("tanks", "lakes")]
    assert abs(sum(chosen) - 4000 * share) <= 5 * (4000 * share * (1 - share)) ** 0.5 + 1


def test_the_audits_sample_grows_with_the_share_and_changes_with_the_seed() -> None:
    def of(**options: float) -> set[str]:
        return {tile for tile in tile_ids(3000) if in_audit(tile, "tanks", GateOptions(**options))}  # type: ignore[arg-type]

    assert of(audit_share=0.0) == set()
    assert len(of(audit_share=1.0)) == 3000
    assert of(audit_share=0.01) < of(audit_share=0.1)
    assert of(audit_share=0.1) == of(audit_share=0.1)
    assert of(audit_share=0.1) != of(audit_share=0.1, seed=1)


@pytest.mark.parametrize("wrong", [{"threshold": 1.5}, {"threshold": -0.1}, {"audit_share": 2.0}])
def test_shares_lie_between_0_and_1(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        GateOptions(**wrong)  # type: ignore[arg-type]


def test_off_is_the_default() -> None:
    assert not GateOptions().on
    assert GateOptions().audit_share == 0.01
