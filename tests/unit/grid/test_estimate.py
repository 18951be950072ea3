from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.grid.estimate import estimate, overlaps_px
from pipeline.grid.tiles import GridOptions, plan_tiles
from pipeline.schema.imagery import Scene, SceneFile
from pipeline.schema.tiling import Window

MakeScene = Callable[..., Scene]


def test_counts_of_a_plan_small_enough_to_check_by_hand(make_scene: MakeScene) -> None:
    """100 x 60 px, cores of 24: 5 x 3 tiles in 6 blocks of 2 x 2, whose reads overlap by the halos."""
    scene = make_scene(width=100, height=60)
    result = estimate(plan_tiles(None, [scene], GridOptions(tile_px=32, halo_px=4, block_tiles=2)), 3)
    read = (52 + 56 + 8) * (52 + 16)  # columns 0-52, 44-100, 92-100; rows 0-52, 44-60
    assert (result.tiles, result.tiles_outside, result.blocks, result.pixels) == (15, 0, 6, 6000)
    assert result.pixels_read == read
    assert result.bytes_decoded == 3 * read
    assert (result.image_encodings, result.model_calls) == (15, 45)
    assert result.bytes_to_read == 1000  # never more than the file
    assert result.to_dict()["blocks"] == 6


def test_bytes_follow_the_share_and_the_data_type(make_scene: MakeScene) -> None:
    scene = replace(make_scene(width=1000, height=1000), dtype="uint16", identity={"size_bytes": "5000000"})
    other = replace(
        make_scene("other", transform=(0.5, 0, 450000 + 400, 0, -0.5, 40000), width=200, height=200),
        identity={},
    )
    options = GridOptions(tile_px=64, halo_px=8, block_tiles=100)
    alone = estimate(plan_tiles(None, [scene], options), 1)
    assert alone.bytes_decoded == 1000 * 1000 * 3 * 2
    assert alone.bytes_to_read == 5_000_000
    both = estimate(plan_tiles(None, [scene, other], options), 1)
    assert both.bytes_to_read is None
    assert both.bytes_decoded == 6_000_000 + 200 * 200 * 3


def test_all_band_files_of_a_scene_count(make_scene: MakeScene) -> None:
    files = tuple(SceneFile(href=name, identity={"size_bytes": "1000"}) for name in ("r", "g", "b"))
    scene = replace(make_scene(width=100, height=60), band_files=files)
    options = GridOptions(tile_px=32, halo_px=4, block_tiles=100)
    assert estimate(plan_tiles(None, [scene], options), 1).bytes_to_read == 3000
    unknown = replace(scene, band_files=(*files[:2], replace(files[2], identity={})))
    assert estimate(plan_tiles(None, [unknown], options), 1).bytes_to_read is None


def test_needs_a_query(make_scene: MakeScene) -> None:
    with pytest.raises(InputError, match="--query"):
        estimate(plan_tiles(None, [make_scene()], GridOptions()), 0)


@given(st.integers(0, 2**32 - 1))
def test_pixels_read_are_those_of_reads_and_windows_painted_over_each_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reads, windows = ([random_window(rng) for _ in range(rng.integers(0, 8))] for _ in range(2))
    canvas = np.zeros((20, 20), dtype=np.int64)
    for read in reads:
        canvas[read.row0 : read.row1, read.col0 : read.col1] += 1
    assert overlaps_px(reads, windows).tolist() == [
        canvas[w.row0 : w.row1, w.col0 : w.col1].sum() for w in windows
    ]


def random_window(rng: np.random.Generator) -> Window:
    row0, row1 = sorted(rng.integers(0, 21, 2).tolist())
    col0, col1 = sorted(rng.integers(0, 21, 2).tolist())
    return Window(row0=row0, col0=col0, row1=row1, col1=col1)


def test_many_blocks_and_scenes_are_not_compared_pair_by_pair(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 scenes of 20 x 60 px side by side, 50 x 5 blocks of one tile of 12 + 2 px: sides at the edge of the
    grid have no halo.
    """
    scenes = [
        make_scene(f"s{i}", transform=(0.5, 0.0, 450000.0 + 10 * i, 0.0, -0.5, 40000.0), width=20, height=60)
        for i in range(30)
    ]
    plan = plan_tiles(None, scenes, GridOptions(tile_px=14, halo_px=1, block_tiles=1))
    assert len(list(plan.blocks())) == 50 * 5
    intersect = Window.intersect
    compared = []
    monkeypatch.setattr(Window, "intersect", lambda one, other: compared.append(one) or intersect(one, other))
    result = estimate(plan, 1)
    assert len(compared) <= 30
    cols = 48 * 14 + 2 * 13
    rows = 3 * 14 + 2 * 13
    assert result.pixels_read == cols * rows
    assert result.bytes_to_read == 30 * 1000
