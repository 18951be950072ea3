"""Vector files of users: what is read, and what is refused with which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from pipeline.errors import InputError
from pipeline.files.vector_file import POINTS, POLYGONS, read_vector_file

SQUARE = shapely.box(500_000, 40_000, 500_010, 40_010)


def write(
    path: Path, shapes: list[shapely.Geometry | None], crs: int | None = 32633, layer: str | None = None
) -> Path:
    frame = gpd.GeoDataFrame({"name": [str(n) for n in range(len(shapes))]}, geometry=shapes, crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path, layer=layer)
    return path


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"file.{suffix}", [SQUARE, None, shapely.Polygon(), SQUARE.buffer(3)])
    frame = read_vector_file(path, what="the truth", kinds=POLYGONS)
    assert frame["name"].tolist() == ["0", "3"], "rows without a geometry are left out"
    assert frame.crs.to_epsg() == 32633
    assert frame.geometry.iloc[0].equals(SQUARE)


def test_a_file_without_crs_keeps_none(tmp_path: Path) -> None:
    assert (
        read_vector_file(write(tmp_path / "bare.parquet", [SQUARE], crs=None), what="it", kinds=POLYGONS).crs
        is None
    )


def broken_text(path: Path) -> Path:
    path = path.with_suffix(".geojson")
    path.write_text("{not json")
    return path


def broken_parquet(path: Path) -> Path:
    path = path.with_suffix(".parquet")
    path.write_bytes(b"PAR1")
    return path


def parquet_table(path: Path) -> Path:
    path = path.with_suffix(".parquet")
    pd.DataFrame({"a": [1]}).to_parquet(path)
    return path


def csv_table(path: Path) -> Path:
    path = path.with_suffix(".csv")
    path.write_text("a,b\n1,2\n")
    return path


def no_features(path: Path) -> Path:
    path = path.with_suffix(".geojson")
    path.write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    return path


def two_layers(path: Path) -> Path:
    path = path.with_suffix(".gpkg")
    write(path, [SQUARE], layer="roofs")
    return write(path, [SQUARE], layer="roads")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path, r"must be a vector file\. Got: .*which is no file"),
        (lambda path: path.parent, "which is no file"),
        (broken_text, "must be a readable vector file"),
        (broken_parquet, "must be a readable vector file"),
        (parquet_table, "must be a readable vector file"),
        (csv_table, "must be a file with geometries"),
        (no_features, "at least one geometry|file with geometries"),
        (lambda path: write(path.with_suffix(".parquet"), []), "at least one geometry"),
        (
            lambda path: write(path.with_suffix(".gpkg"), [None, None]),
            "at least one geometry|file with geometries",
        ),
        (two_layers, r"one layer\. Got: roofs, roads in "),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_and_remedy(
    tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_vector_file(make(tmp_path / "file"), what="the truth", kinds=POLYGONS)
    assert str(caught.value).startswith("the truth must ")
    assert "To fix: " in str(caught.value)


def test_kinds_that_the_caller_cannot_use_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "mixed.gpkg", [SQUARE, shapely.Point(1, 2), shapely.LineString([(0, 0), (1, 1)])])
    with pytest.raises(InputError, match=r"polygons only\. Got: LineString, Point in "):
        read_vector_file(path, what="the truth", kinds=POLYGONS)
    with pytest.raises(InputError, match=r"polygons and points only\. Got: LineString in "):
        read_vector_file(path, what="the prompt file", kinds=POLYGONS | POINTS)
