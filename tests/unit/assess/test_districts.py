from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely

from pipeline.assess.districts import read_districts
from pipeline.errors import InputError
from pipeline.schema.tiling import RunGrid

GRID = RunGrid(
    crs_wkt=rasterio.CRS.from_epsg(32633).to_wkt(),
    transform=(0.5, 0.0, 500000.0, 0.0, -0.5, 5500000.0),
    width=100,
    height=100,
)
WEST = shapely.box(500000, 5499950, 500025, 5500000)
EAST = shapely.box(500025, 5499950, 500050, 5500000)


def saved(path: Path, *features: tuple[shapely.Geometry, dict[str, Any]], epsg: int | None = 32633) -> Path:
    document: dict[str, Any] = {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": properties, "geometry": shapely.geometry.mapping(shape)}
            for shape, properties in features
        ],
    }
    if epsg is not None:
        document["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{epsg}"}}
    path.write_text(json.dumps(document))
    return path


def test_districts_have_names_and_hold_points(tmp_path: Path) -> None:
    path = saved(tmp_path / "d.geojson", (WEST, {"name": "west", "no": 1}), (EAST, {"name": "west", "no": 2}))
    districts = read_districts(path, GRID)
    assert districts.names == ("west (1)", "west (2)")
    points = shapely.points([500010.0, 500030.0, 500025.0, 600000.0], [5499990.0] * 4)
    np.testing.assert_array_equal(districts.place_of(points), [0, 1, 0, 2])  # a border belongs to the first
    assert read_districts(path, GRID, column="no").names == ("1", "2")
    saved(path, (WEST, {"name": None}), (EAST, {"name": " "}))
    assert read_districts(path, GRID).names == ("without a name (1)", "without a name (2)")
    saved(path, (WEST, {"name": "west"}), (EAST, {"name": None}))
    assert read_districts(path, GRID).names == ("west", "without a name")


def test_longitude_and_latitude_are_brought_to_the_crs_of_the_run(tmp_path: Path) -> None:
    import geopandas

    lonlat = geopandas.GeoSeries([WEST], crs=32633).to_crs(4326).iloc[0]
    (shape,) = read_districts(saved(tmp_path / "d.geojson", (lonlat, {}), epsg=None), GRID).shapes
    assert shape.symmetric_difference(WEST).area < 1e-3
    assert read_districts(saved(tmp_path / "d.geojson", (lonlat, {}), epsg=None), GRID).names == ("0",)


def test_what_cannot_part_an_answer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.geojson"
    saved(path, (WEST, {"name": "a"}), (WEST.buffer(5), {"name": "b"}))
    with pytest.raises(InputError, match="'a' and 'b'"):
        read_districts(path, GRID)
    saved(path, (WEST, {"code": "a"}))
    with pytest.raises(InputError, match="choose from code"):
        read_districts(path, GRID, column="name")
    with pytest.raises(InputError, match="CRS on both sides"):
        read_districts(path, RunGrid(crs_wkt=None, transform=GRID.transform, width=1, height=1))
    bow = shapely.Polygon([(500000, 5499950), (500050, 5500000), (500050, 5499950), (500000, 5500000)])
    saved(path, (bow, {}))
    with pytest.raises(InputError, match="valid polygon"):
        read_districts(path, GRID)
    with pytest.raises(InputError, match="--by must be a vector file"):
        read_districts(tmp_path / "none.geojson", GRID)
