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
from pipeline.files.vector_file import POINTS, POLYGONS, read_features, read_vector_file

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
    features = read_features(path, what="the truth", kinds=POLYGONS)
    assert [row["name"] for row in features.attributes] == ["0", "3"], "rows without a geometry are left out"
    assert features.places.tolist() == [0, 3]
    assert features.crs is not None
    assert features.crs.to_epsg() == 32633
    assert features.geometries[0].equals(SQUARE)
    frame = read_vector_file(path, what="the truth", kinds=POLYGONS)
    assert frame.crs.to_epsg() == 32633
    assert frame.geometry.iloc[0].equals(SQUARE)


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "parquet"])
def test_attributes_keep_their_types_and_heights_are_dropped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"file.{suffix}"
    columns = {
        "class": pd.array([3, None], dtype="Int64"),
        "height": [2.5, float("nan")],
        "name": ["Grün", None],
    }
    shapes = [shapely.force_3d(SQUARE, 5.0), shapely.force_3d(SQUARE, 6.0)]
    frame = gpd.GeoDataFrame(columns, geometry=shapes, crs=32633)
    frame.to_parquet(path) if suffix == "parquet" else frame.to_file(path)
    features = read_features(path, what="it", kinds=POLYGONS)
    first, second = features.attributes[0:2]
    assert (first["class"], first["height"], first["name"]) == (3, 2.5, "Grün")
    assert isinstance(first["class"], int)
    assert second["class"] is None
    assert second["name"] is None
    assert not any(shapely.has_z(features.geometries))


def test_ids_are_the_files_own_or_places(tmp_path: Path) -> None:
    shape = {"type": "Point", "coordinates": [15.0, 49.0]}
    features = [
        {"type": "Feature", "id": "way/7", "properties": None, "geometry": shape},
        {"type": "Feature", "id": 12, "properties": {"id": 99}, "geometry": shape},
        {"type": "Feature", "properties": {}, "geometry": None},
        {"type": "Feature", "properties": {}, "geometry": shape},
    ]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert read_features(path, what="it", kinds=POINTS).ids == ("way/7", "12", "3")
    table = write(tmp_path / "a.gpkg", [SQUARE, None, SQUARE])
    assert read_features(table, what="it", kinds=POLYGONS).ids == ("1", "3")  # GeoPackage counts from 1
    parquet = write(tmp_path / "a.parquet", [SQUARE, None, SQUARE])
    assert read_features(parquet, what="it", kinds=POLYGONS).ids == ("0", "2")


def test_collections_of_polygons_are_polygons(tmp_path: Path) -> None:
    inner = shapely.GeometryCollection([SQUARE, shapely.MultiPolygon([SQUARE.buffer(3)])])
    path = write(tmp_path / "a.gpkg", [shapely.GeometryCollection([inner, SQUARE])])
    (shape,) = read_features(path, what="it", kinds=POLYGONS).geometries
    assert (shape.geom_type, len(shape.geoms)) == ("MultiPolygon", 3)
    mixed = write(
        tmp_path / "b.gpkg", [shapely.GeometryCollection([SQUARE, shapely.LineString([(0, 0), (1, 1)])])]
    )
    with pytest.raises(InputError, match="LineString as geometry 0"):
        read_features(mixed, what="it", kinds=POLYGONS)


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
    with pytest.raises(
        InputError, match=r"polygons only\. Got: LineString as geometry 2, Point as geometry 1 in "
    ):
        read_vector_file(path, what="the truth", kinds=POLYGONS)
    with pytest.raises(InputError, match=r"polygons and points only\. Got: LineString as geometry 2 in "):
        read_vector_file(path, what="the prompt file", kinds=POLYGONS | POINTS)
