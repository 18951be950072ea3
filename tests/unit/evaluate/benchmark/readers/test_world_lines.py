"""Long targets: roads beside the plan of the world, rivers that are drawn where their mask says."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Benchmark, choose_samples
from pipeline.evaluate.benchmark.readers.world_lines import (
    LEAST_ROAD_PX,
    LinePixels,
    draw_tile,
    read_lines,
    river_of,
    road_mask,
)
from pipeline.schema.tiling import Window
from pipeline.world.landscape import World
from pipeline.world.render import render

WINDOW = Window(row0=0, col0=256, row1=256, col1=512)
RIVER = Window(row0=0, col0=0, row1=256, col1=256)


@pytest.fixture(scope="module")
def lines() -> Benchmark:
    return read_lines(50, size_px=512)


def test_every_target_is_in_its_tile_and_reads_again(lines: Benchmark) -> None:
    kinds = set()
    for image in lines.images:
        for target in image.targets:
            mask = target.mask.read()
            kinds.add(target.strata["line"])
            assert mask.shape == image.pixels.size_hw()
            assert int(mask.sum()) >= 64
    assert {"road", "river"} <= kinds
    samples = [sample for image in choose_samples(lines, "first") for sample in image.samples]
    assert len(samples) == len({sample.sample_id for sample in samples})


def test_roads_lie_where_the_world_paints_them() -> None:
    """Paved strips of this world are grey, and the ground beside them is yellowish."""
    world = World.from_seed(50)
    drawn = render(world, WINDOW)
    mask = road_mask(world, WINDOW)
    assert int(mask.sum()) > LEAST_ROAD_PX
    around = np.zeros_like(mask)
    for shift in (-8, 8):
        around |= np.roll(mask, shift, axis=0) | np.roll(mask, shift, axis=1)
    yellow = drawn.rgb[..., 0].astype(float) - drawn.rgb[..., 2]
    free = drawn.labels == 0
    assert yellow[around & ~mask & free].mean() - yellow[mask & free].mean() > 8


def test_roads_of_neighbouring_windows_are_one_road() -> None:
    world = World.from_seed(50)
    whole = road_mask(world, Window(row0=0, col0=0, row1=256, col1=512))
    np.testing.assert_array_equal(whole[:, 256:], road_mask(world, WINDOW))


def test_a_river_changes_its_own_pixels_alone() -> None:
    drawn = draw_tile(50, RIVER)
    plain = render(World.from_seed(50), RIVER)
    river = drawn.masks["river"]
    changed = (drawn.rgb != plain.rgb).any(axis=2)
    assert not (changed & ~river).any()
    assert changed.sum() > 0.95 * river.sum()
    assert not (river & drawn.masks["road"]).any()
    np.testing.assert_array_equal(river, river_of(50, RIVER)[0])
    assert river.any(axis=1).sum() == 256 or river.any(axis=0).sum() == 256
    np.testing.assert_array_equal(LinePixels(seed=50, window=RIVER).read(), drawn.rgb)


def test_tiles_without_a_river_are_the_worlds_own() -> None:
    drawn = draw_tile(50, WINDOW)
    assert not drawn.masks["river"].any()
    np.testing.assert_array_equal(drawn.rgb, render(World.from_seed(50), WINDOW).rgb)


def test_a_world_without_a_tile_is_refused() -> None:
    with pytest.raises(InputError, match="one tile of the preset"):
        read_lines(50, size_px=100)
