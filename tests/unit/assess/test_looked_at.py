"""Ledgers made by hand: 2 x 3 tiles of 1 km2, in metres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shapely

from pipeline.assess.looked_at import PARTLY, read_looked_at
from pipeline.schema.tiling import RunGrid
from pipeline.write.geo_parquet import with_geometry, write_geo_parquet
from pipeline.write.run_dir import RunDir

GRID = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=3000, height=2000)
SCHEMA = pa.schema(
    [
        ("query_index", pa.int32()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("km2", pa.float64()),
        ("searched_km2", pa.float64()),
    ]
)
FATES = (
    ("found", "", 1.0),
    ("empty", "prompter", 0.75),
    ("empty", "gate", 1.0),
    ("failed", "timeout", 0.0),
    ("empty", "cloud", 0.0),
    ("empty", "outside_aoi", 0.0),
)


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    run_dir = RunDir(tmp_path)
    rows = [
        {"query_index": 0, "status": status, "reason": reason, "km2": 1.0, "searched_km2": searched}
        for status, reason, searched in FATES
    ]
    boxes = [
        shapely.box(c * 1000, r * 1000, c * 1000 + 1000, r * 1000 + 1000) for r in (0, 1) for c in (0, 1, 2)
    ]
    table = with_geometry(pa.Table.from_pylist(rows, schema=SCHEMA), np.array(boxes, dtype=object))
    write_geo_parquet(run_dir.coverage, [table], schema=SCHEMA, grid=GRID)
    return run_dir


def test_ground_is_looked_at_or_told_why_not(run_dir: RunDir) -> None:
    ((ground, elsewhere),) = read_looked_at(run_dir, n_queries=1, area=None)
    assert ground.area_km2 == 5  # what lies outside the area is no part of it
    assert ground.searched_km2 == 2.75
    assert ground.gate_km2 == 1
    assert ground.not_looked_at == {
        PARTLY: 0.25,
        "failed: no answer in time": 1.0,
        "under clouds": 1.0,
    }
    assert elsewhere.area_km2 == 0


def test_an_area_cuts_tiles_at_its_border(run_dir: RunDir) -> None:
    area = shapely.box(500, 0, 3000, 2000)  # half of the first tile of each row
    ((ground, _),) = read_looked_at(run_dir, n_queries=1, area=area)
    assert ground.area_km2 == pytest.approx(0.5 + 1 + 1 + 0.5 + 1)
    assert ground.searched_km2 == pytest.approx(0.5 + 0.75 + 1)
    assert ground.not_looked_at["failed: no answer in time"] == pytest.approx(0.5)


def test_districts_and_what_lies_in_none_add_up(run_dir: RunDir) -> None:
    districts = [shapely.box(0, 0, 1500, 1000), shapely.box(1500, -500, 9000, 1000)]
    ((whole, west, east, elsewhere),) = read_looked_at(run_dir, n_queries=1, area=None, districts=districts)
    assert west.area_km2 == pytest.approx(1.5)
    assert west.searched_km2 == pytest.approx(1 + 0.375)
    assert east.gate_km2 == pytest.approx(1)
    assert elsewhere.not_looked_at.keys() == {"failed: no answer in time", "under clouds"}
    parts = (west, east, elsewhere)
    assert sum(each.area_km2 for each in parts) == pytest.approx(whole.area_km2)
    assert sum(each.searched_km2 for each in parts) == pytest.approx(whole.searched_km2)
