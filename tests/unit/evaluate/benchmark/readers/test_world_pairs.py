"""Pairs of a drawn world, beside distances that are computed in another way."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.benchmark import Benchmark, choose_samples
from pipeline.evaluate.benchmark.readers import world_pairs
from pipeline.evaluate.benchmark.readers.world_pairs import (
    NEAR_PX,
    RELATIONS,
    SideMask,
    read_pair_set,
    read_pairs,
    sides_of,
)
from pipeline.evaluate.benchmark.readers.world_tiles import MIN_TARGET_PX
from pipeline.world.landscape import World
from pipeline.world.render import render


@pytest.fixture(scope="module")
def pairs() -> Benchmark:
    return read_pairs(11, size_px=1024)


def test_every_pair_has_two_sides_that_exclude_each_other(pairs: Benchmark) -> None:
    by_pair: dict[str, dict[str, SideMask]] = {}
    for image in pairs.images:
        for target in image.targets:
            assert isinstance(target.mask, SideMask)
            by_pair.setdefault(target.strata["pair"], {})[target.strata["side"]] = target.mask
            assert f" {target.strata['side']} " in target.wordings[0].text
    assert by_pair
    for sides in by_pair.values():
        masks = [sides[side].read() for side in ("with", "without")]
        assert not (masks[0] & masks[1]).any()
        assert min(int(mask.sum()) for mask in masks) >= MIN_TARGET_PX


def test_sides_by_the_distance_of_every_pixel(pairs: Benchmark) -> None:
    """The least distance between the pixels of an object and those of another one, by a tree of points."""
    mask = pairs.images[0].targets[0].mask
    assert isinstance(mask, SideMask)
    drawn = render(World.from_seed(mask.seed), mask.window)
    first, second, _, _ = RELATIONS[mask.relation]
    expected = {"with": np.zeros(drawn.labels.shape, bool), "without": np.zeros(drawn.labels.shape, bool)}
    pixels = {n: np.argwhere(drawn.labels == n) for n in range(1, len(drawn.objects) + 1)}
    for number, item in enumerate(drawn.objects, start=1):
        if item.class_name != first or not len(pixels[number]):
            continue
        others = [
            pixels[n]
            for n, other in enumerate(drawn.objects, start=1)
            if other.class_name == second and n != number and len(pixels[n])
        ]
        tree = cKDTree(pixels[number])
        near = any(float(tree.query(other)[0].min()) <= NEAR_PX for other in others)
        expected["with" if near else "without"] |= drawn.labels == number
    found = sides_of(drawn, mask.relation)
    assert np.array_equal(found["with"], expected["with"])
    assert np.array_equal(found["without"], expected["without"])


def test_both_queries_of_a_pair_are_asked(pairs: Benchmark) -> None:
    samples = [sample for image in choose_samples(pairs, "first") for sample in image.samples]
    assert len(samples) == 2 * len({sample.strata["pair"] for sample in samples})


def test_the_set_has_so_many_pairs_of_several_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller set, by the same rule: the last tile gives only the pairs that are still wanted."""
    monkeypatch.setattr(world_pairs, "SET_PAIRS", 6)
    monkeypatch.setattr(world_pairs, "SET_WORLDS", (14, 11))
    monkeypatch.setattr(world_pairs, "SET_SIZE", 1024)
    found = read_pair_set()
    samples = [sample for image in choose_samples(found, "first") for sample in image.samples]
    assert Counter(sample.strata["side"] for sample in samples) == {"with": 6, "without": 6}
    assert len({sample.strata["pair"] for sample in samples}) == 6
    assert len({sample.sample_id for sample in samples}) == 12
    assert {image.image_id[:4] for image in found.images} == {"w014", "w011"}
    seeds = {
        target.mask.seed for i in found.images for target in i.targets if isinstance(target.mask, SideMask)
    }
    assert seeds == {14, 11}
    monkeypatch.setattr(world_pairs, "MORE_WORLDS", ())
    monkeypatch.setattr(world_pairs, "SET_PAIRS", 1000)
    with pytest.raises(InputError, match="must hold 1000 pairs"):
        read_pair_set()


def test_a_world_without_a_tile_is_refused() -> None:
    with pytest.raises(InputError, match="one tile of the preset"):
        read_pairs(11, size_px=100)
    with pytest.raises(InputError, match="world-pairs:32:8192"):
        read_pairs(32, size_px=512)
