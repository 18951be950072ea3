from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from assessed_runs import SIDE, AssessedRun
from job_files import load_job
from zone_worlds import seam_world

from pipeline.assess.answer_run import ELSEWHERE, answer_run
from pipeline.errors import InputError

PX_M2 = 0.25 / 0.9996**2
"""Ground area of a pixel: UTM's scale on its central meridian."""


def test_objects_area_and_ground_are_those_of_the_run(assessed: AssessedRun) -> None:
    answer = answer_run(str(assessed.run))
    (row,) = answer.rows
    table = gpd.read_parquet(assessed.run / "instances")
    assert answer.complete
    assert (row.query, row.district, row.objects) == ("roofs", None, len(table))
    assert row.area_m2 == pytest.approx(table["area_m2"].sum())
    assert row.ground.searched_km2 == pytest.approx(SIDE**2 * PX_M2 / 1e6, rel=1e-4)
    assert row.ground.not_looked_at == {}
    assert row.per_km2 == pytest.approx(len(table) / row.ground.searched_km2)


def test_districts_part_the_objects(assessed: AssessedRun, tmp_path: Path) -> None:
    south = shapely.box(500000, 5500000 - SIDE / 2, 500000 + SIDE / 2, 5500000 - SIDE / 4)
    frame = gpd.GeoDataFrame({"name": ["south"]}, geometry=[south], crs=32633)
    frame.to_file(tmp_path / "d.gpkg")
    answer = answer_run(str(assessed.run), by=tmp_path / "d.gpkg")
    whole, part, rest = answer.rows
    assert (part.district, rest.district) == ("south", ELSEWHERE)
    table = gpd.read_parquet(assessed.run / "instances")
    mine = table.geometry.representative_point().within(south)
    assert part.objects == mine.sum()
    assert part.area_m2 == pytest.approx(table["area_m2"][mine].sum())
    assert part.objects + rest.objects == whole.objects
    assert part.ground.area_km2 == pytest.approx(whole.ground.area_km2 / 2, rel=1e-4)


def test_every_place_of_several_zones_counts_once(tmp_path: Path) -> None:
    world = seam_world(tmp_path)
    words = world.words(tmp_path / "out", "--whole-scene", "--tile", "64", "--halo", "8", "--block", "2")
    assert load_job("segment_region").main([str(word) for word in words]) == 0
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    west, south, east, north = gpd.read_parquet(tmp_path / "out" / "coverage.parquet").total_bounds
    halves = [shapely.box(west, south, -78, north), shapely.box(-78, south, east, north)]
    gpd.GeoDataFrame({"name": ["west", "east"]}, geometry=halves, crs=4326).to_file(tmp_path / "d.geojson")
    whole, *parts = answer_run(str(tmp_path / "out"), by=tmp_path / "d.geojson").rows
    assert whole.ground.area_km2 == pytest.approx(told["searched"]["planned_km2"], rel=1e-6)
    assert whole.ground.not_looked_at == {}
    assert whole.objects == len(gpd.read_parquet(tmp_path / "out" / "instances"))
    assert sum(part.objects for part in parts) == whole.objects
    assert sum(part.ground.area_km2 for part in parts) == pytest.approx(whole.ground.area_km2)


def test_what_cannot_be_answered_is_refused(assessed: AssessedRun, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"without a run\.json"):
        answer_run(str(tmp_path))
    with pytest.raises(InputError, match="'roofs'"):
        answer_run(str(assessed.run), queries=["pools"])
    document = json.loads((assessed.run / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**document, "status": "running", "snapshot": ""}))
    with pytest.raises(InputError, match="it resumes"):
        answer_run(str(tmp_path))
