"""Two dates of a world: what each object became, by its key, from drawn pixels alone."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.schema.tiling import Window
from pipeline.world.edits import GROWTH, WAY, Edits
from pipeline.world.landscape import World
from pipeline.world.render import Rendering, render

WINDOW = Window(row0=3000, col0=3000, row1=4024, col1=4024)


def drawn(date: Literal[1, 2], share: float, window: Window = WINDOW) -> Rendering:
    return render(World.from_seed(0, edits=Edits(date=date, share=share)), window)


def pixels_by_key(rendering: Rendering) -> dict[int, int]:
    count = np.bincount(rendering.labels.ravel(), minlength=len(rendering.objects) + 1)
    return {thing.key: int(count[at]) for at, thing in enumerate(rendering.objects, start=1)}


def test_without_a_share_both_dates_are_the_world_itself() -> None:
    plain = render(World.from_seed(0), WINDOW)
    for date in (1, 2):
        same = drawn(date, 0.0)
        np.testing.assert_array_equal(same.rgb, plain.rgb)
        np.testing.assert_array_equal(same.labels, plain.labels)


def test_objects_come_go_grow_and_move() -> None:
    first, second = drawn(1, 1.0), drawn(2, 1.0)
    before, after = pixels_by_key(first), pixels_by_key(second)
    everything = pixels_by_key(render(World.from_seed(0), WINDOW))
    assert set(before) | set(after) <= set(everything)
    assert set(before) - set(after)
    assert set(after) - set(before)
    ratios = sorted(after[key] / before[key] for key in set(before) & set(after))
    grown = [ratio for ratio in ratios if abs(ratio - GROWTH**2) < 0.1]
    alike = [ratio for ratio in ratios if abs(ratio - 1) < 0.1]
    assert len(grown) >= 3
    assert len(alike) >= 3


def test_a_moved_object_stands_so_far_away() -> None:
    """Middles of objects that kept their size, against the shorter side of their upright box."""
    first, second = drawn(1, 1.0), drawn(2, 1.0)
    before, after = pixels_by_key(first), pixels_by_key(second)
    ways = []
    for at, thing in enumerate(first.objects, start=1):
        if abs(after.get(thing.key, 0) / before[thing.key] - 1) > 0.02 or "field" in thing.class_name:
            continue
        there = [q.key for q in second.objects].index(thing.key) + 1
        places = [np.argwhere(first.labels == at), np.argwhere(second.labels == there)]
        if any((p.min(axis=0) == 0).any() or (p.max(axis=0) == 1023).any() for p in places):
            continue
        way = np.linalg.norm(places[1].mean(axis=0) - places[0].mean(axis=0))
        ways.append((way, np.sqrt(before[thing.key])))
    assert len(ways) >= 3
    moved = [(way, side) for way, side in ways if way > 0.5]
    assert moved
    assert all(way <= WAY * side * 1.4 for way, side in moved), "an L fills less than its box"
    assert max(way / side for way, side in moved) > WAY / 3


@pytest.mark.parametrize("date", [1, 2])
def test_windows_of_one_date_agree_where_they_overlap(date: Literal[1, 2]) -> None:
    whole = drawn(date, 0.8)
    part = drawn(date, 0.8, Window(row0=3111, col0=3207, row1=3400, col1=3700))
    np.testing.assert_array_equal(part.rgb, whole.rgb[111:400, 207:700])
    np.testing.assert_array_equal(part.labels > 0, whole.labels[111:400, 207:700] > 0)


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        Edits(date=1, share=1.2)
