from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from pyproj import CRS, Geod
from record_world import golden_run, grid_of, id_raster, lattice_of, mixed_record, table_of
from report_world import peak_bytes

from pipeline.errors import RecordError
from pipeline.schema.tiling import TileLattice
from pipeline.write.geo_parquet import with_geometry
from pipeline.write.georeference import to_crs_coordinates
from pipeline.write.instances import SCHEMA
from pipeline.write.records.block_records import write_block_record
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.report import report_data
from pipeline.write.report.report_data import (
    TILE_STATES,
    read_chips,
    read_empty_tiles,
    read_failures,
    read_outlines,
    read_statuses,
    state_codes,
    statuses_of,
)
from pipeline.write.report.report_objects import ObjectNames
from pipeline.write.run_dir import RunDir

TABLE = table_of([id_raster(seed=0), id_raster(seed=1)])


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("run")
    golden_run(folder)
    return RunDir(folder)


def names_of(keys: list[tuple[int, int]]) -> ObjectNames:
    return ObjectNames(
        query_index=np.array([q for q, _ in keys]),
        instance_id=np.array([i for _, i in keys], dtype=np.uint64),
    )


def test_outlines_are_those_written(run_dir: RunDir) -> None:
    geometries, queries = read_outlines(run_dir, None, grid_of())
    assert shapely.area(geometries).sum() == pytest.approx(TABLE.area_px.sum())  # back in pixels
    assert np.bincount(queries).tolist() == np.bincount(TABLE.query_index).tolist()
    three = names_of([(int(TABLE.query_index[i]), int(TABLE.instance_id[i])) for i in (0, 4, -1)])
    some, asked = read_outlines(run_dir, three, grid_of())
    assert sorted(shapely.area(some).round()) == sorted(TABLE.area_px[[0, 4, -1]])
    assert sorted(asked) == sorted(TABLE.query_index[[0, 4, -1]])
    coarse, _ = read_outlines(run_dir, None, grid_of(), tolerance_px=50.0)
    assert shapely.get_num_coordinates(coarse).sum() < shapely.get_num_coordinates(geometries).sum()


def test_objects_of_another_crs_are_moved_to_the_grid_and_lose_their_box(run_dir: RunDir) -> None:
    """A grid of 1 m around the same ground, in another projection; areas and middles by pyproj."""
    geod = Geod(ellps="WGS84")
    frame = gpd.read_parquet(run_dir.instances).to_crs("OGC:CRS84")
    middle = frame.union_all().centroid
    crs = CRS.from_proj4(f"+proj=laea +lon_0={middle.x} +lat_0={middle.y} +datum=WGS84")
    other = replace(
        grid_of(),
        crs_wkt=crs.to_wkt(),
        transform=(1.0, 0.0, -500.0, 0.0, -1.0, 500.0),
        width=1000,
        height=1000,
    )
    shapes, _ = read_outlines(run_dir, None, other)
    areas = [abs(geod.geometry_area_perimeter(shape)[0]) for shape in frame.geometry]
    np.testing.assert_allclose(shapely.area(shapes), areas, rtol=1e-3)
    whole = shapely.union_all(shapes).centroid
    assert (whole.x, whole.y) == (pytest.approx(500, abs=0.5), pytest.approx(500, abs=0.5))
    keys = [(int(q), int(i)) for q, i in zip(TABLE.query_index, TABLE.instance_id, strict=True)]
    assert any(chip.box_px for chip in read_chips(run_dir, keys, grid_of()))
    assert not any(chip.box_px for chip in read_chips(run_dir, keys, other))


def test_chips_come_in_the_order_asked_for(run_dir: RunDir) -> None:
    keys = [(int(q), int(i)) for q, i in zip(TABLE.query_index, TABLE.instance_id, strict=True)][::-1]
    chips = read_chips(run_dir, keys, grid_of())
    assert [(chip.query_index, chip.instance_id) for chip in chips] == keys
    for chip, want in zip(chips, TABLE.polygons[::-1], strict=True):
        assert chip.geometry.symmetric_difference(want).area < 1e-6
    assert chips[0].rationale == "<b>because</b>"
    assert read_chips(run_dir, [], grid_of()) == []


def test_tiles_failures_and_empty_tiles_are_read_back(run_dir: RunDir) -> None:
    statuses = read_statuses(run_dir, lattice_of())
    want = np.zeros((4, 5), dtype=np.uint8)
    want[:2, :2] = [[1, 1], [2, 3]]
    np.testing.assert_array_equal(statuses, want)
    assert read_failures(run_dir, limit=5) == [("r00001c00001", "malformed", "no JSON in the reply")]
    assert read_failures(run_dir, limit=0) == []
    (empty,) = read_empty_tiles(run_dir, lattice_of(), keys=AlikeKeys("f" * 64), seed=0)
    assert (empty.tile_row, empty.tile_col, empty.tile_id) == (1, 0, "r00001c00000")


def write_rows(
    run_dir: RunDir, rows: list[dict[str, Any]], polygons: list[Any], *, group_rows: int = 4
) -> None:
    """Rows of instances/ in pixel space; what a row does not say is null."""
    run_dir.instances.local().mkdir(parents=True)
    table = with_geometry(pa.Table.from_pylist(rows, schema=SCHEMA), np.array(polygons, dtype=object))
    pq.write_table(table, run_dir.instances / "part-00000.parquet", row_group_size=group_rows)


def row_of(part_no: int, **more: Any) -> dict[str, Any]:
    row = {
        "instance_id": 9,
        "query_index": 0,
        "query": "q",
        "label": "l",
        "score": 0.5,
        "area_px": 100,
        "area_m2": 1.5,
        "rationale": "r",
    }
    return (
        row
        | {
            "part_no": part_no,
            "n_parts": 5,
            "truncated": False,
            "tile_ids": [f"t{part_no}", f"t{part_no + 1}"],
        }
        | more
    )


def test_parts_become_one_object_in_any_order(tmp_path: Path) -> None:
    """Five squares in a row share edges and tiles; another query has an object of the same number."""
    grid = grid_of(crs=None, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    rows = [row_of(no, rationale=f"why {no}") for no in (3, 0, 4, 2, 1)]
    polygons = to_crs_coordinates([shapely.box(10 * no, 0, 10 * no + 10, 10) for no in (3, 0, 4, 2, 1)], grid)
    other = to_crs_coordinates([shapely.box(0, 20, 1, 21)], grid)
    write_rows(
        RunDir(tmp_path),
        [*rows, row_of(0, query_index=1, area_m2=None, n_parts=1)],
        [*polygons, *other],
        group_rows=2,
    )
    one, two = read_chips(RunDir(tmp_path), [(0, 9), (1, 9)], grid)
    assert one.geometry.equals(shapely.box(0, 0, 50, 10))
    assert (one.area_px, one.area_m2, one.n_tiles, one.rationale) == (500, 7.5, 6, "why 0")
    assert (two.area_px, two.area_m2, two.n_tiles) == (100, None, 2)


def test_an_object_of_many_points_is_held_coarsely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A band of 40 parts with a rough upper edge: a bounded number of points, no slits, and the area within
    what a chip can show.
    """
    monkeypatch.setattr(report_data, "MAX_CHIP_POINTS", 3000)
    grid = grid_of(crs=None, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0), width=20_000, height=2000)
    rng = np.random.default_rng(0)
    steps = 500 + rng.integers(0, 3, 20_000)
    polygons = []
    for part in range(40):
        x = np.arange(500 * part, 500 * part + 501)
        top = np.repeat(steps[500 * part : 500 * part + 500], 2)
        edge = np.column_stack([np.repeat(x, 2)[1:-1], top])
        polygons.append(shapely.Polygon([(x[0], 0), *edge.tolist(), (x[-1], 0)]))
    assert shapely.get_num_coordinates(polygons).sum() > 10 * 3000
    write_rows(RunDir(tmp_path), [row_of(no) for no in range(40)], list(to_crs_coordinates(polygons, grid)))
    (band,) = read_chips(RunDir(tmp_path), [(0, 9)], grid)
    assert band.geometry.geom_type == "Polygon"
    assert len(band.geometry.interiors) == 0
    assert shapely.get_num_coordinates(band.geometry) <= 3000
    assert band.geometry.area == pytest.approx(steps.sum(), rel=0.01)


def test_few_geometries_are_read_at_a_time(tmp_path: Path) -> None:
    """Ten times the rows, the same memory, though a chosen object lies in every row group; the geometries
    alone are 800 bytes each.
    """
    grid = grid_of(crs=None, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    peaks = []
    for n in (8_000, 80_000):
        run_dir = RunDir(tmp_path / str(n))
        rng = np.random.default_rng(n)
        angle = np.linspace(0, 2 * np.pi, 50)
        centre = rng.random((n, 1)) * 40
        rings = np.stack(
            [centre + rng.random((n, 1)) * np.cos(angle), centre + rng.random((n, 1)) * np.sin(angle)],
            axis=-1,
        )
        rings[:, -1] = rings[:, 0]
        rows = [row_of(0, instance_id=i + 1, n_parts=1) for i in range(n)]
        write_rows(run_dir, rows, list(shapely.polygons(rings)), group_rows=4000)
        keys = [(0, 1 + i * n // 24) for i in range(24)]
        found = read_chips(run_dir, keys, grid)
        assert [chip.instance_id for chip in found] == [key[1] for key in keys]
        read = [lambda run_dir=run_dir, keys=keys: read_chips(run_dir, keys, grid)]
        read.append(lambda run_dir=run_dir, keys=keys: read_outlines(run_dir, names_of(keys), grid))
        peaks.append([peak_bytes(work) for work in read])
        del rows, rings, found
    assert (np.array(peaks[1]) < 1.3 * np.array(peaks[0])).all(), peaks
    assert max(peaks[1]) < 80_000 * 800 / 4, peaks


def ledger(path: Path, lattice: TileLattice, statuses: list[str], reasons: list[str]) -> RunDir:
    """coverage.parquet of the columns that the report reads, tiles row by row, in small row groups."""
    rows, cols = np.divmod(np.arange(len(statuses)), lattice.n_tile_cols)
    table = {
        "tile_id": [f"r{r:05d}c{c:05d}" for r, c in zip(rows, cols, strict=True)],
        "tile_row": rows,
        "tile_col": cols,
    }
    table |= {
        "block_id": ["b00000_00000"] * len(rows),
        "query_index": np.zeros(len(rows), dtype=np.int32),
        "status": statuses,
        "reason": reasons,
        "valid_share": np.ones(len(rows), dtype=np.float32),
        "error": [f"e{i}" for i in range(len(rows))],
    }
    path.mkdir(exist_ok=True)
    pq.write_table(pa.table(table), path / "coverage.parquet", row_group_size=7)
    return RunDir(path)


def test_the_ledger_is_read_through_all_row_groups(tmp_path: Path) -> None:
    lattice = lattice_of(grid_of(width=300, height=200), tile_px=16, halo_px=3)
    rng = np.random.default_rng(3)
    n = lattice.n_tile_rows * lattice.n_tile_cols
    kinds = [("found", ""), ("empty", "prompter"), ("empty", "outside_aoi"), ("failed", "timeout")]
    pick = rng.integers(0, 4, n)
    run_dir = ledger(tmp_path, lattice, [kinds[i][0] for i in pick], [kinds[i][1] for i in pick])
    want = np.array([1, 2, 0, 3], dtype=np.uint8)[pick].reshape(lattice.n_tile_rows, lattice.n_tile_cols)
    np.testing.assert_array_equal(read_statuses(run_dir, lattice), want)
    failed = np.flatnonzero(pick == 3)
    assert len(failed) > 30
    assert [error for _, _, error in read_failures(run_dir, limit=20)] == [f"e{i}" for i in failed[:20]]
    assert len(read_failures(run_dir, limit=10_000)) == len(failed)
    with pytest.raises(RecordError, match="status"):
        read_statuses(ledger(tmp_path, lattice, ["lost"], [""]), lattice)


def test_every_reason_is_a_state_and_an_unknown_status_is_none(tmp_path: Path) -> None:
    kinds = {
        ("found", ""): "found",
        ("empty", "prompter"): "nothing found",
        ("empty", "verifier"): "nothing found",
        ("empty", "nodata"): "no imagery",
        ("empty", "cloud"): "under clouds",
        ("empty", "gate"): "gate",
        ("empty", "outside_aoi"): "outside",
        ("failed", "timeout"): "failed",
    }
    rows = pa.RecordBatch.from_pydict(
        {
            "status": [status for status, _ in kinds] * 2,
            "reason": [reason for _, reason in kinds] * 2,
            "valid_share": [1.0] * len(kinds) + [0.5] * len(kinds),
        }
    )
    codes = state_codes(rows, RunDir(tmp_path).coverage)
    whole, part = codes[: len(kinds)], codes[len(kinds) :]
    assert [TILE_STATES[code // 2] for code in whole] == list(kinds.values())
    judged = [name in ("found", "nothing found", "gate") for name in kinds.values()]
    assert (part - whole).tolist() == [int(each) for each in judged]
    np.testing.assert_array_equal(statuses_of(whole), [1, 2, 2, 2, 2, 2, 0, 3])


def test_a_tile_of_several_queries_shows_what_is_not_to_be_overlooked(tmp_path: Path) -> None:
    """Two queries of four tiles, in every order of statuses; a failure that both share is told once."""
    lattice = lattice_of(grid_of(width=40, height=10))
    pairs = [("found", "empty"), ("empty", "failed"), ("failed", "failed"), ("empty", "empty")]
    rows = [
        {
            "tile_id": f"t{col}",
            "tile_row": 0,
            "tile_col": col,
            "query_index": query,
            "block_id": "b00000_00000",
            "status": status,
            "reason": {"found": "", "empty": "prompter", "failed": "timeout"}[status],
            "valid_share": 1.0,
            "error": "late" if status == "failed" else "",
        }
        for col, pair in enumerate(pairs)
        for query, status in enumerate(pair)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "coverage.parquet", row_group_size=3)
    run_dir = RunDir(tmp_path)
    assert read_statuses(run_dir, lattice).tolist() == [[1, 3, 3, 2]]
    assert read_failures(run_dir, limit=9) == [("t1", "timeout", "late"), ("t2", "timeout", "late")]
    write_block_record(run_dir, mixed_record(lattice_of()), lattice=lattice_of())
    (empty,) = read_empty_tiles(run_dir, lattice, keys=AlikeKeys("f" * 64), seed=0)
    assert empty.tile_id == "t3"


def test_a_few_empty_tiles_are_picked_by_seed(run_dir: RunDir, tmp_path: Path) -> None:
    lattice = lattice_of(grid_of(width=300, height=200), tile_px=16, halo_px=3)
    n = lattice.n_tile_rows * lattice.n_tile_cols
    reasons = ["prompter" if i % 3 else "gate" for i in range(n)]
    other = ledger(tmp_path, lattice, ["empty"] * n, reasons)
    shutil.copytree(run_dir.blocks, other.blocks)

    def places(seed: int) -> list[tuple[int, int]]:
        return [
            (tile.tile_row, tile.tile_col)
            for tile in read_empty_tiles(other, lattice, keys=AlikeKeys("f" * 64), seed=seed)
        ]

    assert len(places(0)) == len(set(places(0))) == report_data.N_NOTHING
    assert places(0) == sorted(places(0)) == places(0)
    assert places(0) != places(1)
    assert all((r * lattice.n_tile_cols + c) % 3 for r, c in places(0))
