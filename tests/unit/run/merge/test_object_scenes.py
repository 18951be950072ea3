"""Scenes under objects, against counting pixel by pixel."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.run.merge.object_scenes import ObjectScenes, from_arrow, scenes_under, united
from pipeline.schema.imagery import ScenePixels


def lists_of(scenes: ObjectScenes) -> list[list[int]]:
    return [scenes.scene[i:j].tolist() for i, j in zip(scenes.start[:-1], scenes.start[1:], strict=True)]


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_scenes_of_an_object_are_those_of_its_pixels(seed: int, n_scenes: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 6, (9, 7)).astype(np.int32)
    scenes = ScenePixels(
        numbers=tuple(sorted(rng.choice(40, n_scenes, replace=False).tolist())),
        image=rng.integers(0, n_scenes + 1, (9, 7)).astype(np.uint16),
    )
    number = np.unique(image[image > 0]).astype(np.int64)
    assert scenes.image is not None
    want = [
        sorted({scenes.numbers[k - 1] for k in scenes.image[image == object_number].tolist() if k})
        for object_number in number
    ]
    found = scenes_under(image, number, scenes)
    assert lists_of(found) == want
    rows = rng.permutation(number.size)
    assert lists_of(found.take(rows)) == [want[row] for row in rows]
    assert lists_of(from_arrow(found.to_arrow())) == want


def test_one_scene_gives_itself_and_none_gives_nothing() -> None:
    image = np.array([[0, 1], [2, 2]], dtype=np.int32)
    number = np.array([1, 2])
    assert lists_of(scenes_under(image, number, ScenePixels(numbers=(7,)))) == [[7], [7]]
    assert lists_of(scenes_under(image, number, ScenePixels())) == [[], []]
    assert lists_of(scenes_under(image, number[:0], ScenePixels(numbers=(7,)))) == []


def test_pieces_of_an_object_join_their_scenes() -> None:
    pieces = from_arrow(pa.array([[3], [1, 3], None, [], [0]], type=pa.list_(pa.int64())))
    joined = united(pieces, np.array([1, 1, 0, 2, 1]), 4)
    assert lists_of(joined) == [[], [0, 1, 3], [], []]
