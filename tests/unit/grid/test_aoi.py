"""AOI files and boxes. The GeoJSON corpus in tests/golden/grid/aoi is written by hand: `ok_*` must read,
`bad_*` must be refused.
"""

from __future__ import annotations

import math
from pathlib import Path

import geopandas
import pyproj
import pytest
import shapely
import shapely.affinity
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.grid.aoi import aoi_from_bbox, read_aoi

GOLDEN = Path(__file__).parents[2] / "golden" / "grid" / "aoi"
SQUARE = shapely.box(32.0, 0.25, 32.5, 0.75)
FAR = shapely.box(33.0, 0.0, 33.25, 0.5)

EXPECTED = {
    "ok_polygon": SQUARE,
    "ok_feature": SQUARE,
    "ok_collection": SQUARE | FAR,
    "ok_multipolygon": SQUARE | FAR,
    "ok_hole": SQUARE - shapely.box(32.1, 0.35, 32.2, 0.45),
    "ok_three_dimensions": SQUARE,
    "ok_null_feature_beside": SQUARE,
    "ok_crs_84": SQUARE,
    "ok_crs_3857": SQUARE,
}

REFUSED = {
    "bad_point": "Point as geometry 0",
    "bad_line": "LineString",
    "bad_bowtie": r"Self-intersection.*1 1",
    "bad_zero_area": "valid|area",
    "bad_empty_collection": "at least one geometry",
    "bad_null_feature": "at least one geometry",
    "bad_empty_polygon": "at least one geometry",
    "bad_metres": r"degrees.*450000",
    "bad_unclosed": "Geometry 0",
    "bad_crs": "crs.*EPSG:nonsense",
    "bad_wrap": "antimeridian",
    "bad_topology": "Topology|geometry",
    "bad_list": "Feature, FeatureCollection or geometry",
    "bad_truncated": "not JSON",
}


def test_every_golden_file_has_an_expectation() -> None:
    assert {path.stem for path in GOLDEN.glob("*.geojson")} == set(EXPECTED) | set(REFUSED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_reads_geojson(name: str) -> None:
    aoi = read_aoi(GOLDEN / f"{name}.geojson")
    assert aoi.geometry.geom_type in ("Polygon", "MultiPolygon")
    assert not aoi.geometry.has_z
    tolerance = 1e-5 if name == "ok_crs_3857" else 1e-12  # its corners are rounded to decimetres
    assert aoi.geometry.symmetric_difference(EXPECTED[name]).area < tolerance


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refuses_geojson(name: str) -> None:
    with pytest.raises(InputError, match=REFUSED[name]) as caught:
        read_aoi(GOLDEN / f"{name}.geojson")
    assert f"{name}.geojson" in str(caught.value)
    assert "To fix:" in str(caught.value)


@pytest.mark.parametrize("suffix", ["parquet", "gpkg"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32636", "EPSG:3857"])
def test_reads_tables_in_their_own_crs(tmp_path: Path, suffix: str, crs: str) -> None:
    path = tmp_path / f"aoi.{suffix}"
    frame = geopandas.GeoDataFrame(
        geometry=[SQUARE.segmentize(0.001), FAR.segmentize(0.001)], crs="EPSG:4326"
    ).to_crs(crs)
    frame.to_parquet(path) if suffix == "parquet" else frame.to_file(path, driver="GPKG")
    assert read_aoi(path).geometry.symmetric_difference(SQUARE | FAR).area < 1e-8


def test_reprojected_edges_bend() -> None:
    """The straight top edge of a UTM box is not a parallel: its middle must be where PROJ puts it."""
    box = shapely.box(200000, 6000000, 800000, 6400000)
    frame = geopandas.GeoDataFrame(geometry=[box], crs="EPSG:32636")
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "aoi.gpkg"
        frame.to_file(path, driver="GPKG")
        geometry = read_aoi(path).geometry
    to_lonlat = pyproj.Transformer.from_crs("EPSG:32636", "OGC:CRS84", always_xy=True)
    middle = shapely.Point(to_lonlat.transform(500000, 6400000))
    assert geometry.exterior.distance(middle) < 1e-4
    corners = shapely.LineString([to_lonlat.transform(200000, 6400000), to_lonlat.transform(800000, 6400000)])
    assert corners.distance(middle) > 0.02  # the test can fail: the chord of the corners is far from it


def test_a_projected_aoi_across_the_antimeridian_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "aoi.gpkg"
    geopandas.GeoDataFrame(
        geometry=[shapely.box(570000, 5650000, 800000, 5800000)], crs="EPSG:32660"
    ).to_file(path, driver="GPKG")
    geometry = read_aoi(path).geometry
    assert geometry.geom_type == "MultiPolygon"
    assert geometry.area < 10
    assert geometry.intersects(shapely.Point(-179.5, 51.7))
    assert geometry.intersects(shapely.Point(179.5, 51.7))
    assert not geometry.intersects(shapely.Point(0, 51.7))


def test_refuses_files_it_cannot_use(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="existing file"):
        read_aoi(tmp_path / "missing.geojson")
    (tmp_path / "aoi.kml").write_text("<kml/>")
    with pytest.raises(InputError, match="GeoPackage"):
        read_aoi(tmp_path / "aoi.kml")
    for name in ("aoi.parquet", "aoi.gpkg"):
        (tmp_path / name).write_bytes(b"not what the suffix says")
        with pytest.raises(InputError, match=name):
            read_aoi(tmp_path / name)
    (tmp_path / "binary.geojson").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="binary"):
        read_aoi(tmp_path / "binary.geojson")


def test_refuses_a_geopackage_with_several_layers(tmp_path: Path) -> None:
    path = tmp_path / "two.gpkg"
    frame = geopandas.GeoDataFrame(geometry=[SQUARE], crs="EPSG:4326")
    frame.to_file(path, driver="GPKG", layer="one")
    frame.to_file(path, driver="GPKG", layer="other")
    with pytest.raises(InputError, match="one, other"):
        read_aoi(path)


def test_refuses_a_plain_parquet_table(tmp_path: Path) -> None:
    path = tmp_path / "plain.parquet"
    import pandas

    pandas.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(InputError, match="plain"):
        read_aoi(path)


@pytest.mark.parametrize("turns", [-1, 0])
def test_an_area_on_another_turn_of_the_globe_is_brought_back(tmp_path: Path, turns: int) -> None:
    """Web maps let people draw at 181 E; some rasters count from 0 to 360."""
    path = tmp_path / "aoi.geojson"
    path.write_text(shapely.to_geojson(shapely.box(179 + 360 * turns, 10, 181 + 360 * turns, 11)))
    aoi = read_aoi(path)
    want = shapely.box(179, 10, 180, 11) | shapely.box(-180, 10, -179, 11)
    assert aoi.geometry.symmetric_difference(want).area < 1e-9
    assert aoi.bounds_lonlat == pytest.approx((179, 10, -179, 11))


def test_a_mercator_area_past_180_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "aoi.gpkg"
    half = math.pi * 6378137
    shape = shapely.box(half - 20_000, 1_000_000, half + 20_000, 1_100_000)
    geopandas.GeoDataFrame(geometry=[shape], crs="EPSG:3857").to_file(path)
    west, _, east, _ = read_aoi(path).bounds_lonlat
    assert (west, east) == pytest.approx((180 - 20_000 / half * 180, -180 + 20_000 / half * 180))


def test_polygons_in_collections_and_kml_with_heights_are_read(tmp_path: Path) -> None:
    collection = shapely.GeometryCollection([SQUARE, shapely.GeometryCollection([FAR])])
    (tmp_path / "aoi.json").write_text(shapely.to_geojson(collection))
    assert read_aoi(tmp_path / "aoi.json").geometry.equals(SQUARE | FAR)
    frame = geopandas.GeoDataFrame({"Name": ["a"]}, geometry=[shapely.force_3d(SQUARE, 7.0)], crs="EPSG:4326")
    frame.to_file(tmp_path / "aoi.kml", driver="KML")
    assert read_aoi(tmp_path / "aoi.kml").geometry.symmetric_difference(SQUARE).area < 1e-12


def test_overlapping_parts_of_one_feature_are_one_area(tmp_path: Path) -> None:
    path = tmp_path / "aoi.geojson"
    both = shapely.MultiPolygon([SQUARE, shapely.affinity.translate(SQUARE, 0.1, 0)])
    path.write_text(shapely.to_geojson(both))
    assert read_aoi(path).geometry.equals(shapely.box(32.0, 0.25, 32.6, 0.75))


lon = st.floats(-180, 180, allow_nan=False)
lat = st.floats(-90, 90, allow_nan=False)


@given(west=lon, south=lat, east=lon, north=lat)
def test_bbox_covers_its_meridians_or_is_refused(
    west: float, south: float, east: float, north: float
) -> None:
    if south >= north or west == east:
        with pytest.raises(InputError):
            aoi_from_bbox(west, south, east, north)
        return
    geometry = aoi_from_bbox(west, south, east, north).geometry
    if west < east <= 0 and west + 360 < east + 360:  # longitudes that near to each other are one, past 180
        counted = aoi_from_bbox(west + 360, south, east + 360, north).geometry
        assert geometry.symmetric_difference(counted).area <= 1e-9
    width = east - west if east > west else east - west + 360
    assert math.isclose(geometry.area, width * (north - south), rel_tol=1e-9, abs_tol=1e-9)
    assert geometry.is_valid


@pytest.mark.parametrize(
    "bbox",
    [
        (0, 0, 0, 1),
        (0, 1, 1, 0),
        (0, 0, math.nan, 1),
        (-400, 0, 1, 1),
        (-350, 0, 20, 1),
        (0, 0, 1, 91),
        (450000, 0, 451000, 1),
    ],
)
def test_refuses_a_bad_bbox(bbox: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="--bbox"):
        aoi_from_bbox(*bbox)
