"""Places by name in a small country of four districts, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from pipeline.errors import InputError
from pipeline.grid.gazetteer import find_place, plain_name

WEST = shapely.box(10, 0, 11, 1)
EAST = shapely.box(20, 0, 21, 1)
CAPITAL = shapely.box(12, 3, 12.5, 3.5)
LAKES = shapely.MultiPolygon([shapely.box(14, 5, 15, 6), shapely.box(16, 5, 17, 6)])


def frame() -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(
        {
            "NAME_1": ["Springfield", "Springfield", "São Tomé", "Lakes, the"],
            "state": ["Illinois", "Oregon", "Água", "Oregon"],
            "code": [1, 2, 3, 4],
        },
        geometry=[WEST, EAST, CAPITAL, LAKES],
        crs="EPSG:4326",
    )


@pytest.fixture(params=["d.gpkg", "d.geojson", "d.parquet"])
def districts(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / str(request.param)
    if path.suffix == ".parquet":
        frame().to_parquet(path)
    else:
        frame().to_file(path)
    return path


@pytest.mark.parametrize(
    ("place", "area"),
    [
        ("São Tomé", CAPITAL),
        ("  sao   TOME ", CAPITAL),
        ("Springfield, Oregon", EAST),
        ("springfield,1", WEST),
        ("São Tomé, agua", CAPITAL),
        ("Lakes, the", LAKES),
        ("lakes, THE, oregon, 4", LAKES),
    ],
)
def test_a_place_is_found(districts: Path, place: str, area: Any) -> None:
    found = find_place(place, districts)
    assert found.geometry.equals(area)
    assert found.source == f"{place} in {districts}"


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("Springfield", "has 2: (Illinois | 1); (Oregon | 2). To fix: add a value that only one of them has"),
        ("Springfeld", "did you mean 'springfield'?"),
        ("Atlantis", "look up how it is written there"),
        ("Springfield, Ohio", "of that name"),
        ("São Tomé, Oregon", "has (São Tomé | Água | 3). To fix: write one of these values after the comma"),
        ("Springfield,", "without a comma at its end"),
        ("", "--place must be a name"),
    ],
)
def test_what_is_told_of_other_words(tmp_path: Path, place: str, told: str) -> None:
    path = tmp_path / "d.geojson"
    frame().to_file(path)
    with pytest.raises(InputError) as refused:
        find_place(place, path)
    assert told in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_file_without_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.gpkg"
    frame().rename(columns={"NAME_1": "what"}).to_file(path)
    with pytest.raises(InputError, match="the columns code, state, what in"):
        find_place("Springfield", path)


def test_points_are_no_areas(tmp_path: Path) -> None:
    path = tmp_path / "d.gpkg"
    geopandas.GeoDataFrame({"name": ["a"]}, geometry=[shapely.Point(1, 2)], crs="EPSG:4326").to_file(path)
    with pytest.raises(InputError, match="polygons only"):
        find_place("a", path)


def test_names_by_language_as_in_overture(tmp_path: Path) -> None:
    """A column of structures: the first name, and others by language."""
    path = tmp_path / "divisions.parquet"
    kind = pa.struct([("primary", pa.string()), ("common", pa.map_(pa.string(), pa.string()))])
    names = pa.array([{"primary": "München", "common": [("en", "Munich"), ("it", "Monaco")]}, None], kind)
    geopandas.GeoDataFrame(geometry=[WEST, EAST], crs="EPSG:4326").to_parquet(path)
    pq.write_table(pq.read_table(path).append_column("names", names), path)
    assert find_place("Munich", path).geometry.equals(WEST)
    assert find_place("munchen", path).geometry.equals(WEST)


def test_a_plain_name_keeps_what_tells_names_apart() -> None:
    assert plain_name("  Saint-Étienne  du  Bois ") == "saint-etienne du bois"
    assert plain_name("Übersee") != plain_name("Ubersee2")
