"""Which bands of a user's raster a mask is computed from, and what it needs to know of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from pipeline.errors import InputError
from pipeline.grid.own_bands import six_bands, with_computed_masks
from pipeline.grid.radiometry import parse_radiometry
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.schema.imagery import Scene

NAMES = ("red", "green", "blue", "swir22", "nir", "swir16", "qa")


def scene_of(
    path: Path, names: tuple[str, ...] = NAMES, *, radiometry: str = "auto", mask: str | None = None
) -> Scene:
    profile = {"driver": "GTiff", "count": len(names), "height": 8, "width": 8, "dtype": "uint16"}
    transform = from_origin(500_000, 5_500_000, 30, 30)
    with rasterio.open(path, "w", crs="EPSG:32633", transform=transform, **profile) as dataset:
        dataset.write(np.ones((len(names), 8, 8), "uint16"))
        for number, name in enumerate(names, start=1):
            dataset.set_band_description(number, name)
    options = SourceOptions(hrefs=(str(path),), radiometry=parse_radiometry(radiometry), mask=mask)
    (scene,) = open_scenes(options)
    return scene


def test_six_bands_of_one_file_in_the_networks_order(tmp_path: Path) -> None:
    scene = scene_of(tmp_path / "a.tif", radiometry="0.0001,-0.1", mask="csmask:l1c")
    quality = scene.quality
    assert quality is not None
    assert [file.band for file in quality.bands] == [3, 2, 1, 5, 6, 4]
    assert {file.href for file in quality.bands} == {scene.href}
    assert all(file.identity == scene.identity for file in quality.bands)
    assert quality.model == "csmask-l1c"
    assert quality.reflectance is not None
    assert (quality.reflectance.scale, quality.reflectance.offset) == (0.0001, -0.1)
    assert scene_of(tmp_path / "a.tif", radiometry="0.0001,0").quality is None
    (surface,) = with_computed_masks([scene], None)
    assert surface.quality is not None
    assert surface.quality.model == "csmask-l2a"


def test_each_of_the_six_may_have_tags_of_its_own(tmp_path: Path) -> None:
    scene_of(tmp_path / "a.tif")
    scales = tuple(1e-4 * (1 + number / 10) for number in range(7))
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.scales = scales
    (scene,) = open_scenes(SourceOptions(hrefs=(str(tmp_path / "a.tif"),), mask="csmask"))
    assert scene.reflectance is not None
    assert scene.reflectance.by_band == tuple((scale, 0.0) for scale in scales[:3])
    assert scene.quality is not None
    assert scene.quality.reflectance is not None
    wanted = tuple((scales[band - 1], 0.0) for band in (3, 2, 1, 5, 6, 4))
    assert scene.quality.reflectance.by_band == wanted


@pytest.mark.parametrize(
    ("names", "want"),
    [
        (("B02", "B03", "B04", "B08", "B11", "B12"), [1, 2, 3, 4, 5, 6]),
        (("B12 - SWIR 2", "B8A, nir08", "Blue", "Green", "Red", "swir 1"), [3, 4, 5, 2, 6, 1]),
        (("coastal blue", "blue", "green", "red edge", "red", "nir", "swir16", "swir22"), [2, 3, 5, 6, 7, 8]),
        (("coast", "blue", "green", "red", "nir08", "SWIR_1", "swir-2"), [2, 3, 4, 5, 6, 7]),
        (("blue", None, "red", "nir", "", "b5"), [1, None, 3, 4, None, None]),
    ],
)
def test_names_of_bands(names: tuple[str | None, ...], want: list[int | None]) -> None:
    assert list(six_bands(names).values()) == want


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no near infrared, .*--mask-file"):
        scene_of(tmp_path / "a.tif", ("red", "green", "blue"), radiometry="0.0001,0", mask="csmask")
    with pytest.raises(InputError, match=r"needs reflectance.*--radiometry"):
        scene_of(tmp_path / "b.tif", mask="csmask")
