"""Training windows: reproducible, resumable, never of a held-out world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError, RecordError
from pipeline.finetune.segmenter import training_windows
from pipeline.finetune.segmenter.training_windows import (
    FIRST_TRAINING_SEED,
    PoolOptions,
    WindowPool,
    draw_window,
    start_renderers,
)

SMALL = PoolOptions(n_windows=3, tile_px=64, seed=4)


def test_windows_depend_on_seed_and_index_alone() -> None:
    rgb, labels = draw_window(SMALL, 1)
    again, labels_again = draw_window(SMALL, 1)
    assert np.array_equal(rgb, again)
    assert np.array_equal(labels, labels_again)
    assert rgb.shape == (64, 64, 3)
    present = np.unique(labels)
    assert np.array_equal(present[present > 0], np.arange(1, present.max() + 1))
    assert not np.array_equal(rgb, draw_window(SMALL, 2)[0])


def test_only_training_worlds_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    world = training_windows.World

    class Spy:
        @staticmethod
        def from_seed(seed: int, *, scale: float) -> object:
            seeds.append(seed)
            assert 0.25 <= scale <= 3.0
            return world.from_seed(seed, scale=scale)

    monkeypatch.setattr(training_windows, "World", Spy)
    for index in range(8):
        draw_window(SMALL, index)
    assert min(seeds) >= FIRST_TRAINING_SEED
    assert max(seeds) < 200_000
    assert len(set(seeds)) == 8


def test_the_sensor_changes_pixels_and_no_label() -> None:
    changed = 0
    for index in range(12):
        rgb, labels = draw_window(SMALL, index)
        bare, labels_bare = draw_window(replace(SMALL, sensor=False), index)
        assert np.array_equal(labels, labels_bare)
        changed += not np.array_equal(rgb, bare)
    assert 4 <= changed < 12  # about a third is left clean


def test_narrow_objects_become_background() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[0:6, 0:6] = 3
    labels[10:20, 0:5] = 4  # 5 px wide
    labels[8:10, 12:14] = 7
    expected = np.where(labels == 3, 3, 0)
    assert np.array_equal(training_windows.without_narrow(labels), expected)
    assert not training_windows.without_narrow(np.zeros((8, 8), np.int32)).any()


def test_distant_views_hold_no_narrow_object() -> None:
    options = PoolOptions(n_windows=4, tile_px=128, seed=2, min_scale=0.25, max_scale=0.3)
    seen = 0
    for index in range(4):
        _, labels = draw_window(options, index)
        for label in range(1, int(labels.max()) + 1):
            rows, cols = np.nonzero(labels == label)
            assert min(np.ptp(rows), np.ptp(cols)) + 1 >= 6
            seen += 1
    assert seen > 10


def test_pool_resumes_and_refuses_other_options(tmp_path: Path) -> None:
    pool = WindowPool(tmp_path, SMALL)
    pool.fill(worker=0, n_workers=2)
    assert pool.ready.tolist() == [1, 0, 1]
    pool.rgb[0] = 9  # a finished window is not rendered again
    WindowPool(tmp_path, SMALL).fill()
    resumed = WindowPool(tmp_path, SMALL)
    assert resumed.ready.all()
    assert (resumed.rgb[0] == 9).all()
    assert np.array_equal(resumed.rgb[1], draw_window(SMALL, 1)[0])
    with pytest.raises(InputError, match="other options"):
        WindowPool(tmp_path, PoolOptions(n_windows=3, tile_px=64, seed=5))


def test_waiting_ends_when_the_renderers_are_gone(tmp_path: Path) -> None:
    pool = WindowPool(tmp_path, SMALL)
    with pytest.raises(RecordError, match="0 of 2"):
        pool.wait_for(2, [])
    renderers = start_renderers(tmp_path, SMALL, 1)
    pool.wait_for(3, renderers)
    assert pool.ready.all()
    for process in renderers:
        process.join(10)
