"""Vector tiles, read back by GDAL: the same objects, in Web Mercator, on the levels that were chosen."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pyogrio
import pytest
import shapely
from record_world import golden_run, grid_of

from pipeline.errors import InputError
from pipeline.write.export.export_run import ExportRequest, export_run, plan_export
from pipeline.write.export.feature_rows import InstanceRules
from pipeline.write.export.score_floor import score_floor
from pipeline.write.export.vector_tiles import tiles_name, write_vector_tiles, zooms_of
from pipeline.write.run_dir import RunDir


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    golden_run(tmp_path / "run")
    return RunDir(tmp_path / "run")


def made(run_dir: RunDir, path: Path, rules: InstanceRules | None = None) -> gpd.GeoDataFrame:
    told: list[float] = []
    write_vector_tiles(
        path,
        run_dir,
        grid=grid_of(),
        zooms=(13, 20),
        query_indexes=(0,),
        rules=rules or InstanceRules(),
        progress=told.append,
    )
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert [entry.name for entry in path.parent.iterdir() if "pmtiles" in entry.name] == [path.name]
    return pyogrio.read_dataframe(path)


def test_the_deepest_level_shows_the_pixels_of_the_run(run_dir: RunDir, tmp_path: Path) -> None:
    """A step of level 20 is under a centimetre; the objects are on 0.5 m pixels."""
    tiles = made(run_dir, tmp_path / "i.pmtiles")
    rows = gpd.read_parquet(run_dir.instances)
    rows = rows[rows["query_index"] == 0].set_index("instance_id")
    assert tiles.crs.to_epsg() == 3857
    assert pyogrio.list_layers(tmp_path / "i.pmtiles")[:, 0].tolist() == ["instances"]
    joined = tiles.dissolve("instance_id")
    assert sorted(joined.index) == sorted(rows.index)
    want = rows.to_crs(3857)
    for number, row in joined.iterrows():
        shape = want.geometry[number]
        assert row.geometry.symmetric_difference(shape).area < 0.02 * shape.area
        assert row["query"] == "roofs"
        assert row["score"] == pytest.approx(rows["score"][number], abs=1e-6)
        assert row["area_m2"] == pytest.approx(rows["area_m2"][number])


def test_objects_below_a_score_are_not_there(run_dir: RunDir, tmp_path: Path) -> None:
    rules = InstanceRules(floor=score_floor(run_dir, (0,), 0.2))
    tiles = made(run_dir, tmp_path / "i.pmtiles", rules)
    rows = gpd.read_parquet(run_dir.instances)
    kept = rows[(rows["query_index"] == 0) & (rows["score"] >= 0.2)]
    assert set(tiles["instance_id"]) == set(kept["instance_id"])
    assert 0 < len(kept) < (rows["query_index"] == 0).sum()


def test_without_an_object_there_is_no_file(run_dir: RunDir, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    nothing = InstanceRules(floor=score_floor(run_dir, (0,), 1.0))
    told: list[float] = []
    rows = gpd.read_parquet(run_dir.instances)
    assert (rows[rows["query_index"] == 0]["score"] < 1.0).all()
    write_vector_tiles(
        tmp_path / "t/i.pmtiles",
        run_dir,
        grid=grid_of(),
        zooms=(13, 20),
        query_indexes=(0,),
        rules=nothing,
        progress=told.append,
    )
    assert list((tmp_path / "t").iterdir()) == []
    assert told[-1] == 1.0
    request = ExportRequest(
        run=str(run_dir.path),
        gpkg=True,
        pmtiles=True,
        min_score=1.0,
        queries=("roofs",),
        out=str(tmp_path / "e"),
    )
    made = export_run(plan_export(request), progress=lambda *_: None)
    assert [path.name for path in made] == ["results.gpkg"]


def test_levels_follow_pixel_size_and_extent() -> None:
    """At the equator level 0 has 9,784 m a step, so a quarter of 0.5 m is reached at level 17. A region of
    10 km fits on a tile of level 11, and ten levels are made at most.
    """
    assert zooms_of(grid_of(50, 40))[1] == 17
    first, deepest = zooms_of(grid_of(50, 40, transform=(0.5, 0, 450000.0, 0, -0.5, 36000.0)))
    assert (first, deepest) == (17, 17)
    assert zooms_of(grid_of(20_000, 20_000)) == (11, 17)
    assert zooms_of(grid_of(2_000_000, 2_000_000, transform=(0.5, 0, 0.0, 0, -0.5, 500000.0))) == (8, 17)
    with pytest.raises(InputError, match="place on the Earth"):
        zooms_of(grid_of(crs=None))


def test_the_file_is_pmtiles_3(run_dir: RunDir, tmp_path: Path) -> None:
    made(run_dir, tmp_path / "i.pmtiles")
    data = (tmp_path / "i.pmtiles").read_bytes()
    assert data[:8] == b"PMTiles\x03"
    assert (data[100], data[101]) == (13, 20), "first and deepest level (PMTiles 3, section 3.3)"
    bounds = gpd.read_parquet(run_dir.instances).to_crs(4326).total_bounds
    told = [int.from_bytes(data[at : at + 4], "little", signed=True) / 1e7 for at in (102, 106, 110, 114)]
    assert shapely.box(*told).buffer(1e-4).contains(shapely.box(*bounds))
    assert shapely.box(*told).area < 4 * shapely.box(*bounds).area


def test_the_file_names_the_result_that_it_is_of(run_dir: RunDir, tmp_path: Path) -> None:
    assert tiles_name(run_dir.in_snapshot("0123abcd")) == "objects of result 0123abcd"
    assert tiles_name(run_dir) == "objects of a run"
    made(run_dir, tmp_path / "i.pmtiles")
    assert pyogrio.read_info(tmp_path / "i.pmtiles")["dataset_metadata"]["name"] == "objects of a run"
