"""plan.parquet; the golden file is made by `python tests/golden/write/regenerate.py`."""

from __future__ import annotations

import time
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_world import grid_of, lattice_of

from pipeline.errors import InputError
from pipeline.schema.tiling import Window
from pipeline.write.plan_table import planned_blocks, read_inside, write_plan

GOLDEN = Path(__file__).parents[2] / "golden" / "write"


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**20))
def test_each_row_is_the_lattice_tile_of_that_name(
    tmp_path: Path, width: int, height: int, halo: int, k: int, seed: int
) -> None:
    lattice = lattice_of(grid_of(width, height), tile_px=2 * halo + 5, halo_px=halo, block_tiles=k)
    inside = np.random.default_rng(seed).random((lattice.n_tile_rows, lattice.n_tile_cols)) < 0.5
    assert write_plan(tmp_path / "plan.parquet", lattice, inside) == inside.sum()
    np.testing.assert_array_equal(read_inside(tmp_path / "plan.parquet", lattice), inside)
    plan = geopandas.read_parquet(tmp_path / "plan.parquet")
    assert len(plan) == lattice.n_tile_rows * lattice.n_tile_cols
    for row in plan.itertuples():
        tile = lattice.tile(row.tile_row, row.tile_col)
        assert row.tile_id == tile.tile_id
        assert (row.core_row0, row.core_col0, row.core_row1, row.core_col1) == (
            tile.core.row0,
            tile.core.col0,
            tile.core.row1,
            tile.core.col1,
        )
        assert (row.read_row0, row.read_col0, row.read_row1, row.read_col1) == (
            tile.read.row0,
            tile.read.col0,
            tile.read.row1,
            tile.read.col1,
        )
        assert row.block_id == f"b{tile.tile_row // k:05d}_{tile.tile_col // k:05d}"
    assert plan.crs.to_epsg() == 32636
    assert plan.geometry.area.sum() == pytest.approx(width * height * 0.25)
    assert shapely.union_all(plan.geometry.to_numpy()).equals(
        shapely.box(450000, 36000 - height / 2, 450000 + width / 2, 36000)
    )


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**20), st.integers(0, 6))
def test_every_tile_names_its_scenes_in_order(tmp_path: Path, seed: int, n_scenes: int) -> None:
    rng = np.random.default_rng(seed)
    lattice = lattice_of(grid_of(61, 43), tile_px=13, halo_px=3, block_tiles=2)
    inside = rng.random((lattice.n_tile_rows, lattice.n_tile_cols)) < 0.7
    scenes = []
    for number in range(n_scenes):
        rows, cols = np.sort(rng.integers(0, 44, 2)), np.sort(rng.integers(0, 62, 2))
        scenes.append((f"s{number}", Window(row0=rows[0], col0=cols[0], row1=rows[1], col1=cols[1])))
    write_plan(tmp_path / "plan.parquet", lattice, inside, scenes)
    for row in geopandas.read_parquet(tmp_path / "plan.parquet").itertuples():
        read = lattice.tile(row.tile_row, row.tile_col).read
        wanted = [name for name, window in scenes if read.intersect(window)]
        assert list(row.scene_ids) == (wanted if inside[row.tile_row, row.tile_col] else [])


def test_planned_blocks_are_those_with_a_tile_to_look_at_row_major() -> None:
    lattice = lattice_of(grid_of(70, 50), tile_px=14, halo_px=2, block_tiles=2)
    inside = np.zeros((5, 7), dtype=np.bool_)
    inside[4, 6] = inside[0, 5] = inside[1, 4] = inside[2, 1] = True
    assert (lattice.n_tile_rows, lattice.n_tile_cols) == inside.shape
    assert planned_blocks(lattice, inside) == [(0, 2), (1, 0), (2, 3)]
    assert planned_blocks(lattice, np.zeros_like(inside)) == []


def test_a_hundred_thousand_tiles_take_seconds(tmp_path: Path) -> None:
    lattice = lattice_of(grid_of(896 * 320, 896 * 320), tile_px=1024, halo_px=64, block_tiles=4)
    start = time.process_time()
    write_plan(tmp_path / "plan.parquet", lattice, np.ones((320, 320), dtype=np.bool_))
    assert time.process_time() - start < 20


def test_the_golden_plan_is_still_readable() -> None:
    inside = read_inside(GOLDEN / "plan.parquet", lattice_of())
    assert np.argwhere(inside).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert geopandas.read_parquet(GOLDEN / "plan.parquet").total_bounds.tolist() == [
        450000.0,
        35980.0,
        450025.0,
        36000.0,
    ]


def test_a_missing_damaged_or_other_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plan\.parquet"):
        read_inside(tmp_path / "plan.parquet", lattice_of())
    (tmp_path / "plan.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="readable plan"):
        read_inside(tmp_path / "plan.parquet", lattice_of())
    with pytest.raises(InputError, match="one row per tile"):
        read_inside(GOLDEN / "plan.parquet", lattice_of(grid_of(10, 10)))
    with pytest.raises(ValueError, match="shape"):
        write_plan(tmp_path / "plan.parquet", lattice_of(), np.ones((1, 1), dtype=np.bool_))
