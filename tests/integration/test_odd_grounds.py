"""Whole runs where footprint, areas or nodata are out of the ordinary: they end like any other."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import zarr
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin

from pipeline.write.run_json import read_run_json

SIDE = 160
TRUTH = np.zeros((SIDE, SIDE), dtype=np.int32)
TRUTH[75:85, 75:85] = 1
TRUTH[1:4, 1:4] = 2
LOCAL = 'LOCAL_CS["Site grid",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
GEOSTATIONARY = "+proj=geos +h=35786023 +lon_0=-75 +sweep=x +ellps=GRS80 +units=m"


def write(path: Path, bands: NDArray[Any], crs: str, transform: Affine, nodata: float | None = None) -> Path:
    if path.exists():  # the same file is the same scene
        return path
    count, height, width = bands.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=bands.dtype.name,
        crs=CRS.from_user_input(crs),
        transform=transform,
        nodata=nodata,
        **({"photometric": "RGB"} if count == 3 and bands.dtype == np.uint8 else {}),
    ) as dataset:
        dataset.write(bands)
    return path


@pytest.fixture
def segment(tmp_path: Path, run_job: Callable[..., int]) -> Callable[..., int]:
    """Run the oracle on a scene in a CRS; results go to `tmp_path / "out"`."""

    def run(crs: str, transform: Affine, *words: str, bands: NDArray[Any] | None = None) -> int:
        grey = np.random.default_rng(0).integers(40, 220, (3, SIDE, SIDE)).astype(np.uint8)
        nodata = math.nan if bands is not None else None
        scene = write(tmp_path / "scene.tif", grey if bands is None else bands, crs, transform, nodata)
        labels = write(tmp_path / "labels.tif", TRUTH[None], crs, transform)
        tiles = ("--tile", 128, "--halo", 16, "--block", 2, "--runner", "local", "--query", "tanks")
        given = ("--source", scene, "--whole-scene", "--models", f"oracle:{labels}", *tiles)
        return run_job(*given, "--out", tmp_path / "out", *words)

    return run


def strict(path: Path) -> dict[str, Any]:
    """JSON as the standard has it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{path.name} holds {word}")

    document: dict[str, Any] = json.loads(path.read_text(), parse_constant=refuse)
    return document


def areas(out: Path) -> dict[int, float]:
    """area_px -> area_m2."""
    objects = geopandas.read_parquet(out / "instances")
    return dict(zip(objects.area_px, objects.area_m2, strict=True))


def test_nan_as_nodata_is_not_judged_and_the_run_resumes(tmp_path: Path, segment: Callable[..., int]) -> None:
    values = np.random.default_rng(0).random((3, SIDE, SIDE)).astype(np.float32)
    values[:, :, 120:] = np.nan
    where = from_origin(500000, 5500000, 10, 10)
    assert segment("EPSG:32633", where, bands=values) == 0
    out = tmp_path / "out"
    assert strict(out / "run.json")["scenes"][0]["nodata"] == "nan"
    strict(out / "item.json")
    mask = np.asarray(zarr.open_group(str(out / "masks.zarr"), mode="r")["mask"][0])
    assert (mask[:, 120:] == 255).all()
    assert (mask[:, :120] < 2).all()
    assert set(areas(out)) == {100, 9}
    assert segment("EPSG:32633", where, bands=values) == 0


def test_on_mars_areas_are_those_of_mars_and_there_is_no_footprint(
    tmp_path: Path, segment: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("IAU_2015:49910", from_origin(0, 800, 10, 10)) == 0
    assert "ground         areas are those on Mars" in capsys.readouterr().out
    out = tmp_path / "out"
    assert areas(out)[100] == pytest.approx(1e4, rel=0.01)
    assert strict(out / "item.json")["geometry"] is None
    info = read_run_json(out / "run.json")
    assert (info.status, info.notes) == ("complete", ())
    assert any("not on the Earth" in text for text in info.warnings)


def test_corners_off_the_earth_cost_neither_run_nor_footprint(
    tmp_path: Path, segment: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """The object in the corner of the full disk lies in space."""
    pixel = 10869790 / SIDE
    assert segment(GEOSTATIONARY, from_origin(-5434895, 5434895, pixel, pixel)) == 0
    assert "2 instances; 1 of unknown area" in capsys.readouterr().out
    out = tmp_path / "out"
    assert areas(out)[100] == pytest.approx(100 * pixel**2, rel=0.02)  # the map is true below the satellite
    assert math.isnan(areas(out)[9])
    west, south, east, north = strict(out / "item.json")["bbox"]
    assert (west, east) == pytest.approx((-75 - 81.3, -75 + 81.3), abs=0.5)
    assert (south, north) == pytest.approx((-81.3, 81.3), abs=0.5)


def test_a_local_grid_has_no_areas_and_a_least_area_is_refused_before_it_starts(
    tmp_path: Path, segment: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    where = from_origin(1000, 2000, 0.1, 0.1)
    assert segment(LOCAL, where, "--min-area-m2", "50") == 2
    assert "--min-area-m2 needs a run grid whose areas are known" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert segment(LOCAL, where) == 0
    assert all(math.isnan(area) for area in areas(tmp_path / "out").values())
    assert strict(tmp_path / "out" / "item.json")["geometry"] is None


def test_what_a_least_area_leaves_out_is_said(
    segment: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """9 px of 100 m2 against a limit of 5,000 m2."""
    assert segment("EPSG:32633", from_origin(500000, 5500000, 10, 10), "--min-area-m2", "5000") == 0
    assert "1 instances; left out: 1 below 5000 m2 (--min-area-m2)" in capsys.readouterr().out
