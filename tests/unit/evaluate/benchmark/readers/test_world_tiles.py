"""World tiles as a benchmark, against the rendering they come from."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Benchmark, mask_digest
from pipeline.evaluate.benchmark.readers.world_tiles import MIN_TARGET_PX, STRANGER, read_world
from pipeline.schema.tiling import Window
from pipeline.world.landscape import World
from pipeline.world.queries import HELD_OUT
from pipeline.world.render import render

SEED = 7
TILE = 128


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    return read_world(SEED, size_px=600, tile_px=TILE)


def test_tiles_are_the_worlds_own_pixels(benchmark: Benchmark) -> None:
    assert len(benchmark.images) == 16  # whole tiles only: 600 // 128 = 4 a side
    whole = render(World.from_seed(SEED), Window(row0=0, col0=0, row1=512, col1=512))
    for index, image in enumerate(benchmark.images):
        rows = slice(index // 4 * TILE, index // 4 * TILE + TILE)
        cols = slice(index % 4 * TILE, index % 4 * TILE + TILE)
        np.testing.assert_array_equal(image.pixels.read(), whole.rgb[rows, cols])
        names = np.array(["", *(item.class_name for item in whole.objects)])[whole.labels[rows, cols]]
        area = Counter(names[names != ""].tolist())
        asked = {
            target.strata["class"]: target
            for target in image.targets
            if target.wordings[0].strata["kind"] != "absent"
        }
        assert set(asked) == {name for name, count in area.items() if count >= MIN_TARGET_PX}
        for name, target in asked.items():
            np.testing.assert_array_equal(target.mask.read(), names == name)
            assert target.mask.digest() == mask_digest(names == name)
        absent = [target for target in image.targets if target.wordings[0].strata["kind"] == "absent"]
        assert len(absent) == max(len(asked), 1)
        for target in absent:
            assert target.strata["class"] == STRANGER or area[target.strata["class"]] == 0
            assert not target.mask.read().any()


def test_only_held_out_wordings_about_the_right_class(benchmark: Benchmark) -> None:
    class_of = {query.query: query.class_name or STRANGER for query in HELD_OUT}
    kinds = Counter()
    for image in benchmark.images:
        for target in image.targets:
            texts = [wording.text for wording in target.wordings]
            assert len(set(texts)) == len(texts) == (1 if target.strata["class"] == STRANGER else 4)
            assert {class_of[text] for text in texts} == {target.strata["class"]}
            kinds[target.wordings[0].strata["kind"]] += 1
    assert kinds["explicit"]
    assert kinds["implicit"]  # the first wording is of either kind
    assert kinds["absent"] >= kinds["explicit"] + kinds["implicit"]


def test_the_same_seed_gives_the_same_queries_and_another_one_others(benchmark: Benchmark) -> None:
    again = read_world(SEED, size_px=600, tile_px=TILE)
    assert again == benchmark
    other = read_world(SEED + 1, size_px=600, tile_px=TILE)
    assert [t.wordings for i in other.images for t in i.targets] != [
        t.wordings for i in benchmark.images for t in i.targets
    ]
    assert benchmark.pixel_m == 0.5


def test_a_world_without_a_whole_tile_is_refused() -> None:
    with pytest.raises(InputError, match=r"128 .one tile of the preset. to 16384"):
        read_world(SEED, size_px=100, tile_px=128)
