"""Edits of a run, applied to the objects that it has now.

1. `find_edited` looks for the object of every edit by the outline that it had: the object of the same query
   that overlaps it best, from `SAME_IOU` on. So edits survive a merge with other thresholds, and an update.
2. Rejected objects are left out, redrawn ones get the new outline, added ones follow at the end. Every other
   object is as the run has it.
3. Edits whose object is gone are counted: what they were about was found otherwise, or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.files.store.stored_files import read_parquet
from pipeline.write.edit_layer import ACCEPT, ADD, REDRAW, REJECT, read_edits
from pipeline.write.georeference import Geometries
from pipeline.write.instances import part_files
from pipeline.write.run_dir import RunDir

SAME_IOU = 0.5
"""Intersection over union from which an object is the one that was edited."""

WORDS = {ACCEPT: "accepted", REJECT: "rejected", REDRAW: "redrawn", ADD: "added"}
"""What the column `edited` of an export says."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EditedInstances:
    """What becomes of the objects of the chosen queries."""

    actions: dict[tuple[int, int], str]
    """(query index, instance id) -> accept, reject or redraw."""
    outlines: dict[tuple[int, int], shapely.Geometry]
    """New outlines of those that were redrawn, in the CRS of the tables."""
    added: tuple[tuple[int, str, shapely.Geometry], ...]
    """(query index, query, outline) of added objects."""
    n_gone: int
    """Edits whose object the run does not have any more."""

    def counts(self) -> dict[str, int]:
        """How many objects were accepted, rejected, redrawn and added."""
        told = {
            word: sum(WORDS[action] == word for action in self.actions.values()) for word in WORDS.values()
        }
        return told | {WORDS[ADD]: len(self.added)}

    def kept(
        self, queries: NDArray[np.int32], ids: NDArray[np.uint64], by_score: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """(n,) whether objects stay. by_score: (n,) the same by scores. What a person says comes first."""
        names = zip(queries.tolist(), ids.tolist(), strict=True)
        said = [self.actions.get(name) for name in names]
        told = [by if action is None else action != REJECT for action, by in zip(said, by_score, strict=True)]
        return np.array(told, dtype=np.bool_)

    def words(self, queries: NDArray[np.int32], ids: NDArray[np.uint64]) -> pa.Array:
        """(n,) what was done to objects; null: nothing."""
        names = zip(queries.tolist(), ids.tolist(), strict=True)
        return pa.array([WORDS.get(self.actions.get(name, "")) for name in names], pa.string())

    def redraw(self, shapes: Geometries, queries: NDArray[np.int32], ids: NDArray[np.uint64]) -> Geometries:
        """(n,) outlines, with the new ones in place."""
        drawn = shapes.copy()
        for at, name in enumerate(zip(queries.tolist(), ids.tolist(), strict=True)):
            drawn[at] = self.outlines.get(name, drawn[at])
        return drawn


def find_edited(run_dir: RunDir, asked: Sequence[str], chosen: Sequence[int]) -> EditedInstances | None:
    """Find the objects of a run's edits. asked: its queries. None: the run has no edits."""
    edits = read_edits(run_dir)
    if edits is None:
        return None
    rows = [
        (asked.index(query), action, _shape(was), shapely.from_wkb(shape))
        for query, action, was, shape in zip(
            *(edits[name].to_pylist() for name in ("query", "action", "was", "geometry")), strict=True
        )
        if query in asked and asked.index(query) in chosen
    ]
    about = [row for row in rows if row[1] != ADD]
    best = _best_objects(run_dir, [(query, was) for query, _, was, _ in about if was is not None])
    actions: dict[tuple[int, int], str] = {}
    outlines: dict[tuple[int, int], shapely.Geometry] = {}
    for (query, action, _, shape), number in zip(about, best, strict=True):
        if number is not None:
            actions[query, number] = action
            if action == REDRAW:
                outlines[query, number] = shape
    return EditedInstances(
        actions=actions,
        outlines=outlines,
        added=tuple((query, asked[query], shape) for query, action, _, shape in rows if action == ADD),
        n_gone=sum(number is None for number in best),
    )


def _shape(wkb: bytes | None) -> shapely.Geometry | None:
    return None if wkb is None else shapely.from_wkb(wkb)


def _best_objects(run_dir: RunDir, wanted: Sequence[tuple[int, shapely.Geometry]]) -> list[int | None]:
    """Id of the object that overlaps each outline best; None: none does so enough."""
    best: list[int | None] = [None] * len(wanted)
    iou = np.full(len(wanted), SAME_IOU)
    if not wanted:
        return best
    tree = shapely.STRtree([shape for _, shape in wanted])
    for file in part_files(run_dir):
        rows = read_parquet(file, ["query_index", "instance_id", "geometry"])
        shapes = np.asarray(shapely.from_wkb(rows["geometry"].to_numpy()), dtype=object)
        queries = rows["query_index"].to_pylist()
        ids = rows["instance_id"].to_pylist()
        for at, edit in zip(*tree.query(shapes, predicate="intersects").tolist(), strict=True):
            query, was = wanted[edit]
            if queries[at] != query:
                continue
            common = shapes[at].intersection(was).area
            share = common / (shapes[at].area + was.area - common)
            if share >= iou[edit]:
                iou[edit] = share
                best[edit] = ids[at]
    return best
