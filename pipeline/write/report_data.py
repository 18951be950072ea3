"""What the report shows, read back from the files of the run: a few columns, a few objects, one status per tile.

The report is a function of the run directory, so it shows what was written and not what was meant. Numbers come from narrow
columns; geometries and texts are read for the objects that are drawn and for no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from pipeline.schema import Reason, RunGrid, TileLattice
from pipeline.write.block_records import read_summaries
from pipeline.write.georeference import to_pixels
from pipeline.write.report_images import STATUS_COLOURS
from pipeline.write.run_dir import RunDir

MAX_OUTLINES = 20_000
"""Objects outlined on the overview; beyond that the largest ones are."""

N_RANDOM, N_LOWEST, N_LARGEST, N_NOTHING = 12, 6, 6, 6
"""Chips per group."""


@dataclass(frozen=True, kw_only=True)
class Objects:
    """One row per object, in the order of the files."""

    instance_id: NDArray[np.uint64]
    query_index: NDArray[np.int64]
    score: NDArray[np.float64]
    area_px: NDArray[np.int64]
    area_m2: NDArray[np.float64]
    """NaN without CRS."""

    def __len__(self) -> int:
        return len(self.instance_id)


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
    geometry: Any
    """Shapely, in pixels of the run grid."""


@dataclass(frozen=True, kw_only=True)
class EmptyTile:
    """A tile in which a prompter found nothing, and why it says so."""

    tile_row: int
    tile_col: int
    tile_id: str
    rationale: str


def read_objects(run_dir: RunDir) -> Objects:
    """The numbers of all instances; an object of several rows (`part_no`) is one, with the area of all of them."""
    columns = ["instance_id", "query_index", "score", "area_px", "area_m2", "part_no"]
    table = pq.read_table(run_dir.instances, columns=columns, partitioning=None)
    arrays = {name: table[name].to_numpy() for name in columns}
    names = np.stack([arrays["query_index"].astype(np.int64), arrays["instance_id"].astype(np.int64)])
    parted = np.unique(names[:, arrays["part_no"] > 0], axis=1)
    whole = ~np.isin(arrays["instance_id"], parted[1].astype(np.uint64))
    parts = np.flatnonzero(~whole)
    _, first, where = np.unique(names[:, parts], axis=1, return_index=True, return_inverse=True)
    rows = np.concatenate([np.flatnonzero(whole), parts[first]])

    def total(name: str) -> NDArray[Any]:
        summed = np.zeros(first.size, dtype=arrays[name].dtype)
        np.add.at(summed, where.reshape(-1), arrays[name][parts])
        return np.concatenate([arrays[name][whole], summed])

    return Objects(
        instance_id=arrays["instance_id"][rows],
        query_index=names[0, rows],
        score=arrays["score"][rows].astype(np.float64),
        area_px=total("area_px"),
        area_m2=total("area_m2").astype(np.float64),
    )


def read_outlines(run_dir: RunDir, objects: Objects, grid: RunGrid) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """(geometries in grid pixels, query_index) of all objects, or of the MAX_OUTLINES largest."""
    smallest = 0 if len(objects) <= MAX_OUTLINES else int(np.sort(objects.area_px)[-MAX_OUTLINES])
    table = pq.read_table(
        run_dir.instances, columns=["query_index", "geometry"], filters=pc.field("area_px") >= smallest, partitioning=None
    )
    return _pixels(table, grid), table["query_index"].to_numpy().astype(np.int64)


def choose(objects: Objects, *, seed: int) -> dict[str, list[tuple[int, int]]]:
    """Group -> (query_index, instance_id) of its chips; an object is shown once. Random ones take turns between queries."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(objects))
    turns = np.zeros(len(objects), dtype=np.int64)
    for query in np.unique(objects.query_index):
        mine = shuffled[objects.query_index[shuffled] == query]
        turns[mine] = np.arange(len(mine))
    orders = {
        "Picked at random": (shuffled[np.argsort(turns[shuffled], kind="stable")], N_RANDOM),
        "Lowest scores": (np.lexsort((objects.instance_id, objects.score)), N_LOWEST),
        "Largest": (np.lexsort((objects.instance_id, -objects.area_px)), N_LARGEST),
    }
    shown: set[int] = set()
    groups: dict[str, list[tuple[int, int]]] = {}
    for name in ("Largest", "Lowest scores", "Picked at random"):
        order, n = orders[name]
        rows = [row for row in order[: n + len(shown)].tolist() if row not in shown][:n]
        shown.update(rows)
        groups[name] = [(int(objects.query_index[row]), int(objects.instance_id[row])) for row in rows]
    return {name: groups[name] for name in orders}


def read_chips(run_dir: RunDir, keys: list[tuple[int, int]], grid: RunGrid) -> list[Chip]:
    """The objects of `keys`, in that order; parts of one object are put together."""
    wanted = pa.array([key[1] for key in keys], type=pa.uint64())
    columns = ["instance_id", "query_index", "query", "label", "score", "area_px", "area_m2", "rationale"]
    columns += ["tile_ids", "truncated", "box_px"]
    filters = pc.field("instance_id").isin(wanted)
    table = pq.read_table(run_dir.instances, columns=[*columns, "geometry"], filters=filters, partitioning=None)
    geometries = _pixels(table, grid)
    parts: dict[tuple[int, int], list[tuple[dict[str, Any], Any]]] = {}
    for row, geometry in zip(table.select(columns).to_pylist(), geometries, strict=True):
        parts.setdefault((row["query_index"], row["instance_id"]), []).append((row, geometry))
    return [_chip(parts[key]) for key in keys]


def _chip(parts: list[tuple[dict[str, Any], Any]]) -> Chip:
    rows, geometries = zip(*parts, strict=True)
    head = {name: value for name, value in rows[0].items() if name != "tile_ids"}
    return Chip(
        **{
            **head,
            "box_px": None if head["box_px"] is None else tuple(head["box_px"]),
            "area_px": sum(row["area_px"] for row in rows),
            "area_m2": None if head["area_m2"] is None else sum(row["area_m2"] for row in rows),
        },
        n_tiles=len({tile for row in rows for tile in row["tile_ids"]}),
        geometry=shapely.union_all(list(geometries)) if len(rows) > 1 else geometries[0],
    )


def read_statuses(run_dir: RunDir, lattice: TileLattice) -> NDArray[np.uint8]:
    """(n_tile_rows, n_tile_cols): 0 = outside the AOI, else 1 + position of the tile's status in STATUS_COLOURS."""
    looked_at = pc.field("reason") != Reason.OUTSIDE_AOI.value
    table = pq.read_table(run_dir.coverage, columns=["tile_row", "tile_col", "status"], filters=looked_at, partitioning=None)
    codes = {status: 1 + position for position, status in enumerate(STATUS_COLOURS)}
    statuses = np.zeros((lattice.n_tile_rows, lattice.n_tile_cols), dtype=np.uint8)
    statuses[table["tile_row"].to_numpy(), table["tile_col"].to_numpy()] = [codes[status] for status in table["status"].to_pylist()]
    return statuses


def read_failures(run_dir: RunDir, *, limit: int) -> list[tuple[str, str, str]]:
    """(tile_id, reason, error) of the first failed tiles."""
    table = pq.read_table(
        run_dir.coverage, columns=["tile_id", "reason", "error"], filters=pc.field("status") == "failed", partitioning=None
    )
    return [(row["tile_id"], row["reason"], row["error"]) for row in table.slice(0, limit).to_pylist()]


def read_empty_tiles(run_dir: RunDir, *, fingerprint: str, seed: int) -> list[EmptyTile]:
    """A few random tiles that a prompter judged and found empty, with the first query's rationale from the block record."""
    table = pq.read_table(
        run_dir.coverage,
        columns=["tile_id", "tile_row", "tile_col", "block_id"],
        filters=(pc.field("status") == "empty") & (pc.field("reason") == "prompter"),
        partitioning=None,
    )
    picked = np.random.default_rng(seed).permutation(table.num_rows)[:N_NOTHING]
    tiles = []
    for row in table.take(pa.array(np.sort(picked))).to_pylist():
        records = read_summaries(run_dir.block(row["block_id"]), fingerprint).tiles
        rationale = next((r.rationale for r in records if r.tile.tile_id == row["tile_id"]), "")
        tiles.append(EmptyTile(tile_row=row["tile_row"], tile_col=row["tile_col"], tile_id=row["tile_id"], rationale=rationale))
    return tiles


def _pixels(table: pa.Table, grid: RunGrid) -> NDArray[np.object_]:
    return to_pixels(np.asarray(shapely.from_wkb(table["geometry"].to_pylist()), dtype=object), grid)
