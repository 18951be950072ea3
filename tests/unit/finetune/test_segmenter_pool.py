"""Training windows: reproducible, resumable, never of a held-out world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError, RecordError
from pipeline.finetune import segmenter_pool
from pipeline.finetune.segmenter_pool import FIRST_TRAINING_SEED, PoolOptions, WindowPool, draw_window, start_renderers

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
    world = segmenter_pool.World

    class Spy:
        @staticmethod
        def from_seed(seed: int, *, scale: float) -> object:
            seeds.append(seed)
            assert 0.6 <= scale <= 1.8
            return world.from_seed(seed, scale=scale)

    monkeypatch.setattr(segmenter_pool, "World", Spy)
    for index in range(8):
        draw_window(SMALL, index)
    assert min(seeds) >= FIRST_TRAINING_SEED
    assert max(seeds) < 200_000
    assert len(set(seeds)) == 8


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
