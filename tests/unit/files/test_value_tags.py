"""Scale, offset and unit tags: which are reflectance, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from pipeline.files.value_tags import is_reflectance, tagged_reflectance, unused_tags
from pipeline.schema.imagery import Reflectance


@pytest.mark.parametrize(
    ("scale", "offset", "unit", "yes"),
    [
        (1e-4, 0.0, "", True),  # Sentinel-2, PlanetScope
        (1e-4, -0.1, "", True),  # Sentinel-2 since baseline 04.00
        (2.75e-5, -0.2, "reflectance", True),  # Landsat Collection 2
        (2e-5, -0.1, "1", True),  # Landsat at the top of the atmosphere
        (1.0, 0.0, "", False),  # no tags
        (0.00341802, 149.0, "kelvin", False),  # Landsat surface temperature
        (0.01, 0.0, "W/m2/sr/um", False),  # PlanetScope radiance
        (1e-4, 0.0, "m", False),
        (0.1, 0.0, "", False),  # elevations in decimetres
        (0.001, 0.0, "", False),  # Sentinel-2's water vapour
        (-1e-4, 0.0, "", False),
        (0.0, 0.0, "", False),
        (float("nan"), 0.0, "", False),
        (1e-4, float("inf"), "", False),
        (1e-4, 1.0, "", False),
    ],
)
def test_what_looks_like_reflectance(scale: float, offset: float, unit: str, yes: bool) -> None:
    assert is_reflectance(scale, offset, unit) is yes


def tagged(path: Path, scales: Any, offsets: Any, units: Any = None, dtype: str = "uint16") -> Any:
    with rasterio.open(path, "w", driver="GTiff", width=4, height=4, count=3, dtype=dtype) as dataset:
        dataset.write(np.ones((3, 4, 4), dtype=dtype))
        dataset.scales, dataset.offsets = scales, offsets
        if units:
            dataset.units = units
    return rasterio.open(path)


def test_each_band_may_have_tags_of_its_own(tmp_path: Path) -> None:
    with tagged(tmp_path / "a.tif", (1e-4, 1e-4, 2e-4), (-0.1, -0.1, -0.1)) as dataset:
        own = Reflectance(scale=1e-4, offset=-0.1, source="the file's tags")
        assert tagged_reflectance(dataset, (1, 2, 1)) == own
        found = tagged_reflectance(dataset, (3, 2, 1))
        assert found is not None
        assert found.coefficients(3) == ((2e-4, -0.1), (1e-4, -0.1), (1e-4, -0.1))
        assert found.source == "the file's tags"
        assert unused_tags(dataset, (3, 2, 1), found) == ""
        assert unused_tags(dataset, (1, 2, 3), found) != ""  # the bands of others
        assert unused_tags(dataset, (1, 2, 1), own) == ""
        said = unused_tags(dataset, (1, 2, 3), None)
        assert "value * 0.0001 - 0.1 and value * 0.0002 - 0.1, which is not used" in said
        other = Reflectance(scale=1e-4, offset=0.0, source="the item")
        assert "value * 0.0001 - 0.1, which is not used" in unused_tags(dataset, (1, 2, 1), other)


def test_one_band_that_is_no_reflectance_spoils_all(tmp_path: Path) -> None:
    with tagged(tmp_path / "a.tif", (1e-4, 1e-4, 0.1), (0, 0, 0)) as dataset:
        assert tagged_reflectance(dataset, (1, 2, 3)) is None
        assert tagged_reflectance(dataset, (1, 2, 2)) is not None


def test_a_file_without_tags_says_nothing(tmp_path: Path) -> None:
    with tagged(tmp_path / "a.tif", (1, 1, 1), (0, 0, 0)) as dataset:
        assert tagged_reflectance(dataset, (1, 2, 3)) is None
        assert unused_tags(dataset, (1, 2, 3), None) == ""


def test_units_and_pictures_are_no_reflectance(tmp_path: Path) -> None:
    with tagged(tmp_path / "a.tif", (0.1,) * 3, (0,) * 3, units=("m", "m", "m")) as dataset:
        assert tagged_reflectance(dataset, (1, 2, 3)) is None
        assert "value * 0.1 + 0 m, which is not used; --radiometry SCALE,OFFSET" in unused_tags(
            dataset, (1, 2, 3), None
        )
    with tagged(tmp_path / "b.tif", (1e-4,) * 3, (0,) * 3, dtype="uint8") as dataset:
        assert tagged_reflectance(dataset, (1, 2, 3)) is None
