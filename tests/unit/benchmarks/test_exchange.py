"""Files between the comparison and its methods: what is written is read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.seams.adapters.exchange import (
    Answer,
    Outputs,
    TileMasks,
    load_answer,
    load_masks,
    save_answer,
    save_masks,
)


def test_masks_come_back_as_they_were(tmp_path: Path, small_masks: TileMasks) -> None:
    save_masks(tmp_path / "masks.npz", small_masks)
    back = load_masks(tmp_path / "masks.npz")
    assert (back.shape, back.tile_px, back.halo_px, back.wkb) == (small_masks.shape, 4, 1, small_masks.wkb)
    for name in ("tile_rc", "read", "core", "tile", "local", "score", "box"):
        np.testing.assert_array_equal(getattr(back, name), getattr(small_masks, name))
    assert [labels.dtype for labels in back.labels] == [np.uint16, np.uint16]
    for labels, expected in zip(back.labels, small_masks.labels, strict=True):
        np.testing.assert_array_equal(labels, expected)


def test_the_first_tile_alone_keeps_the_grid(small_masks: TileMasks) -> None:
    first = small_masks.tiles_below(1)
    assert (first.shape, len(first.labels), first.wkb, first.score.tolist()) == ((4, 6), 2, (b"abc",), [0.5])
    np.testing.assert_array_equal(first.labels[0], small_masks.labels[0])
    assert not first.labels[1].any()
    assert small_masks.labels[1].any(), "the original is left alone"


@pytest.mark.parametrize(
    "outputs",
    [
        Outputs(wkb=(b"one", b"two")),
        Outputs(wkb=()),
        Outputs(raster=np.arange(6, dtype=np.uint64).reshape(2, 3)),
    ],
)
def test_answers_come_back_as_they_were(tmp_path: Path, outputs: Outputs) -> None:
    answer = Answer(
        outputs=outputs,
        cpu_s=(1.5, 2.0),
        wall_s=(3.0, 4.0),
        peak_bytes=2**40,
        versions={"numpy": "2", "sahi": "0.12"},
    )
    save_answer(tmp_path / "out.npz", answer)
    back = load_answer(tmp_path / "out.npz")
    assert (back.cpu_s, back.wall_s, back.peak_bytes, back.versions) == (
        (1.5, 2.0),
        (3.0, 4.0),
        2**40,
        answer.versions,
    )
    if outputs.raster is None:
        assert (back.outputs.raster, back.outputs.wkb) == (None, outputs.wkb)
    else:
        assert back.outputs.wkb is None
        np.testing.assert_array_equal(back.outputs.raster, outputs.raster, strict=True)
