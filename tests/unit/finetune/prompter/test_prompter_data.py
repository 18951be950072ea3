"""Turning a tile's truth must give what measuring the turned tile gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.finetune.prompter import prompter_data as data
from pipeline.finetune.prompter import samples

BOX = st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(9, 80), st.integers(9, 80))


def drawn(boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    labels = np.zeros((252, 252), np.int32)
    for number, (x, y, width, height) in enumerate(boxes, 1):
        labels[y : y + height, x : x + width] = number
    return labels


@settings(max_examples=60, deadline=None)
@given(st.lists(BOX, max_size=5), st.integers(0, 7))
def test_turned_truth_is_the_truth_of_the_turned_tile(
    boxes: list[tuple[int, int, int, int]], symmetry: int
) -> None:
    labels = drawn(boxes)
    kinds = {number: number % 3 for number in range(1, 6)}
    turned = data.turn_truth(samples.describe_tile(labels, kinds, n_classes=3), symmetry)
    measured = samples.describe_tile(data.turn_image(labels, symmetry), kinds, n_classes=3)  # type: ignore[arg-type]
    assert np.allclose(turned.coverage, measured.coverage)
    pairs = sorted(map(tuple, np.c_[turned.class_ids, turned.boxes_xyxy].tolist()))
    assert pairs == sorted(map(tuple, np.c_[measured.class_ids, measured.boxes_xyxy].tolist()))
    assert (np.diff(samples.cell_of(turned.points_xy)) >= 0).all()
    owned = turned.owner >= 0
    assert (owned == (measured.owner >= 0)).all()


def small_tile(index: int) -> data.DrawnTile:
    labels = drawn([(20 + index % 50, 30, 40, 40)])
    rgb = np.full((252, 252, 3), 90, np.uint8)
    rgb[labels > 0] = (200, 30, 30)
    return data.DrawnTile(rgb=rgb, labels=labels, class_of={1: 0})


def draw(chunk: int) -> list[data.DrawnTile]:
    return [small_tile(chunk * data.CHUNK + index) for index in range(data.CHUNK)]


def test_a_store_keeps_what_was_rendered_and_renders_only_what_is_missing(tmp_path: Path) -> None:
    data.render_store(tmp_path, draw, n_tiles=data.CHUNK, n_classes=2)
    calls: list[int] = []

    def counted(chunk: int) -> list[data.DrawnTile]:
        calls.append(chunk)
        return draw(chunk)

    data.render_store(tmp_path, counted, n_tiles=2 * data.CHUNK, n_classes=2)
    assert calls == [1]
    store = data.TileStore(tmp_path)
    assert len(store) == 2 * data.CHUNK
    assert store.truth(5).boxes_xyxy.tolist() == [[25, 30, 65, 70]]
    assert store.rgb(5)[50, 40].tolist() == [200, 30, 30]
    one = data.batch_of(store, seed=1, step=3, size=4, n_tiles=len(store))
    two = data.batch_of(store, seed=1, step=3, size=4, n_tiles=len(store))
    assert (one.rgb == two.rgb).all()
    for image, truth in zip(one.rgb, one.truths, strict=True):
        x, y = truth.points_xy[0].astype(int)
        assert int(image[y, x, 0]) > int(image[y, x, 1]) + 60


def test_an_empty_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rendered tiles"):
        data.TileStore(tmp_path)
