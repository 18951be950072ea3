"""Which two runs can be compared, and what is said about those that cannot."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from record_world import golden_run, grid_of, lattice_of, run_info

from pipeline.compare.run_pair import pair_of
from pipeline.errors import InputError
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.run_json import write_run_json


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    golden_run(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


def changed(run: Path, grid: RunGrid | None = None, **values: Any) -> None:
    """Write run.json anew."""
    info = run_info()
    write_run_json(run / "run.json", replace(info, lattice=lattice_of(grid or info.lattice.grid), **values))


def refused(runs: tuple[Path, Path], query: str | None = "roofs") -> str:
    with pytest.raises(InputError) as caught:
        pair_of(str(runs[0]), str(runs[1]), query)
    return str(caught.value)


def test_a_run_is_not_compared_with_itself(runs: tuple[Path, Path]) -> None:
    assert "twice" in refused((runs[0], runs[0]))


def test_two_runs_on_one_grid(runs: tuple[Path, Path]) -> None:
    pair = pair_of(str(runs[0]), str(runs[1]), "été")
    assert (pair.before.query_index, pair.after.query_index, pair.offset) == (1, 1, (0, 0))
    assert pair.window == pair.grid.window


def test_grids_that_are_shifted_by_whole_pixels_share_a_window(runs: tuple[Path, Path]) -> None:
    """The second grid begins 7 columns to the right and 4 rows up, and is smaller."""
    changed(runs[1], grid_of(30, 20, transform=(0.5, 0.0, 450003.5, 0.0, -0.5, 36002.0)))
    pair = pair_of(str(runs[0]), str(runs[1]), "roofs")
    assert pair.offset == (-4, 7)
    assert pair.window == Window(row0=0, col0=7, row1=16, col1=37)
    assert pair.in_after(pair.window) == Window(row0=4, col0=0, row1=20, col1=30)


def test_pixels_that_do_not_lie_on_each_other_are_refused(runs: tuple[Path, Path]) -> None:
    changed(runs[1], grid_of(transform=(0.5, 0.0, 450000.2, 0.0, -0.5, 36000.0)))
    assert "+0.40 columns and +0.00 rows off" in refused(runs)
    assert "--grid-of" in refused(runs)
    changed(runs[1], grid_of(transform=(0.6, 0.0, 450000.0, 0.0, -0.6, 36000.0)))
    assert "of another pixel size" in refused(runs)
    changed(runs[1], grid_of(crs="EPSG:32637"))
    assert "in one CRS" in refused(runs)
    changed(runs[1], grid_of(transform=(0.5, 0.0, 460000.0, 0.0, -0.5, 36000.0)))
    assert "without a common pixel" in refused(runs)


def test_queries_must_be_asked_of_both(runs: tuple[Path, Path]) -> None:
    assert "'roofs', 'été'" in refused(runs, None)
    assert "choose --query from 'roofs', 'été'" in refused(runs, "roof")
    changed(runs[1], queries=("été",))
    assert pair_of(str(runs[0]), str(runs[1]), None).query == "été"
    changed(runs[1], queries=("lakes",))
    assert "ask both dates the same query" in refused(runs, None)


def test_what_is_no_finished_run_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    assert "without a run.json" in refused((runs[0], tmp_path / "nothing"))
    changed(runs[1], status="running")
    assert "status running" in refused(runs)
    shutil.rmtree(runs[0] / "masks.zarr")
    assert "without masks.zarr" in refused(runs)
