"""Lists of scenes, against plain lists of the same scenes."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.grid.scene_list import SceneColumns, SceneList
from pipeline.schema.imagery import Scene

MakeScene = Callable[..., Scene]


class CountingMaker:
    """Makes scenes when they are asked for, and counts."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.known = scenes
        self.made = 0

    def scenes(self, places: NDArray[np.int64]) -> list[Scene]:
        self.made += len(places)
        return [replace(self.known[place]) for place in places.tolist()]

    def datetimes(self, places: NDArray[np.int64]) -> list[str | None]:
        return [self.known[place].datetime for place in places.tolist()]

    def cloud_covers(self, places: NDArray[np.int64]) -> list[float | None]:
        return [self.known[place].cloud_cover for place in places.tolist()]


def drawn(make_scene: MakeScene, stem: str, number: int) -> list[Scene]:
    return [
        replace(
            make_scene(f"{stem}{n}", transform=(0.5, 0.0, float(n), 0.0, -0.5, 7.0), width=n + 1),
            datetime=f"2024-01-{n + 1:02}T00:00:00Z" if n % 2 else None,
            cloud_cover=float(n) if n % 3 else None,
            failure="gone" if n % 4 == 1 else "",
        )
        for n in range(number)
    ]


def listed(scenes: Sequence[Scene]) -> tuple[SceneList, CountingMaker]:
    maker = CountingMaker(scenes)
    return SceneList.from_maker(SceneColumns.of(scenes), maker), maker


@given(data=st.data(), one=st.integers(0, 9), other=st.integers(1, 9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_whatever_is_done_to_a_list_is_what_is_done_to_its_scenes(
    make_scene: MakeScene, data: st.DataObject, one: int, other: int
) -> None:
    plain = [*drawn(make_scene, "a", one), *drawn(make_scene, "b", other)]
    scenes = SceneList.joined([SceneList.of(plain[:one]), listed(plain[one:])[0]])
    for _ in range(3):
        numbers = data.draw(st.lists(st.integers(0, len(plain) - 1), min_size=1, unique=True))
        at = data.draw(st.integers(0, len(numbers) - 1))
        plain = [plain[number] for number in numbers]
        scenes = scenes.take(numbers)
        if data.draw(st.booleans()):
            plain[at] = replace(plain[at], width=99, crs_wkt=None, failure="moved")
            scenes = scenes.replaced({at: plain[at]})
        else:
            plain[at] = replace(plain[at], scene_id=f"{plain[at].scene_id}-again")
            scenes = scenes.renamed({at: plain[at].scene_id})
    assert list(scenes) == plain
    assert scenes == tuple(plain)
    assert [scenes[number] for number in range(-1, len(plain))] == [plain[-1], *plain]
    assert list(scenes[1:]) == plain[1:]
    assert scenes.ids == [scene.scene_id for scene in plain]
    assert scenes.datetimes() == [scene.datetime for scene in plain]
    assert scenes.cloud_covers() == [scene.cloud_cover for scene in plain]
    wanted = SceneColumns.of(plain)
    for name in SceneColumns.__slots__:
        assert getattr(scenes.columns, name).tolist() == getattr(wanted, name).tolist()


def test_a_scene_is_made_when_somebody_asks_for_it(make_scene: MakeScene) -> None:
    scenes, maker = listed(drawn(make_scene, "a", 9))
    few = scenes.take(~scenes.columns.failed).take([4, 1])
    assert maker.made == 0
    assert [scene.scene_id for scene in few] == ["a6", "a2"]
    assert maker.made == 2
    with pytest.raises(IndexError):
        few[2]


def test_objects_stay_themselves_and_makers_that_are_not_needed_go(make_scene: MakeScene) -> None:
    plain = drawn(make_scene, "a", 3)
    own = SceneList.of(plain)
    assert SceneList.of(own) is own
    assert own[1] is plain[1]
    assert pickle.loads(pickle.dumps(own)) == own
    lazy, maker = listed(plain)
    opened = lazy.replaced(dict(enumerate(plain)))
    assert maker not in opened.makers
    assert opened[2] is plain[2]
    assert list(SceneList.joined([])) == []
