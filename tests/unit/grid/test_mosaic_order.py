"""Which scene wins. Oracle: the definition of each order, over all pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.grid.mosaic_order import MosaicOrder, mosaic_order, ordered
from pipeline.schema.imagery import Scene

MakeScene = Callable[..., Scene]
TIMES = st.none() | st.sampled_from(
    ["2024-01-01T00:00:00Z", "2024-06-01T10:00:00.5Z", "2019-12-31T23:59:59Z"]
)
CLOUDS = st.none() | st.sampled_from([0.0, 12.5, 100.0])


@given(known=st.lists(st.tuples(TIMES, CLOUDS), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@pytest.mark.parametrize("text", ["newest", "oldest", "least-cloudy", "closest-to:2024-03-01"])
def test_the_better_one_comes_first(
    make_scene: MakeScene, text: str, known: list[tuple[str | None, float | None]]
) -> None:
    scenes = [
        replace(make_scene(f"s{number}"), datetime=time, cloud_cover=cloud)
        for number, (time, cloud) in enumerate(known)
    ]
    found = ordered(scenes, mosaic_order(text))
    assert sorted(scene.scene_id for scene in found) == sorted(scene.scene_id for scene in scenes)
    for one, other in pairwise(found):
        assert not better(other, one, text)
        if not better(one, other, text):
            assert scenes.index(one) < scenes.index(other), "equal scenes keep their order"


def better(one: Scene, other: Scene, text: str) -> bool:
    if text == "least-cloudy":
        a, b = one.cloud_cover, other.cloud_cover
        return a is not None and (b is None or a < b)
    if one.datetime is None or other.datetime is None:
        return one.datetime is not None and other.datetime is None
    a_time, b_time = datetime.fromisoformat(one.datetime), datetime.fromisoformat(other.datetime)
    if text == "newest":
        return a_time > b_time
    if text == "oldest":
        return a_time < b_time
    wanted = datetime.fromisoformat("2024-03-01T00:00:00Z")
    return abs(a_time - wanted) < abs(b_time - wanted)


def test_first_changes_nothing(make_scene: MakeScene) -> None:
    scenes = (make_scene("b"), make_scene("a"))
    assert ordered(scenes, mosaic_order("first")) == scenes
    assert str(MosaicOrder()) == "first"
    assert str(mosaic_order("closest-to:2024-03-01")) == "closest-to:2024-03-01T00:00:00Z"


@pytest.mark.parametrize("text", ["", "latest", "closest-to", "closest-to:", "closest-to:soon", "newest:1"])
def test_other_orders_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--mosaic must be first, newest.*closest-to:2024-06-01"):
        mosaic_order(text)
