"""What a person changed of a run's objects: edits.parquet beside the run, which no new start touches.

1. A person marks objects of an export in a GIS: a text column `edit` says `accept`, `reject`, `redraw` (the
   feature's new shape counts), `add` (a new feature) or `undo`. Rows without a mark say nothing.
2. `read_marks` checks such a file against the run it was made from.
3. `keep_edits` adds the marks to edits.parquet, with who, when and from which file. A later mark of an object
   replaces an earlier one, and so does the same outline that is added again. `undo` leaves none.

An edit holds the object's outline as it was. Ids are a run's own and may change when it is merged again or
updated; the outline finds the object then (`pipeline.write.export.edited_instances`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from pipeline.errors import InputError
from pipeline.files.output_folder import writing_to
from pipeline.files.store.store_path import StorePath
from pipeline.files.store.stored_files import read_parquet
from pipeline.files.vector_file import POLYGONS, Features, read_features
from pipeline.schema.tiling import RunGrid
from pipeline.write.geo_parquet import with_geometry, write_geo_parquet
from pipeline.write.georeference import Geometries, crs_of, to_pixels, transformer
from pipeline.write.instances import part_files
from pipeline.write.run_dir import RunDir

EDITS = "edits.parquet"

ACCEPT = "accept"
REJECT = "reject"
REDRAW = "redraw"
ADD = "add"
UNDO = "undo"
ACTIONS = (ACCEPT, REJECT, REDRAW, ADD, UNDO)

_SAME_IOU = 0.99
"""Intersection over union from which two outlines that were added are one."""

SCHEMA = pa.schema(
    [
        ("query", pa.string()),
        ("action", pa.string()),
        ("instance_id", pa.uint64()),
        ("run_id", pa.string()),
        ("was", pa.binary()),
        ("reviewer", pa.string()),
        ("at", pa.timestamp("ms", tz="UTC")),
        ("source", pa.string()),
    ]
)
"""`instance_id` and `was` (WKB): the object and its outline when it was marked; null for `add`. The geometry
is the outline that counts: a new one for `redraw` and `add`."""


@dataclass(frozen=True, kw_only=True)
class EditMark:
    """What one feature of a file says."""

    query: str
    action: str
    instance_id: int | None
    was: shapely.Geometry | None
    shape: shapely.Geometry
    """In the CRS of the run."""


def edits_path(run_dir: RunDir) -> StorePath:
    """Where a run's edits lie."""
    return run_dir.path / EDITS


def read_edits(run_dir: RunDir) -> pa.Table | None:
    """Read a run's edits; None: there are none."""
    path = edits_path(run_dir)
    return read_parquet(path) if path.is_file() else None


def read_marks(
    path: Path, run_dir: RunDir, grid: RunGrid, queries: Sequence[str], *, run_id: str
) -> list[EditMark]:
    """Read the marked features of a file.

    grid: in whose CRS the run's tables are. run_id: of the run, which features must have where they have any.
    Raises InputError for a file without a mark, marks that are none,
    queries and objects that the run does not have, shapes that are no polygons, and an object marked twice.
    """
    features = read_features(path, what="the edits", kinds=POLYGONS)
    shapes = _in_crs(features, grid)
    marked = [at for at, row in enumerate(features.attributes) if str(row.get("edit") or "").strip()]
    if not marked:
        raise InputError(
            "at least one feature must be marked",
            came=f"{path} without a text in a column `edit`",
            remedy=f"write {', '.join(ACTIONS[:-1])} or {UNDO} there, and save",
        )
    rows = [features.attributes[at] for at in marked]
    named_rows = {(_query_of(row, queries), row.get("instance_id")) for row in rows}
    others = {str(row["run_id"]) for row in rows if row.get("run_id")} - {run_id}
    if others:
        raise InputError(
            "marks must be of objects of this run",
            came=f"objects of run {min(others)} in {path}; this one is {run_id}",
            remedy="export this run anew and mark that: ids of another one mean other objects",
        )
    known = _outlines(run_dir, queries, named_rows)
    marks = [_mark(features, at, shapes[at], queries, known) for at in marked]
    _require_on_grid(marks, grid, path)
    named = [(mark.query, mark.instance_id) for mark in marks if mark.instance_id is not None]
    if len(set(named)) < len(named):
        (query, twice), *_ = [name for name in named if named.count(name) > 1]
        raise InputError(
            "an object is marked once",
            came=f"{twice} of {query!r} in several features",
            remedy=f"leave one of them, and mark further pieces as {ADD}",
        )
    return marks


def _require_on_grid(marks: Sequence[EditMark], grid: RunGrid, path: Path) -> None:
    """Raise InputError for an outline that was drawn and lies beside the run's imagery."""
    drawn = np.array([mark.shape for mark in marks if mark.action in (REDRAW, ADD)], dtype=object)
    ground = shapely.box(0, 0, grid.width, grid.height)
    off = ~shapely.intersects(to_pixels(drawn, grid), ground) if len(drawn) else np.zeros(0, np.bool_)
    if off.any():
        x, y = shapely.get_coordinates(shapely.centroid(drawn[off][:1]))[0].tolist()
        raise InputError(
            "a drawn outline must lie on the run's imagery",
            came=f"{int(off.sum())} beside it in {path}, the first at {x:.10g}, {y:.10g} in the run's CRS",
            remedy="see that the file has the CRS that it says, or drop these features",
        )


def keep_edits(
    run_dir: RunDir, marks: Sequence[EditMark], *, grid: RunGrid, run_id: str, reviewer: str, source: str
) -> pa.Table:
    """Add marks to the run's edits and return all of them."""
    now = datetime.now(UTC)
    rows: list[Mapping[str, Any]] = [
        {
            "query": mark.query,
            "action": mark.action,
            "instance_id": mark.instance_id,
            "run_id": run_id,
            "was": None if mark.was is None else shapely.to_wkb(mark.was),
            "reviewer": reviewer,
            "at": now,
            "source": source,
        }
        for mark in marks
        if mark.action != UNDO
    ]
    shapes = [mark.shape for mark in marks if mark.action != UNDO]
    fresh = with_geometry(pa.Table.from_pylist(rows, schema=SCHEMA), np.array(shapes, dtype=object))
    earlier = read_edits(run_dir)
    if earlier is not None:
        fresh = pa.concat_tables([earlier.filter(pa.array(_still_valid(earlier, marks))), fresh])
    with writing_to(run_dir.path, "RUN"):
        write_geo_parquet(edits_path(run_dir), [fresh], schema=SCHEMA, grid=grid)
    return fresh


def _still_valid(earlier: pa.Table, marks: Sequence[EditMark]) -> list[bool]:
    """Which earlier edits no mark replaces: by the object's id, or by the outline of what was added."""
    replaced = {(mark.query, mark.instance_id) for mark in marks if mark.instance_id is not None}
    drawn = [(mark.query, mark.shape) for mark in marks if mark.instance_id is None]
    names = zip(earlier["query"].to_pylist(), earlier["instance_id"].to_pylist(), strict=True)
    shapes = shapely.from_wkb(earlier["geometry"].to_numpy())
    return [
        name not in replaced
        if name[1] is not None
        else not any(query == name[0] and _same(shape, other) for query, other in drawn)
        for name, shape in zip(names, shapes, strict=True)
    ]


def _same(one: shapely.Geometry, other: shapely.Geometry) -> bool:
    common = one.intersection(other).area
    return bool(common >= _SAME_IOU * (one.area + other.area - common))


def _in_crs(features: Features, grid: RunGrid) -> Geometries:
    ours = crs_of(grid)
    if (ours is None) != (features.crs is None):
        raise InputError(
            "the edits and the run need a CRS on both sides, or none",
            came=f"{'none' if features.crs is None else features.crs.name} in {features.path}",
            remedy="edit a file that jobs/export_results.py made of this run",
        )
    if ours is None or features.crs is None or CRS(features.crs) == ours:
        return features.geometries
    move = transformer(features.crs.to_wkt(), ours.to_wkt())

    def moved(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(move.transform(xy[:, 0], xy[:, 1]))

    return np.asarray(shapely.transform(features.geometries, moved), dtype=object)


def _outlines(
    run_dir: RunDir, queries: Sequence[str], wanted: Collection[tuple[str, Any]]
) -> dict[tuple[str, int], shapely.Geometry]:
    """Outlines of the wanted objects that the run has."""
    found: dict[tuple[str, int], shapely.Geometry] = {}
    if all(number is None for _, number in wanted):
        return found
    for file in part_files(run_dir):
        rows = read_parquet(file, ["query_index", "instance_id", "geometry"])
        numbered = zip(rows["query_index"].to_pylist(), rows["instance_id"].to_pylist(), strict=True)
        names = [(queries[query], number) for query, number in numbered]
        at = [place for place, name in enumerate(names) if name in wanted]
        shapes = shapely.from_wkb(
            rows["geometry"].take(pa.array(at, pa.int64())).to_numpy(zero_copy_only=False)
        )
        for place, shape in zip(at, shapes, strict=True):
            earlier = found.get(names[place])
            found[names[place]] = shape if earlier is None else earlier.union(shape)
    return found


def _query_of(row: Mapping[str, Any], queries: Sequence[str]) -> str:
    """The query that a feature names; that of the run if it has one only; empty: none."""
    return str(row.get("query") or (queries[0] if len(queries) == 1 else ""))


def _mark(
    features: Features,
    at: int,
    shape: shapely.Geometry,
    queries: Sequence[str],
    known: Mapping[tuple[str, int], shapely.Geometry],
) -> EditMark:
    row = features.attributes[at]
    place = f"feature {features.places[at]} of {features.path}"
    action = str(row["edit"]).strip().lower()
    if action not in ACTIONS:
        raise InputError(
            f"`edit` must be one of {', '.join(ACTIONS)}",
            came=f"{row['edit']!r} in {place}",
            remedy="correct it",
        )
    query = _query_of(row, queries)
    if query not in queries:
        raise InputError(
            "a marked feature needs a query of the run, word for word",
            came=f"{query!r} in {place}",
            remedy=f"write one of {', '.join(map(repr, queries))} in its column `query`",
        )
    if action in (REDRAW, ADD) and not shapely.is_valid(shape):
        raise InputError(
            "a drawn outline must be a valid polygon",
            came=f"{shapely.is_valid_reason(shape)} in {place}",
            remedy="mend it in the GIS (QGIS: Fix geometries)",
        )
    number = row.get("instance_id")
    if number is None and action == REJECT:
        action = UNDO  # of an object that was added: it then leaves no edit
    if action == ADD or (action == UNDO and number is None):
        return EditMark(query=query, action=action, instance_id=None, was=None, shape=shape)
    was = None if number is None else known.get((query, int(number)))
    if number is None or was is None:
        raise InputError(
            f"a feature marked {action} must be an object of the run",
            came=f"instance_id {number if number is None else int(number)} of {query!r} in {place}",
            remedy=f"export the run anew and mark that, or mark a new feature as {ADD}",
        )
    return EditMark(
        query=query,
        action=action,
        instance_id=int(number),
        was=was,
        shape=shape if action == REDRAW else was,
    )
