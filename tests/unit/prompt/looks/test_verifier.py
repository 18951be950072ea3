"""Which part of a tile a verifier is shown, and the oracle's exact answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from label_worlds import write_label_world
from prompt.fakes_verifier import FakeVerifier

from pipeline.prompt.looks.oracle_verifier import OracleVerifier
from pipeline.prompt.looks.verifier import (
    DrawnMasks,
    Judged,
    LooksAt,
    Verifier,
    VerifierOptions,
    crop_around,
    judge,
)
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import MaskCrop
from pipeline.schema.tiling import RunGrid, TileLattice, Window

_: type[Verifier] = OracleVerifier

GRID = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=32, height=32)


def mask_of(row0: int, col0: int, row1: int, col1: int, prompt_index: int = 0) -> MaskCrop:
    return MaskCrop(
        row0=row0,
        col0=col0,
        mask=np.ones((row1 - row0, col1 - col0), bool),
        score=1.0,
        prompt_index=prompt_index,
    )


@pytest.mark.parametrize(
    ("mask", "window"),
    [
        ((40, 40, 50, 60), (25, 30, 65, 70)),  # 20 px long, half of it on each side: 40 px around the middle
        ((40, 40, 42, 42), (31, 31, 51, 51)),  # small: a fifth of the tile
        ((0, 0, 10, 20), (0, 0, 40, 40)),  # shifted into the tile
        ((95, 90, 100, 100), (80, 80, 100, 100)),
        ((10, 0, 70, 100), (0, 0, 100, 100)),  # longer than the tile with its margin: the whole tile
    ],
)
def test_crops_by_hand(mask: tuple[int, int, int, int], window: tuple[int, int, int, int]) -> None:
    row0, col0, row1, col1 = window
    want = Window(row0=row0, col0=col0, row1=row1, col1=col1)
    assert crop_around(mask_of(*mask), (100, 100), VerifierOptions(pad=0.5, min_side=0.2)) == want


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_crop_lies_in_the_tile_and_holds_the_mask(data: st.DataObject) -> None:
    height = data.draw(st.integers(1, 60))
    width = data.draw(st.integers(1, 60))
    row0 = data.draw(st.integers(0, height - 1))
    col0 = data.draw(st.integers(0, width - 1))
    row1 = data.draw(st.integers(row0 + 1, height))
    col1 = data.draw(st.integers(col0 + 1, width))
    options = VerifierOptions(pad=data.draw(st.floats(0, 3)), min_side=data.draw(st.floats(0, 1)))
    crop = crop_around(mask_of(row0, col0, row1, col1), (height, width), options)
    assert 0 <= crop.row0 <= row0 < row1 <= crop.row1 <= height
    assert 0 <= crop.col0 <= col0 < col1 <= crop.col1 <= width
    assert crop.height == crop.width or crop.height == height or crop.width == width


@pytest.mark.parametrize(
    "wrong", [{"threshold": 1.1}, {"pad": -1.0}, {"min_side": 2.0}, {"gpu_memory_utilization": 0.0}]
)
def test_wrong_options(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"and up to 1|between 0 and 1"):
        VerifierOptions(**wrong)  # type: ignore[arg-type]


def drawn(query: str, *prompt_indexes: int, n_prompts: int = 3) -> DrawnMasks:
    tile = TileLattice(grid=GRID, tile_px=36, halo_px=2, block_tiles=1).tile(0, 0)
    image = TileImage(tile=tile, rgb=np.zeros((32, 32, 3), np.uint8), valid=np.ones((32, 32), bool))
    return DrawnMasks(
        image=image,
        query=query,
        n_prompts=n_prompts,
        masks=[mask_of(0, 0, 4, 4, index) for index in prompt_indexes],
    )


def test_which_masks_are_kept_by_hand() -> None:
    """At the threshold is not below it; a look that failed rejects nothing; a prompt without a mask has no
    probability.
    """
    judged = judge(drawn("tanks", 0, 2, 3, n_prompts=4), (0.5, 0.499, None), 0.5)
    assert [mask.prompt_index for mask in judged.kept] == [0, 3]
    assert judged.verified == (0.5, None, 0.499, None)
    assert judge(drawn("tanks", 1), (0.499,), 0.5) == Judged(kept=(), verified=(None, 0.499, None))
    assert judge(drawn("tanks"), (), 0.5) == Judged(kept=(), verified=())
    with pytest.raises(ValueError, match="zip"):
        judge(drawn("tanks", 0, 1), (0.5,), 0.5)


def test_looks_are_taken_together_and_only_where_there_is_a_mask() -> None:
    """Each look waits until the other has begun: one after the other they would wait for ever."""

    class Both(FakeVerifier):
        async def verify(self, image, query, masks):  # type: ignore[no-untyped-def]
            answer = await super().verify(image, query, masks)
            for _ in range(100):
                if len(self.asked) == 2:
                    return answer
                await asyncio.sleep(0)
            pytest.fail("the other look has not begun")

    verifier = Both({("r00000c00000", "tanks"): (0.9, 0.1), ("r00000c00000", "lakes"): (0.2,)})
    answers = [drawn("tanks", 0, 1), drawn("houses"), drawn("lakes", 2)]
    first, none, last = LooksAt(verifier=verifier, run=asyncio.run).judge(answers, 0.5)
    assert ([mask.prompt_index for mask in first.kept], first.verified) == ([0], (0.9, 0.1, None))
    assert (none, last) == (Judged(kept=(), verified=()), Judged(kept=(), verified=(None, None, 0.2)))
    assert verifier.asked == [("r00000c00000", "tanks"), ("r00000c00000", "lakes")]


def test_what_enters_a_fingerprint_is_what_changes_a_result() -> None:
    options = VerifierOptions(mode="crop", threshold=0.9, gpu_memory_utilization=0.2)
    assert options.result_parameters() == VerifierOptions(mode="crop", threshold=0.9).result_parameters()
    assert options.result_parameters() != VerifierOptions(mode="crop", threshold=0.8).result_parameters()


def test_the_oracle_gives_the_best_overlap(tmp_path: Path) -> None:
    """An object of 8 x 8 px and one of 4 x 4 that touches it; the tile is the whole raster."""
    ids = np.zeros((32, 32), dtype=np.int64)
    ids[4:12, 4:12], ids[12:16, 4:8] = 1, 2
    world = write_label_world(tmp_path, ids)
    with rasterio.open(world.labels) as file:
        grid = RunGrid(crs_wkt=file.crs.to_wkt(), transform=tuple(file.transform)[:6], width=32, height=32)
    tile = TileLattice(grid=grid, tile_px=36, halo_px=2, block_tiles=1).tile(0, 0)
    image = TileImage(tile=tile, rgb=np.zeros((32, 32, 3), np.uint8), valid=np.ones((32, 32), bool))
    masks = [
        mask_of(4, 4, 12, 12),
        mask_of(4, 4, 8, 12),
        mask_of(4, 4, 16, 12),
        mask_of(12, 4, 16, 8),
        mask_of(20, 20, 30, 30),
    ]
    answers = asyncio.run(
        OracleVerifier(f"oracle:{world.labels}?noise=strong", grid).verify(image, "anything", masks)
    )
    assert answers == pytest.approx([1.0, 0.5, 64 / 96, 1.0, 0.0])
