"""The seam world: what it promises about its objects, recounted."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.seams import world as worlds
from benchmarks.seams.world import SeamWorld, seam_world
from scipy import ndimage


@pytest.fixture(scope="module")
def world() -> SeamWorld:
    return seam_world(1792, 3)


def test_counts_of_kinds(world: SeamWorld) -> None:
    counts = {kind: world.kind.count(kind) for kind in worlds.KINDS}
    assert counts == {"huge": 1, "long": 2, "row house": 6 * 4, "medium": 23, "small": 96}
    assert world.n == int(world.labels.max()) == np.unique(world.labels).size - 1


def test_objects_are_whole_and_only_row_houses_touch(world: SeamWorld) -> None:
    kinds = np.array(["", *world.kind])
    touching = set()
    for thing, box in enumerate(ndimage.find_objects(world.labels), start=1):
        mask = world.labels[box] == thing
        assert ndimage.label(mask)[1] == 1
        np.testing.assert_array_equal(ndimage.binary_fill_holes(mask), mask)
    for a, b in ((world.labels[:, :-1], world.labels[:, 1:]), (world.labels[:-1], world.labels[1:])):
        both = (a != b) & (a > 0) & (b > 0)
        touching |= set(kinds[a[both]]) | set(kinds[b[both]])
    assert touching == {"row house"}


def test_sizes_are_those_of_the_kinds(world: SeamWorld) -> None:
    kinds = np.array(world.kind)
    boxes = ndimage.find_objects(world.labels)
    extent = np.array([max(box[0].stop - box[0].start, box[1].stop - box[1].start) for box in boxes])
    area = np.bincount(world.labels.ravel())[1:]
    assert extent[kinds == "small"].max() <= 40 * 2**0.5 + 2
    assert extent[kinds == "huge"].min() >= 0.6 * 700
    assert ((area[kinds == "long"] >= 900 * 7) & (area[kinds == "long"] <= 1800 * 20)).all()
    assert ((area[kinds == "row house"] >= 16 * 24) & (area[kinds == "row house"] <= 36 * 48)).all()


def test_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        worlds, "KINDS", {"row house": worlds.KINDS["row house"], "small": worlds.KINDS["small"]}
    )
    first = seam_world(700, 1)
    np.testing.assert_array_equal(first.labels, seam_world(700, 1).labels)
    assert (first.labels != seam_world(700, 2).labels).any()


def test_a_world_that_is_too_small_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "MAX_TRIES", 20)
    with pytest.raises(ValueError, match="too small"):
        seam_world(600, 1)
