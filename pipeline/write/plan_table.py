"""plan.parquet: every tile of the lattice, what it reads and owns, and at which scenes the run looks there.

GeoParquet, one row per tile, row-major. The geometry is the core in the run's CRS. The plan is printed before
anything is loaded, so columns are computed in bulk: a million tiles take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files.store.store_path import Place
from pipeline.files.store.stored_files import read_parquet
from pipeline.schema.tiling import TileLattice, Window, block_id, tile_id
from pipeline.write.geo_parquet import with_geometry, write_geo_parquet
from pipeline.write.georeference import Geometries, to_crs_coordinates

SCHEMA = pa.schema(
    [
        ("tile_id", pa.string()),
        ("tile_row", pa.int32()),
        ("tile_col", pa.int32()),
        ("block_id", pa.string()),
        ("inside", pa.bool_()),
        *(
            (f"{kind}_{edge}", pa.int64())
            for kind in ("core", "read")
            for edge in ("row0", "col0", "row1", "col1")
        ),
        ("scene_ids", pa.list_(pa.string())),
    ]
)
"""The plan's columns. Windows are half-open, in pixels of the run grid; `inside`: the tile touches the AOI
and a scene. `scene_ids`: scenes that can show a part of what the tile reads, in order of priority; each fills
what those before it leave. Empty for tiles that are not looked at."""

_SLAB_TILES = 200_000
"""Tiles turned into rows at a time, so that memory stays bounded for any lattice."""


def write_plan(
    path: Place,
    lattice: TileLattice,
    inside: NDArray[np.bool_],
    scenes: Sequence[tuple[str, Window]] = (),
) -> int:
    """Write plan.parquet atomically.

    `inside`: (n_tile_rows, n_tile_cols). `scenes`: id and window on the run grid of each scene, in order of
    priority. Returns the number of tiles inside.
    """
    want = (lattice.n_tile_rows, lattice.n_tile_cols)
    if inside.shape != want:
        raise ValueError(f"inside must have shape {want}, one value per tile, got {inside.shape}")
    rows_per_slab = max(_SLAB_TILES // lattice.n_tile_cols, 1)
    slabs = (
        _slab(lattice, inside, scenes, first, min(first + rows_per_slab, want[0]))
        for first in range(0, want[0], rows_per_slab)
    )
    write_geo_parquet(path, slabs, schema=SCHEMA, grid=lattice.grid)
    return int(inside.sum())


def read_inside(path: Place, lattice: TileLattice) -> NDArray[np.bool_]:
    """Read back the `inside` array that `write_plan` was given. Raises InputError when the file is missing or
    of another lattice."""
    remedy = "plan again: start the run on its --out directory"
    try:
        inside = read_parquet(path, ["inside"])["inside"].to_numpy()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(
            f"{path} must be the readable plan of a run", came=str(error), remedy=remedy
        ) from error
    if inside.size != lattice.n_tile_rows * lattice.n_tile_cols:
        came = f"{inside.size} tiles"
        raise InputError(
            f"{path} must hold one row per tile of {lattice.n_tile_rows} x {lattice.n_tile_cols}",
            came=came,
            remedy=remedy,
        )
    return np.asarray(inside, dtype=np.bool_).reshape(lattice.n_tile_rows, lattice.n_tile_cols)


def core_polygons(
    lattice: TileLattice, tile_row: NDArray[np.int64], tile_col: NDArray[np.int64]
) -> Geometries:
    """Make polygons of some tiles' cores, in CRS coordinates (pixel space without CRS)."""
    row0, col0, row1, col1 = core_edges(lattice, tile_row, tile_col)
    return to_crs_coordinates(shapely.box(col0, row0, col1, row1), lattice.grid)


def planned_blocks(lattice: TileLattice, inside: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """List (block_row, block_col) of every block with a tile that is looked at, row-major. `inside`:
    (n_tile_rows, n_tile_cols), as `write_plan` takes it."""
    k = lattice.block_tiles
    rows, cols = np.nonzero(inside)
    blocks = np.unique(np.column_stack([rows // k, cols // k]), axis=0)
    return [(row, col) for row, col in blocks.tolist()]


def scenes_of_tiles(
    lattice: TileLattice,
    inside: NDArray[np.bool_],
    scenes: Sequence[tuple[str, Window]],
    first: int,
    last: int,
) -> pa.ListArray:
    """List per tile of the tile rows [first, last), row-major, the ids of the scenes that its read window can
    show, in the order of `scenes`; those of `write_plan`."""
    places: list[NDArray[np.int64]] = []
    numbers: list[NDArray[np.int64]] = []
    for number, (_, window) in enumerate(scenes):
        rows, cols = lattice.tiles_reading(window)
        rows = slice(max(rows.start, first), min(rows.stop, last))
        if rows.start >= rows.stop or cols.start >= cols.stop:
            continue
        row, col = np.nonzero(inside[rows, cols])
        places.append((row + rows.start - first) * lattice.n_tile_cols + col + cols.start)
        numbers.append(np.full(len(row), number))
    n_tiles = (last - first) * lattice.n_tile_cols
    place = np.concatenate(places) if places else np.zeros(0, dtype=np.int64)
    chosen = np.concatenate(numbers) if numbers else np.zeros(0, dtype=np.int64)
    counts = np.bincount(place, minlength=n_tiles)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    ids = pa.array([scene_id for scene_id, _ in scenes], type=pa.string())
    taken = ids.take(pa.array(chosen[np.argsort(place, kind="stable")]))
    return pa.ListArray.from_arrays(pa.array(offsets), taken)


def _slab(
    lattice: TileLattice,
    inside: NDArray[np.bool_],
    scenes: Sequence[tuple[str, Window]],
    first: int,
    last: int,
) -> pa.Table:
    tile_row, tile_col = (a.ravel() for a in np.mgrid[first:last, 0 : lattice.n_tile_cols])
    core = core_edges(lattice, tile_row, tile_col)
    halo = lattice.halo_px
    grid = lattice.grid
    k = lattice.block_tiles
    read = (
        np.maximum(core[0] - halo, 0),
        np.maximum(core[1] - halo, 0),
        np.minimum(core[2] + halo, grid.height),
        np.minimum(core[3] + halo, grid.width),
    )
    pairs = list(zip(tile_row.tolist(), tile_col.tolist(), strict=True))
    columns = [
        [tile_id(row, col) for row, col in pairs],
        tile_row,
        tile_col,
        [block_id(row // k, col // k) for row, col in pairs],
        inside[first:last].ravel(),
        *core,
        *read,
    ]
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, SCHEMA, strict=False)]
    table = pa.table([*arrays, scenes_of_tiles(lattice, inside, scenes, first, last)], schema=SCHEMA)
    return with_geometry(table, core_polygons(lattice, tile_row, tile_col))


def core_edges(
    lattice: TileLattice, tile_row: NDArray[np.int64], tile_col: NDArray[np.int64]
) -> tuple[NDArray[np.int64], ...]:
    """Compute (row0, col0, row1, col1) of the cores, as `TileLattice.tile` gives them one by one."""
    side = lattice.core_px
    row0 = tile_row * side
    col0 = tile_col * side
    return (
        row0,
        col0,
        np.minimum(row0 + side, lattice.grid.height),
        np.minimum(col0 + side, lattice.grid.width),
    )
