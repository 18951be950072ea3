"""The figures of the cloud benchmark, by hand, and its scenes from a chip that is made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from benchmarks.cloud_masks import (
    BANDS,
    chip_scene,
    figures_of,
    given_up,
    tiles_per_cpu_s,
    write_scene,
)


def test_figures_by_hand() -> None:
    hidden = np.array([[True, True, False, False]])
    truth = np.array([[True, False, True, False]])
    told = figures_of(hidden, truth)
    assert (told.recall, told.precision, told.agreement) == (0.5, 0.5, 0.5)
    nothing = figures_of(np.zeros((2, 2), bool), np.zeros((2, 2), bool))
    assert (nothing.recall, nothing.precision, nothing.agreement) == (0.0, 0.0, 1.0)


def test_what_a_limit_gives_up_by_hand() -> None:
    hidden = np.zeros((128, 128), bool)
    hidden[:64, :48] = True  # three quarters of the first square
    assert given_up(hidden, 0.7) == (0.25, 0.25 / 3.25)
    assert given_up(hidden, 0.8) == (0.0, 0.0)


def test_a_chip_becomes_six_files_of_reflectance(tmp_path: Path) -> None:
    image = np.linspace(-0.05, 1.2, 6 * 16 * 16, dtype=np.float32).reshape(16, 16, 6)
    mask = np.arange(256).reshape(16, 16, 1) % 5
    np.savez(tmp_path / "chip.npz", img=image, msk=mask)
    scene, truth = chip_scene(tmp_path, tmp_path / "chip.npz")
    assert (truth == ((mask[..., 0] == 0) | (mask[..., 0] == 4))).all()
    assert scene.quality is not None
    assert scene.quality.reflectance is not None
    for number, file in enumerate(scene.quality.bands):
        assert BANDS[number] in file.href
        with rasterio.open(file.href) as dataset:
            stored = dataset.read(1)
        own = stored * scene.quality.reflectance.scale + scene.quality.reflectance.offset
        np.testing.assert_allclose(own, image[..., number], atol=1e-4)


def test_a_scene_is_read_with_and_without_its_mask(tmp_path: Path) -> None:
    scene = write_scene(tmp_path, 256)
    with rasterio.open(scene) as dataset, rasterio.open(tmp_path / "scene_SCL.tif") as mask:
        assert dataset.bounds == mask.bounds
        assert (dataset.shape, mask.shape) == ((256, 256), (128, 128))
    assert tiles_per_cpu_s(scene, None, None) > 0
    assert tiles_per_cpu_s(scene, "{stem}_SCL.tif", None) > 0
