"""The renderer. Golden windows: regenerate with `python tests/unit/world/test_render.py` after an intended
change of look.

A changed golden means that models trained on the former look no longer fit: the embedded checkpoints must be
retrained.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.schema.tiling import Window
from pipeline.world.classes import CLASSES
from pipeline.world.landscape import World
from pipeline.world.render import Rendering, render
from pipeline.world.style import SUN_X, SUN_Y

GOLDEN = Path(__file__).parents[2] / "golden" / "world"
WINDOWS = {
    "village": (World.from_seed(29, scale=0.6), Window(row0=220, col0=140, row1=380, col1=300)),
    "fields": (World.from_seed(11), Window(row0=60, col0=220, row1=188, col1=348)),
    "panels": (World.from_seed(8), Window(row0=-20, col0=300, row1=108, col1=428)),
    "airfield": (World.from_seed(7), Window(row0=1860, col0=330, row1=1988, col1=458)),
    "lake": (World.from_seed(7), Window(row0=1590, col0=150, row1=1718, col1=278)),
}


def keys_of(drawn: Rendering) -> np.ndarray:
    """(H, W) of global object keys, 0 = background."""
    return np.array([0, *(o.key for o in drawn.objects)], np.int64)[drawn.labels]


def classes_of(drawn: Rendering) -> np.ndarray:
    """(H, W) of class names, "" = background."""
    return np.array(["", *(o.class_name for o in drawn.objects)])[drawn.labels]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_windows_agree_where_they_overlap(data: st.DataObject) -> None:
    world = World.from_seed(
        data.draw(st.integers(0, 2**40)), scale=data.draw(st.sampled_from([1.0, 1.0, 0.6, 1.31, 1.8]))
    )
    row = data.draw(st.integers(-100_000, 100_000))
    col = data.draw(st.integers(-100_000, 100_000))
    whole = Window(row0=row, col0=col, row1=row + 260, col1=col + 230)
    r = data.draw(st.integers(0, 250))
    c = data.draw(st.integers(0, 220))
    height = data.draw(st.integers(1, 300))
    width = data.draw(st.integers(1, 300))
    other = Window(row0=row + r, col0=col + c, row1=row + r + height, col1=col + c + width)
    a = render(world, whole)
    b = render(world, other)
    common = whole.intersect(other)
    assert common is not None
    np.testing.assert_array_equal(a.rgb[common.slices_in(whole)], b.rgb[common.slices_in(other)])
    np.testing.assert_array_equal(keys_of(a)[common.slices_in(whole)], keys_of(b)[common.slices_in(other)])
    np.testing.assert_array_equal(
        classes_of(a)[common.slices_in(whole)], classes_of(b)[common.slices_in(other)]
    )


@pytest.fixture(scope="module")
def views() -> list[tuple[World, Rendering]]:
    """One window of 500 x 500 from each of 60 worlds, each at another place of the lattices."""
    drawn = []
    for seed in range(60):
        world = World.from_seed(seed)
        row = 617 * seed
        col = -1009 * seed
        drawn.append((world, render(world, Window(row0=row, col0=col, row1=row + 500, col1=col + 500))))
    return drawn


def test_shapes_types_and_objects(views: list[tuple[World, Rendering]]) -> None:
    for world, drawn in views:
        assert drawn.rgb.shape == (500, 500, 3)
        assert drawn.rgb.dtype == np.uint8
        assert drawn.labels.dtype == np.int32
        assert set(np.unique(drawn.labels)) - {0} == set(range(1, len(drawn.objects) + 1))
        keys = [o.key for o in drawn.objects]
        assert len(set(keys)) == len(keys)
        assert all(0 < key < 2**63 for key in keys)
        assert not {o.class_name for o in drawn.objects} & world.absent


def test_all_classes_occur_and_most_windows_are_sparse(views: list[tuple[World, Rendering]]) -> None:
    held = [{o.class_name for o in drawn.objects} for _, drawn in views]
    assert set().union(*held) == set(CLASSES)
    for name in CLASSES:
        assert 0.02 < sum(name in h for h in held) / len(held) < 0.75
    assert any(not h for h in held)


def test_some_objects_touch_a_neighbour_of_their_class(views: list[tuple[World, Rendering]]) -> None:
    touching = set()
    for _, drawn in views:
        keys = keys_of(drawn)
        names = classes_of(drawn)
        side = (keys[:, 1:] != keys[:, :-1]) & (names[:, 1:] == names[:, :-1]) & (names[:, 1:] != "")
        touching |= set(names[:, 1:][side])
    assert {"building", "green_field"} <= touching or {"building", "ripe_field"} <= touching


def test_some_objects_are_far_larger_than_a_tile() -> None:
    longest: dict[str, int] = {}
    for seed in (7, 11, 2):
        drawn = render(World.from_seed(seed), Window(row0=0, col0=0, row1=2048, col1=2048))
        for item, (rows, cols) in zip(drawn.objects, ndimage.find_objects(drawn.labels), strict=True):
            size = max(rows.stop - rows.start, cols.stop - cols.start)
            longest[item.class_name] = max(longest.get(item.class_name, 0), size)
    assert longest["runway"] > 3 * 256
    assert max(longest.get("ripe_field", 0), longest.get("green_field", 0)) > 256
    assert longest["pool"] < 64


def test_objects_are_thick_enough(views: list[tuple[World, Rendering]]) -> None:
    """Whole objects (away from the window's edge) of the compact classes: area and extent as promised at
    scale 1.
    """
    least = {"pool": 13, "storage_tank": 17, "building": 18, "greenhouse": 22, "solar_array": 38}
    checked = 0
    for _, drawn in views:
        for k, item in enumerate(drawn.objects, start=1):
            rows, cols = np.nonzero(drawn.labels == k)
            inside = rows.min() > 0 and cols.min() > 0 and rows.max() < 499 and cols.max() < 499
            if item.class_name in least and inside:
                assert max(np.ptp(rows), np.ptp(cols)) + 1 >= least[item.class_name], (item, rows.size)
                assert rows.size >= 120
                checked += 1
    assert checked > 50


def test_scale_multiplies_sizes() -> None:
    """At scale 2 the land of rows 2r, 2r + 1 is the land of row r at scale 1: labels agree away from
    outlines.
    """
    one = render(World.from_seed(5), Window(row0=100, col0=25100, row1=400, col1=25400))
    two = render(World.from_seed(5, scale=2.0), Window(row0=200, col0=50200, row1=800, col1=50800))
    assert len(one.objects) > 3
    agree = classes_of(two)[::2, ::2] == classes_of(one)
    assert agree.mean() > 0.985


def test_shadows_fall_away_from_the_sun(views: list[tuple[World, Rendering]]) -> None:
    """Ground next to tanks is darker on the far side of the sun than on the near side."""
    darker = []
    for world, drawn in views:
        numbers = world.style.numbers
        grey = drawn.rgb.mean(axis=2)
        for k, item in enumerate(drawn.objects, start=1):
            if item.class_name != "storage_tank":
                continue
            rows, cols = np.nonzero(drawn.labels == k)
            reach = 0.5 * np.ptp(cols) + 3
            values = []
            for sign in (1, -1):
                r = int(rows.mean() + sign * reach * numbers[SUN_Y])
                c = int(cols.mean() + sign * reach * numbers[SUN_X])
                if not (0 <= r < 500 and 0 <= c < 500) or drawn.labels[r, c]:
                    break
                values.append(grey[r, c])
            if len(values) == 2:
                darker.append(values[1] < values[0])
    assert len(darker) > 15
    assert np.mean(darker) > 0.7


def test_empty_window() -> None:
    drawn = render(World.from_seed(1), Window(row0=5, col0=5, row1=5, col1=9))
    assert drawn.rgb.shape == (0, 4, 3)
    assert drawn.objects == ()


def test_an_absent_class_leaves_the_rest_of_the_land_in_place() -> None:
    window = Window(row0=150, col0=100, row1=450, col1=400)
    full = render(World(seed=29, scale=0.6), window)
    without = render(World(seed=29, scale=0.6, absent=frozenset({"building"})), window)
    assert len(without.objects) > 2
    assert "building" in {o.class_name for o in full.objects}
    assert {o for o in full.objects if o.class_name != "building"} == set(without.objects)


@pytest.mark.parametrize("name", WINDOWS)
def test_golden_windows(name: str) -> None:
    drawn = render(*WINDOWS[name])
    stored = np.load(GOLDEN / f"{name}.npz")
    np.testing.assert_array_equal(drawn.labels, stored["labels"])
    assert [o.key for o in drawn.objects] == stored["keys"].tolist()
    assert [o.class_name for o in drawn.objects] == stored["classes"].tolist()
    np.testing.assert_array_equal(drawn.rgb, stored["rgb"])


def regenerate() -> None:
    """Write the golden windows anew."""
    for name, (world, window) in WINDOWS.items():
        drawn = render(world, window)
        keys = np.array([o.key for o in drawn.objects], np.int64)
        names = np.array([o.class_name for o in drawn.objects])
        np.savez_compressed(
            GOLDEN / f"{name}.npz", rgb=drawn.rgb, labels=drawn.labels, keys=keys, classes=names
        )
        print(name, sorted(set(names.tolist())))


if __name__ == "__main__":
    regenerate()
