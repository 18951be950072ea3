"""Where the grid of a run comes from, when it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from run.infer.oracle_context import oracle_context

from pipeline.errors import InputError
from pipeline.grid.kept_grid import KeptGrid
from pipeline.run.config import GridChoice
from pipeline.run.earlier_start import earlier_start
from pipeline.run.given_grid import given_grid
from pipeline.write.run_dir import RunDir


def test_the_grid_of_another_run_is_taken_for_tiles_of_its_size(tmp_path: Path) -> None:
    context = oracle_context(tmp_path)
    config = context.config
    assert given_grid(config, None) == KeptGrid()
    taken = replace(config, grid=GridChoice(of_run=context.run_dir))
    wanted = KeptGrid(grid=context.lattice.grid, binding=True)
    assert given_grid(taken, None) == wanted
    going_on = earlier_start(RunDir(context.run_dir))
    assert given_grid(config, going_on) == given_grid(taken, going_on) == wanted
    other = replace(context.lattice.grid, width=9)
    assert going_on is not None
    with pytest.raises(InputError, match="whose grid is another one"):
        given_grid(taken, replace(going_on, grid=other))
    tiles = replace(config.preset.tiles, px=30)
    with pytest.raises(InputError, match="add --tile 28 --halo 4 --block 2"):
        given_grid(replace(taken, preset=replace(config.preset, tiles=tiles)), None)
    with pytest.raises(InputError, match=r"without a run\.json"):
        given_grid(replace(config, grid=GridChoice(of_run=str(tmp_path / "none"))), None)
    with pytest.raises(InputError, match="--grid-area must be an existing file"):
        given_grid(replace(config, grid=GridChoice(area=str(tmp_path / "none.gpkg"))), None)
    assert given_grid(replace(config, grid=GridChoice(area="none.gpkg")), going_on) == wanted


def test_a_taken_grid_leaves_no_choice_of_pixels() -> None:
    with pytest.raises(InputError, match=r"--grid-of run and --gsd"):
        GridChoice(of_run="run", gsd_m=0.5)
    assert (
        GridChoice(of_run="run").parameters()
        == GridChoice(area="a").parameters()
        == GridChoice().parameters()
    )
