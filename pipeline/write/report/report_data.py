"""What the report shows of single objects and tiles, read back from the files of the run.

The report depends on the run directory alone, so it shows what was really written. Geometries and texts are
read only for objects that are drawn; figures over all objects come from `report_objects`. Everything is
streamed (`report_rows`), and outlines are reduced to the picture's resolution as they are read. Those of a
file whose CRS is not that of the grid, as files of several zones have it, are moved to the grid.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from pipeline.errors import RecordError
from pipeline.files.store.store_path import StorePath
from pipeline.files.store.stored_files import open_parquet
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.georeference import projjson_of, to_pixels
from pipeline.write.records.block_records import read_summaries
from pipeline.write.records.record_keys import RecordKeys, key_of
from pipeline.write.report.report_images import STATUS_COLOURS
from pipeline.write.report.report_objects import FirstRows, Key, ObjectNames, keyed_hash
from pipeline.write.report.report_rows import batches, instance_files, rows_where
from pipeline.write.run_dir import RunDir

N_NOTHING = 6
"""Number of tiles shown in which nothing was found."""

MAX_CHIP_POINTS = 200_000
"""Most points (16 bytes each) kept of one object's parts. With more, the outline loses detail that its
chip cannot show.
"""

_COARSE = 1000
"""Steps that a coarse outline divides its longer side into: finer than the pixels of a chip."""

TILE_STATES = ("outside", "nothing found", "no imagery", "under clouds", "gate", "found", "failed")
"""What may become of a tile. Of several queries, or of several tiles in one cell, the last of them counts."""

_NOT_JUDGED = {Reason.NODATA: "no imagery", Reason.CLOUD: "under clouds", Reason.GATE: "gate"}

_STATE = ("status", "reason", "valid_share")

_WHOLE = 0.9995
"""Share of a tile's pixels from which on it counts as judged as a whole."""

_NAME = ("query_index", "instance_id")

_CHIP = (*_NAME, "query", "label", "score", "area_px", "area_m2", "rationale", "truncated", "box_px")


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One object to show."""

    instance_id: int
    query_index: int
    query: str
    label: str
    score: float
    area_px: int
    area_m2: float | None
    rationale: str
    n_tiles: int
    truncated: bool
    box_px: tuple[float, ...] | None
    geometry: shapely.Geometry
    """Shapely geometry in pixels of the run grid."""


@dataclass(frozen=True, kw_only=True)
class EmptyTile:
    """A tile in which a prompter found nothing, and why it says so."""

    tile_row: int
    tile_col: int
    tile_id: str
    rationale: str


def read_outlines(
    run_dir: RunDir, outlined: ObjectNames | None, grid: RunGrid, *, tolerance_px: float = 0.0
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Read (geometries in grid pixels, query_index) of the rows of some objects, in the order of the files.

    `outlined` = None: all objects. Points that lie within `tolerance_px` of the line without them are left
    out; 0: none are.
    """
    shapes = [np.zeros(0, dtype=object)]
    queries = [np.zeros(0, dtype=np.int64)]
    for path in instance_files(run_dir):
        move = mover(path, grid)
        for batch in rows_where(path, named(outlined), by=_NAME, columns=("query_index", "geometry")):
            geometries = _outlines(batch, grid, move)
            shapes.append(shapely.simplify(geometries, tolerance_px) if tolerance_px > 0 else geometries)
            queries.append(batch["query_index"].to_numpy().astype(np.int64))
    return np.concatenate(shapes), np.concatenate(queries)


def read_chips(run_dir: RunDir, keys: list[Key], grid: RunGrid) -> list[Chip]:
    """Read the objects of `keys`, in that order; parts of one object are put together. One that is moved to
    the grid has no box: it is in pixels of another.
    """
    names = ObjectNames(
        query_index=np.array([query for query, _ in keys], dtype=np.int64),
        instance_id=np.array([instance for _, instance in keys], dtype=np.uint64),
    )
    parts = {key: _ObjectRows() for key in keys}
    for path in instance_files(run_dir) if keys else []:
        move = mover(path, grid)
        for batch in rows_where(
            path, named(names), by=_NAME, columns=(*_CHIP, "part_no", "tile_ids", "geometry")
        ):
            table = pa.Table.from_batches([batch])
            for i, (row, geometry) in enumerate(
                zip(table.select(list(_CHIP)).to_pylist(), _outlines(batch, grid, move), strict=True)
            ):
                if move is not None:
                    row["box_px"] = None
                parts[row["query_index"], row["instance_id"]].add(
                    row, batch["part_no"][i].as_py(), batch["tile_ids"][i].values, geometry
                )
    return [parts[key].chip() for key in keys]


@dataclass(kw_only=True)
class _ObjectRows:
    """The rows of one object so far."""

    head: dict[str, Any] = field(default_factory=dict)
    head_no: int = -1
    """part_no of the row that `head` is."""
    area_px: int = 0
    areas_m2: dict[int, float | None] = field(default_factory=dict)
    """part_no -> area."""
    tile_ids: pa.Array = field(default_factory=lambda: pa.array([], type=pa.string()))
    """Ids of the tiles, each once."""
    geometries: list[shapely.Geometry] = field(default_factory=list)
    tolerance_px: float = 0.0
    """How far the outline may be off, when it had so many points that it was reduced; 0: it is exact."""

    def add(self, row: dict[str, Any], part_no: int, tile_ids: pa.Array, geometry: shapely.Geometry) -> None:
        if not self.head or part_no < self.head_no:
            self.head = row
            self.head_no = part_no
        self.area_px += row["area_px"]
        self.areas_m2[part_no] = row["area_m2"]
        self.tile_ids = pc.unique(pa.concat_arrays([self.tile_ids, tile_ids.cast(pa.string())]))
        self.geometries.append(geometry)
        if (
            len(self.geometries) > 1
            and int(shapely.get_num_coordinates(self.geometries).sum()) > MAX_CHIP_POINTS
        ):
            self._reduce()

    def chip(self) -> Chip:
        areas = [area for _, area in sorted(self.areas_m2.items())]
        known = [area for area in areas if area is not None]
        box = self.head["box_px"]
        return Chip(
            **{
                **self.head,
                "box_px": None if box is None else tuple(box),
                "area_px": self.area_px,
                "area_m2": sum(known) if len(known) == len(areas) else None,
            },
            n_tiles=len(self.tile_ids),
            geometry=self._whole(),
        )

    def _reduce(self) -> None:
        x0, y0, x1, y1 = shapely.total_bounds(self.geometries)
        self.tolerance_px = float(max(x1 - x0, y1 - y0)) / _COARSE
        self.geometries = [shapely.simplify(self._whole(), self.tolerance_px)]

    def _whole(self) -> shapely.Geometry:
        whole = shapely.union_all(self.geometries) if len(self.geometries) > 1 else self.geometries[0]
        if self.tolerance_px == 0:
            return whole
        # closes the slits that a reduced outline and the part next to it leave along their common edge, and
        # holes as narrow
        grown = shapely.buffer(whole, 2 * self.tolerance_px, join_style="mitre")
        return shapely.buffer(grown, -2 * self.tolerance_px, join_style="mitre")


def read_statuses(run_dir: RunDir, lattice: TileLattice) -> NDArray[np.uint8]:
    """Read what became of every tile, (n_tile_rows, n_tile_cols): 0 = outside the AOI, else 1 + place in
    STATUS_COLOURS. A tile that failed for one query is failed, else one that found something is found. Raises
    RecordError for an unknown status."""
    return statuses_of(read_states(run_dir, lattice))


def read_states(run_dir: RunDir, lattice: TileLattice) -> NDArray[np.uint8]:
    """Read the code of every tile (`state_codes`), (n_tile_rows, n_tile_cols): the highest of all queries."""
    worst = np.zeros((lattice.n_tile_rows, lattice.n_tile_cols), dtype=np.uint8)
    for batch in batches(run_dir.coverage, ["tile_row", "tile_col", *_STATE], coded=("status", "reason")):
        place = (batch["tile_row"].to_numpy(), batch["tile_col"].to_numpy())
        np.maximum.at(worst, place, state_codes(batch, run_dir.coverage))
    return worst


def state_codes(batch: pa.RecordBatch, path: StorePath) -> NDArray[np.uint8]:
    """What became of each row's tile: twice the place in TILE_STATES, and 1 more where models judged only a
    part of the tile, for want of imagery. Raises RecordError for an unknown status; `path` is named in it."""
    codes = np.zeros(batch.num_rows, dtype=np.uint8)
    codes[_equal(batch["status"], TileStatus.EMPTY.value)] = TILE_STATES.index("nothing found")
    for reason, name in _NOT_JUDGED.items():
        codes[_equal(batch["reason"], reason.value)] = TILE_STATES.index(name)
    for status in (TileStatus.FOUND, TileStatus.FAILED):
        codes[_equal(batch["status"], status.value)] = TILE_STATES.index(status.value)
    outside = _equal(batch["reason"], Reason.OUTSIDE_AOI.value)
    if not (codes[~outside] > 0).all():
        known = ", ".join(STATUS_COLOURS)
        raise RecordError(f"{path} holds a status other than {known}. To fix: merge the block records again")
    codes[outside] = 0
    share = batch["valid_share"].to_numpy(zero_copy_only=False)
    judged = np.isin(codes, [TILE_STATES.index(name) for name in ("nothing found", "gate", "found")])
    return np.asarray(2 * codes + (judged & (share < _WHOLE)), dtype=np.uint8)


def statuses_of(states: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Codes (...) as statuses: 0 = outside the AOI, else 1 + place in STATUS_COLOURS."""
    place = {name: 1 + at for at, name in enumerate(STATUS_COLOURS)}
    of_state = [0, *(place.get(name, place["empty"]) for name in TILE_STATES[1:])]
    return np.array(of_state, dtype=np.uint8)[states // 2]


def read_failures(run_dir: RunDir, *, limit: int) -> list[tuple[str, str, str]]:
    """Read (tile_id, reason, error) of the first failed tiles; what several queries share is there once."""

    def failed(rows: pa.Table) -> NDArray[np.bool_]:
        return _equal(rows["status"], TileStatus.FAILED.value)

    found: dict[tuple[str, str, str], None] = {}
    columns = ("tile_id", "reason", "error")
    for batch in rows_where(run_dir.coverage, failed, by=("status",), columns=columns, coded=("status",)):
        found |= {(row["tile_id"], row["reason"], row["error"]): None for row in batch.to_pylist()}
        if len(found) >= limit:
            break
    return list(found)[:limit]


def read_empty_tiles(
    run_dir: RunDir, lattice: TileLattice, *, keys: RecordKeys, seed: int
) -> list[EmptyTile]:
    """Choose a few random tiles that a prompter found empty for every query, with the first one's rationale.

    Random: the smallest `keyed_hash` of (seed, tile_row, tile_col). They are shown in the order of the
    lattice.
    """
    picked = FirstRows(N_NOTHING, width=3)
    empty = read_statuses(run_dir, lattice) == 1 + list(STATUS_COLOURS).index(TileStatus.EMPTY.value)
    for batch in batches(
        run_dir.coverage, ["tile_row", "tile_col", "query_index", "reason"], coded=("reason",)
    ):
        judged = empty[batch["tile_row"].to_numpy(), batch["tile_col"].to_numpy()]
        judged &= batch["query_index"].to_numpy() == 0
        judged &= _equal(batch["reason"], Reason.PROMPTER.value)
        row, col = (batch[name].to_numpy().astype(np.int64)[judged] for name in ("tile_row", "tile_col"))
        picked.add(keyed_hash(seed, row, col), row, col)
    _, rows, cols = picked.columns
    places = list(zip(rows.tolist(), cols.tolist(), strict=True))

    def chosen(found: pa.Table) -> NDArray[np.bool_]:
        at = [found[name].to_numpy() for name in ("tile_row", "tile_col")]
        mask = np.zeros(found.num_rows, dtype=np.bool_)
        for r, c in places:
            mask |= (at[0] == r) & (at[1] == c)
        return np.asarray(mask & (found["query_index"].to_numpy() == 0), dtype=np.bool_)

    tiles = []
    at_place = ("tile_row", "tile_col")
    columns = (*at_place, "tile_id", "block_id")
    for batch in rows_where(run_dir.coverage, chosen, by=(*at_place, "query_index"), columns=columns):
        for place in batch.to_pylist():
            name = place.pop("block_id")
            key = key_of(keys, name)
            records = read_summaries(run_dir.block(name), key.fingerprint, key.seal).tiles
            rationale = next((r.rationale for r in records if r.tile.tile_id == place["tile_id"]), "")
            tiles.append(EmptyTile(**place, rationale=rationale))
    return sorted(tiles, key=lambda tile: (tile.tile_row, tile.tile_col))


def named(names: ObjectNames | None) -> Callable[[pa.Table], NDArray[np.bool_]]:
    """Whether a row belongs to one of these objects; None = every row."""

    def wanted(rows: pa.Table) -> NDArray[np.bool_]:
        if names is None:
            return np.ones(rows.num_rows, dtype=np.bool_)
        return names.hold(rows["query_index"].to_numpy().astype(np.int64), rows["instance_id"].to_numpy())

    return wanted


def _equal(column: pa.Array | pa.ChunkedArray, text: str) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(column, text).to_numpy(zero_copy_only=False), dtype=np.bool_)


def mover(path: StorePath, grid: RunGrid) -> Transformer | None:
    """What moves geometries of a file to the CRS of the grid. None: they are there."""
    with open_parquet(path) as file:
        geo = (file.metadata.metadata or {}).get(b"geo")
    own = None if geo is None else json.loads(geo)["columns"]["geometry"]["crs"]
    if own is None or grid.crs_wkt is None or own == projjson_of(grid):
        return None
    return Transformer.from_crs(CRS.from_json_dict(own), CRS.from_wkt(grid.crs_wkt), always_xy=True)


def pixels_of(shapes: NDArray[np.object_], grid: RunGrid, move: Transformer | None) -> NDArray[np.object_]:
    """Geometries (n,) of a file in pixels of the grid; `move`: the file's `mover`."""
    return to_pixels(shapes if move is None else moved(shapes, move), grid)


def _outlines(batch: pa.RecordBatch, grid: RunGrid, move: Transformer | None) -> NDArray[np.object_]:
    return pixels_of(np.asarray(shapely.from_wkb(batch["geometry"].to_pylist()), dtype=object), grid, move)


def moved(shapes: NDArray[np.object_], move: Transformer) -> NDArray[np.object_]:
    """Geometries (n,) in another CRS, vertex by vertex."""
    return np.asarray(
        shapely.transform(shapes, lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1]))),
        dtype=object,
    )
