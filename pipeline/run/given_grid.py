"""The grid that a run is told to have: of the run that it goes on with, of another run, or of a region."""

from __future__ import annotations

from pipeline.errors import InputError
from pipeline.grid.aoi import Aoi, read_aoi
from pipeline.grid.kept_grid import KeptGrid
from pipeline.run.config import RunConfig, TileOptions
from pipeline.run.earlier_start import EarlierStart
from pipeline.schema.tiling import RunGrid
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import read_run_json


def given_grid(config: RunConfig, going_on: EarlierStart | None) -> KeptGrid:
    """Find the grid. `going_on`: the run that is updated, which keeps its own; --grid-area is then what it
    has begun with. Raises InputError.
    """
    choice = config.grid
    taken = None if choice.of_run is None else grid_of_run(choice.of_run, config.tiles)
    if going_on is not None:
        if taken is not None and taken != going_on.grid:
            raise InputError(
                "--update goes on with the grid that the run has",
                came=f"--grid-of {choice.of_run}, whose grid is another one",
                remedy="leave --grid-of out, or give another --out",
            )
        return KeptGrid(grid=going_on.grid, binding=True)
    if taken is not None:
        return KeptGrid(grid=taken, binding=True)
    if choice.area is not None:
        area = choice.area
        return KeptGrid(area=area if isinstance(area, Aoi) else read_aoi(area, what="--grid-area"))
    return KeptGrid()


def grid_of_run(run: str, tiles: TileOptions) -> RunGrid:
    """Read the grid of another run, for tiles of the same size. Raises InputError."""
    run_dir = RunDir(run)
    if not run_dir.has_run():
        raise InputError(
            "--grid-of must be the directory of a run",
            came=f"{run_dir.path} without a run.json",
            remedy="give the --out of a run of segment_region.py",
        )
    lattice = read_run_json(run_dir.run_json).lattice
    theirs = (lattice.tile_px, lattice.halo_px, lattice.block_tiles)
    if theirs != (tiles.px, tiles.halo_px, tiles.block_tiles):
        raise InputError(
            "--grid-of needs tiles of the same size, so that tiles and ids agree",
            came=f"--tile {tiles.px} --halo {tiles.halo_px} --block {tiles.block_tiles}",
            remedy=f"add --tile {theirs[0]} --halo {theirs[1]} --block {theirs[2]}",
        )
    return lattice.grid
