"""The ledger; the golden file is made by `python tests/golden/write/regenerate.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from geo_rules import checked_geo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from record_world import grid_of, lattice_of, mixed_record, plain_tile

from pipeline.errors import IncompleteRunError, RecordError
from pipeline.schema.imagery import ScenePixels
from pipeline.schema.tile_answers import BlockRecord, Reason, TileStatus
from pipeline.schema.tiling import block_id
from pipeline.write.coverage import (
    CLOUD_COLUMNS,
    GATE_COLUMNS,
    SCENE_COLUMNS,
    Conservation,
    SearchedArea,
    write_coverage,
)
from pipeline.write.records.block_records import write_block_record
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.run_dir import RunDir

FP = "f" * 64
GOLDEN = Path(__file__).parents[2] / "golden" / "write"
LATTICE = lattice_of()


def planned(*tiles: tuple[int, int]) -> NDArray[np.bool_]:
    inside = np.zeros((LATTICE.n_tile_rows, LATTICE.n_tile_cols), dtype=np.bool_)
    for row, col in tiles:
        inside[row, col] = True
    return inside


MIXED = planned((0, 0), (0, 1), (1, 0), (1, 1))


QUESTIONS = ("roofs", "lakes", "roads")


def ledger(tmp_path: Path, inside: NDArray[np.bool_], n_queries: int = 2) -> Conservation:
    return write_coverage(
        RunDir(tmp_path), LATTICE, inside, keys=AlikeKeys(FP), queries=QUESTIONS[:n_queries]
    )


def rows_of(tmp_path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """(tile_id, query_index) -> row."""
    rows = pq.read_table(tmp_path / "coverage.parquet").to_pylist()
    found = {(row["tile_id"], row["query_index"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_one_row_per_tile_and_query_and_tiles_counted_by_the_status_not_to_be_overlooked(
    tmp_path: Path,
) -> None:
    write_block_record(RunDir(tmp_path), mixed_record(LATTICE), lattice=LATTICE)
    count = ledger(tmp_path, MIXED)
    count.require()
    assert (count.planned, count.found, count.empty, count.failed) == (20, 2, 17, 1)
    assert count.reasons == {"empty/outside_aoi": 16, "empty/prompter": 1, "failed/malformed": 1, "found": 2}
    rows = rows_of(tmp_path)
    assert len(rows) == 40
    assert {key: (r["status"], r["reason"]) for key, r in rows.items() if r["reason"] != "outside_aoi"} == {
        ("r00000c00000", 0): ("found", ""),
        ("r00000c00000", 1): ("empty", "prompter"),
        ("r00000c00001", 0): ("found", ""),
        ("r00000c00001", 1): ("found", ""),
        ("r00001c00000", 0): ("empty", "prompter"),
        ("r00001c00000", 1): ("empty", "gate"),
        ("r00001c00001", 0): ("failed", "malformed"),
        ("r00001c00001", 1): ("found", ""),
    }
    assert {(r["query_index"], r["query"]) for r in rows.values()} == {(0, "roofs"), (1, "lakes")}
    failed, found = (rows["r00001c00001", query] for query in (0, 1))
    assert (failed["error"], found["error"]) == ("no JSON in the reply", "")
    assert (failed["n_fragments"], found["n_fragments"]) == (0, 3)
    assert (failed["n_calls"], found["n_calls"]) == (1, 2)
    assert (failed["n_prompts"], found["n_prompts"], found["n_dropped"]) == (0, 2, 1)
    assert rows["r00000c00000", 1]["valid_share"] == 1.0
    outside = rows["r00003c00004", 1]
    assert (outside["status"], outside["block_id"], outside["query"]) == ("empty", "b00001_00002", "lakes")
    assert (outside["n_calls"], outside["n_fragments"], outside["valid_share"]) == (0, 0, 0.0)


def test_areas_are_those_of_cores_and_of_what_was_judged_in_them(tmp_path: Path) -> None:
    """Cores of 10 x 10 px of half a metre; their area by Karney's algorithm on lon/lat corners."""
    record = mixed_record(LATTICE)
    tiles = (replace(record.tiles[0], valid_px=25), *record.tiles[1:])
    write_block_record(RunDir(tmp_path), replace(record, tiles=tiles), lattice=LATTICE)
    area = ledger(tmp_path, MIXED).searched
    rows = rows_of(tmp_path)
    frame = geopandas.read_parquet(tmp_path / "coverage.parquet")
    geod = pyproj.Geod(ellps="WGS84")
    want = [abs(geod.geometry_area_perimeter(g)[0]) / 1e6 for g in frame.geometry.to_crs(4326)]
    np.testing.assert_allclose(frame["km2"], want, rtol=1e-6)
    one = rows["r00000c00000", 0]
    assert one["searched_km2"] == pytest.approx(one["km2"] / 4)
    full = ("r00000c00000", 1), ("r00001c00000", 1), ("r00001c00001", 1)
    assert all(rows[key]["searched_km2"] == rows[key]["km2"] for key in full)
    none = ("r00001c00001", 0), ("r00003c00004", 0)  # failed; outside
    assert all(rows[key]["searched_km2"] == 0 < rows[key]["km2"] for key in none)
    assert area is not None
    assert (area.planned_px, area.searched_px) == (400, (225, 400))
    assert area.planned_km2 == pytest.approx(400 * 0.25e-6, rel=2e-3)
    assert area.searched_km2 == pytest.approx(
        [area.planned_km2 * share for share in (225 / 400, 1.0)], rel=1e-6
    )


def test_tiles_without_imagery_were_not_searched(tmp_path: Path) -> None:
    record = mixed_record(LATTICE)
    tiles = [
        replace(row, status=TileStatus.EMPTY, reason=Reason.NODATA, labels=None, fragments=())
        for row in record.tiles[:2]
    ]
    write_block_record(RunDir(tmp_path), replace(record, tiles=(*tiles, *record.tiles[2:])), lattice=LATTICE)
    area = ledger(tmp_path, MIXED).searched
    assert area is not None
    assert area.searched_px == (200, 300)


@pytest.mark.parametrize(
    ("km2", "planned_km2", "text"),
    [
        ((1.25, 1.25), 2.5, "1.25 km2 (50.0 %) of 2.5 km2 in the plan's tiles"),
        ((2.5, 0.0), 2.5, '2.5 km2 (100.0 %) for "roofs"; 0 km2 (0.0 %) for "lakes" of 2.5 km2 in '),
        ((), None, '3,000 px (75.0 %) for "roofs"; 1,000 px (25.0 %) for "lakes" of 4,000 px in '),
        ((12000.4, 12000.4), 24000.8, "12,000 km2 (50.0 %) of 24,001 km2 in the plan's tiles"),
        ((0.0, 0.0), 0.0, "0 km2 (0.0 %) of 0 km2 in the plan's tiles"),
        ((0.00005, 0.00005), 0.0001, "0.000050 km2 (50.0 %) of 0.0001 km2 in the plan's tiles"),
    ],
)
def test_a_searched_area_in_words(km2: tuple[float, ...], planned_km2: float | None, text: str) -> None:
    area = SearchedArea(planned_px=4000, searched_px=(3000, 1000), planned_km2=planned_km2, searched_km2=km2)
    assert area.text(("roofs", "lakes")).startswith(text)


def test_without_a_place_on_earth_areas_are_null_and_pixels_are_counted(tmp_path: Path) -> None:
    lattice = lattice_of(grid_of(crs=None))
    write_block_record(RunDir(tmp_path), mixed_record(lattice), lattice=lattice)
    area = write_coverage(RunDir(tmp_path), lattice, MIXED, keys=AlikeKeys(FP), queries=("a", "b")).searched
    assert {(r["km2"], r["searched_km2"]) for r in rows_of(tmp_path).values()} == {(None, None)}
    assert area is not None
    assert (area.planned_km2, area.searched_km2, area.searched_px) == (None, (), (300, 400))


def test_the_ledger_is_geoparquet_of_cores(tmp_path: Path) -> None:
    write_block_record(RunDir(tmp_path), mixed_record(LATTICE), lattice=LATTICE)
    ledger(tmp_path, MIXED)
    checked_geo(tmp_path / "coverage.parquet")
    rows = geopandas.read_parquet(tmp_path / "coverage.parquet")
    assert rows.crs.to_epsg() == 32636
    assert shapely.union_all(rows.geometry.to_numpy()).equals(shapely.box(450000, 35980, 450025, 36000))
    inside = rows[rows["reason"] != "outside_aoi"]
    assert shapely.union_all(inside.geometry.to_numpy()).equals(shapely.box(450000, 35990, 450010, 36000))


def test_a_planned_tile_without_record_breaks_the_law(tmp_path: Path) -> None:
    write_block_record(RunDir(tmp_path), mixed_record(LATTICE), lattice=LATTICE)
    count = ledger(tmp_path, MIXED | planned((3, 4), (2, 0)))
    assert not count.holds
    assert (count.planned, count.n_missing, count.missing) == (20, 2, ("r00002c00000", "r00003c00004"))
    with pytest.raises(IncompleteRunError, match=r"planned 20.*r00002c00000.*To fix") as caught:
        count.require()
    assert caught.value.exit_code == 1
    assert len(rows_of(tmp_path)) == 36


def test_unplanned_doubled_and_half_answered_tiles_break_the_law(tmp_path: Path) -> None:
    write_block_record(RunDir(tmp_path), mixed_record(LATTICE), lattice=LATTICE)
    count = ledger(tmp_path, planned((0, 0), (0, 1), (1, 0)))
    assert count.unplanned == ("r00001c00001",)
    assert not count.holds
    three = ledger(tmp_path, MIXED, n_queries=3)
    assert len(three.unplanned) == 4
    with pytest.raises(IncompleteRunError, match="lack a query"):
        three.require()


def test_a_lattice_wholly_outside_is_a_ledger_that_holds(tmp_path: Path) -> None:
    count = ledger(tmp_path, planned())
    count.require()
    assert (count.planned, count.empty) == (20, 20)
    assert checked_geo(tmp_path / "coverage.parquet")["geometry_types"] == ["Polygon"]


def test_damaged_records_stop_the_ledger(tmp_path: Path) -> None:
    path = write_block_record(RunDir(tmp_path), mixed_record(LATTICE), lattice=LATTICE)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RecordError, match="b00000_00000"):
        ledger(tmp_path, MIXED)


OUTCOMES = st.sampled_from(
    [
        (TileStatus.EMPTY, Reason.PROMPTER),
        (TileStatus.EMPTY, Reason.NODATA),
        (TileStatus.FAILED, Reason.TIMEOUT),
        (TileStatus.FOUND, Reason.NONE),
    ]
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(OUTCOMES, OUTCOMES), min_size=20, max_size=20),
    st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_planned_is_found_plus_empty_plus_failed_whatever_happens(
    tmp_path: Path,
    outcomes: list[tuple[tuple[TileStatus, Reason], tuple[TileStatus, Reason]]],
    wanted: list[bool],
) -> None:
    inside = np.array(wanted).reshape(LATTICE.n_tile_rows, LATTICE.n_tile_cols)
    run_dir = RunDir(tmp_path)
    run_dir.blocks.delete_tree()  # of the example before
    for block_row in range(LATTICE.n_block_rows):
        for block_col in range(LATTICE.n_block_cols):
            tiles = [
                t for t in LATTICE.tiles_of_block(block_row, block_col) if inside[t.tile_row, t.tile_col]
            ]
            rows = tuple(
                plain_tile(
                    LATTICE, t.tile_row, t.tile_col, *outcomes[t.tile_row * 5 + t.tile_col][q], query_index=q
                )
                for t in tiles
                for q in range(2)
            )
            valid = {t.tile_id: np.ones(t.core.shape, dtype=np.bool_) for t in tiles}
            record = BlockRecord(
                block_id=block_id(block_row, block_col), fingerprint=FP, tiles=rows, valid=valid
            )
            if tiles:
                write_block_record(run_dir, record, lattice=LATTICE)
    count = ledger(tmp_path, inside)
    count.require()
    pairs = [{a[0], b[0]} for (a, b), keep in zip(outcomes, wanted, strict=True) if keep]
    assert count.failed == sum(TileStatus.FAILED in pair for pair in pairs)
    assert count.empty == sum(pair == {TileStatus.EMPTY} for pair in pairs) + wanted.count(False)
    assert sum(count.reasons.values()) == count.planned == 20
    assert len(pq.read_table(run_dir.coverage)) == 2 * count.planned


def test_errors_carry_no_token(tmp_path: Path) -> None:
    record = mixed_record(LATTICE)
    rows = (
        replace(
            record.tiles[0],
            status=TileStatus.FAILED,
            reason=Reason.UNREADABLE,
            error="403 https://h/a.tif?sig=SECRET",
        ),
        *record.tiles[1:],
    )
    write_block_record(RunDir(tmp_path), replace(record, tiles=rows), lattice=LATTICE)
    ledger(tmp_path, MIXED)
    assert "SECRET" not in str(pq.read_table(tmp_path / "coverage.parquet").to_pylist())


def test_a_gated_runs_ledger_says_what_the_gate_thought(tmp_path: Path) -> None:
    plain = mixed_record(LATTICE)
    tiles = (replace(plain.tiles[0], gate_p=0.25, audited=True), *plain.tiles[1:])
    write_block_record(RunDir(tmp_path), replace(plain, tiles=tiles), lattice=LATTICE)
    ledger(tmp_path, MIXED)
    assert "gate_p" not in pq.read_schema(tmp_path / "coverage.parquet").names
    write_coverage(
        RunDir(tmp_path), LATTICE, MIXED, keys=AlikeKeys(FP), queries=QUESTIONS[:2], more=GATE_COLUMNS
    ).require()
    looks = {key: (row["gate_p"], row["audited"]) for key, row in rows_of(tmp_path).items()}
    assert looks["r00000c00000", 0] == (0.25, True)
    assert looks["r00000c00000", 1] == (None, False)
    assert looks["r00003c00003", 1] == (None, False)


def test_the_ledger_names_the_scenes_that_a_tile_was_judged_on(tmp_path: Path) -> None:
    plain = mixed_record(LATTICE)
    scenes = {plain.tiles[0].tile.tile_id: ScenePixels(numbers=(0, 2))}
    write_block_record(RunDir(tmp_path), replace(plain, scenes=scenes), lattice=LATTICE)
    write_coverage(
        RunDir(tmp_path),
        LATTICE,
        MIXED,
        keys=AlikeKeys(FP),
        queries=QUESTIONS[:2],
        more=SCENE_COLUMNS,
        scene_ids=("new", "mid", "old"),
    ).require()
    named = {key: row["scene_ids"] for key, row in rows_of(tmp_path).items()}
    assert named["r00000c00000", 0] == named["r00000c00000", 1] == ["new", "old"]
    assert named["r00000c00001", 0] == named["r00003c00004", 0] == []


def test_the_ledger_of_a_run_with_masks_tells_clouds_from_nodata(tmp_path: Path) -> None:
    plain = mixed_record(LATTICE)
    core_px = plain.tiles[4].tile.core.area_px
    clouded = [
        replace(
            row, status=TileStatus.EMPTY, reason=Reason.CLOUD, valid_px=core_px // 4, cloud_px=core_px // 2
        )
        for row in plain.tiles[4:6]
    ]
    record = replace(plain, tiles=(*plain.tiles[:4], *clouded, *plain.tiles[6:]))
    write_block_record(RunDir(tmp_path), record, lattice=LATTICE)
    ledger(tmp_path, MIXED)
    assert "cloud_share" not in pq.read_schema(tmp_path / "coverage.parquet").names
    law = write_coverage(
        RunDir(tmp_path), LATTICE, MIXED, keys=AlikeKeys(FP), queries=QUESTIONS[:2], more=CLOUD_COLUMNS
    )
    law.require()
    assert law.reasons["empty/cloud"] == 1
    told = rows_of(tmp_path)
    cloudy = told[clouded[0].tile.tile_id, 0]
    assert (cloudy["cloud_share"], cloudy["valid_share"], cloudy["searched_km2"]) == (0.5, 0.25, 0.0)
    assert {row["cloud_share"] for key, row in told.items() if key[0] != cloudy["tile_id"]} == {0.0}


def test_the_golden_ledger_is_still_readable() -> None:
    rows = geopandas.read_parquet(GOLDEN / "coverage.parquet")
    assert rows["status"].tolist()[:8] == [
        "found",
        "empty",
        "found",
        "found",
        "empty",
        "empty",
        "failed",
        "found",
    ]
    assert rows["status"].tolist()[8:] == ["empty"] * 32
    assert rows["query"].tolist()[6:8] == ["roofs", "été"]
