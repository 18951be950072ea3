"""Rows of changes and of squares, from objects that are checked by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from record_world import QUERIES, golden_run, grid_of, run_info

from pipeline.compare.change_tables import (
    CHANGES_SCHEMA,
    REGISTRATION_SCHEMA,
    DatedObjects,
    change_rows,
    read_objects,
    registration_rows,
    shift_lengths,
)
from pipeline.compare.registration import UNKNOWN, Shift
from pipeline.compare.run_pair import DatedRun
from pipeline.schema.tiling import Window
from pipeline.write.geo_parquet import write_geo_parquet
from pipeline.write.georeference import to_crs_coordinates
from pipeline.write.run_dir import RunDir

GRID = grid_of()


def objects_of(**boxes: tuple[float, float, float, float]) -> DatedObjects:
    """Objects o1, o2 ... as boxes in pixels."""
    shapes = to_crs_coordinates([shapely.box(*box) for box in boxes.values()], GRID)
    area = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes.values()]
    ids = pd.Index([int(name[1:]) for name in boxes], dtype="u8", name="instance_id")
    rows = pd.DataFrame({"score": 0.5, "area_px": area, "area_m2": np.array(area) / 4}, index=ids)
    return DatedObjects(rows=rows, shapes=shapes)


def matches(*rows: tuple[int, int, str, str, float]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["before", "after", "change", "reason", "iou"])
    return frame.astype({"before": "u8", "after": "u8"})


def test_a_row_has_what_is_known_of_either_date(tmp_path: Path) -> None:
    before = objects_of(o1=(0, 0, 4, 4), o2=(10, 10, 14, 12))
    after = objects_of(o7=(3, 4, 7, 8), o9=(20, 20, 30, 21))
    found = matches((1, 7, "moved", "", 0.1), (2, 0, "not comparable", "registration", np.nan))
    found = pd.concat([found, matches((0, 9, "appeared", "", np.nan))], ignore_index=True)
    table = change_rows(found, (before, after), query="roofs", grid=GRID, pixel_m=0.5)
    write_geo_parquet(tmp_path / "c.parquet", [table], schema=CHANGES_SCHEMA, grid=GRID)
    rows = gpd.read_parquet(tmp_path / "c.parquet").set_index("change")
    assert rows.crs == GRID.crs_wkt
    moved = rows.loc["moved"]
    assert (moved["before_id"], moved["after_id"]) == (1, 7)
    assert pd.isna(moved["reason"])
    assert moved["moved_m"] == pytest.approx(2.5), "three columns and four rows of half a metre"
    assert moved.geometry.equals(after.shapes[0])
    lost = rows.loc["not comparable"]
    assert (lost["before_id"], lost["reason"], lost["before_area_m2"]) == (2, "registration", 2.0)
    assert np.isnan(lost["after_id"])
    assert np.isnan(lost["after_area_m2"])
    assert lost.geometry.equals(before.shapes[1])
    new = rows.loc["appeared"]
    assert (new["after_id"], new["after_area_m2"]) == (9, 2.5)
    assert np.isnan(new["moved_m"])


def test_no_change_at_all_is_an_empty_table(tmp_path: Path) -> None:
    nothing = objects_of()
    table = change_rows(matches(), (nothing, nothing), query="roofs", grid=GRID, pixel_m=0.5)
    write_geo_parquet(tmp_path / "c.parquet", [table], schema=CHANGES_SCHEMA, grid=GRID)
    assert pq.read_metadata(tmp_path / "c.parquet").num_rows == 0


def test_the_rows_of_a_split_object_are_one(tmp_path: Path) -> None:
    golden_run(tmp_path / "run")
    run = DatedRun(run_dir=RunDir(tmp_path / "run"), info=run_info(), query_index=1)
    plain = read_objects(run)
    part = tmp_path / "run/instances/part-00000.parquet"
    whole = gpd.read_parquet(part)
    own = whole[whole["query_index"] == 1].sort_values("instance_id")
    assert plain.rows.index.tolist() == own["instance_id"].tolist()
    assert plain.rows["area_px"].tolist() == own["area_px"].tolist()
    assert all(a.equals(b) for a, b in zip(plain.shapes, own.geometry, strict=True))
    twice = whole.copy()
    first = own["instance_id"].iloc[0]
    twice["instance_id"] = np.where(twice["query_index"] == 1, first, twice["instance_id"])
    twice.to_parquet(part)
    joined = read_objects(run)
    assert joined.rows.index.tolist() == [first]
    assert joined.rows["area_px"].tolist() == [own["area_px"].sum()]
    assert joined.shapes[0].equals(shapely.union_all(own.geometry.to_numpy()))
    assert replace(run, query_index=0).info.queries[1] == QUERIES[1]


def test_squares_say_whether_they_fit(tmp_path: Path) -> None:
    shifts = [
        Shift(rows=1, cols=-1, agreement=0.9, unmoved=0.7, known=True),
        Shift(rows=3, cols=4, agreement=0.8, unmoved=0.1, known=True),
        UNKNOWN,
    ]
    squares = [Window(row0=0, col0=10 * k, row1=10, col1=10 * k + 10) for k in range(3)]
    table = registration_rows(squares, shifts, most_shift_px=2.0, grid=GRID)
    write_geo_parquet(tmp_path / "r.parquet", [table], schema=REGISTRATION_SCHEMA, grid=GRID)
    rows = gpd.read_parquet(tmp_path / "r.parquet")
    assert rows["state"].tolist() == ["registered", "off", "not known"]
    assert rows["cols"].tolist()[:2] == [-1, 4]
    assert np.isnan(rows["rows"].iloc[2])
    assert rows.geometry.area.tolist() == [25.0] * 3
    lengths = shift_lengths(shifts)
    assert lengths[:2].tolist() == [pytest.approx(2**0.5), 5.0]
    assert np.isnan(lengths[2])
