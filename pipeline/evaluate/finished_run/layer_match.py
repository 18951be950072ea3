"""Objects of a run against objects of a layer, such as buildings of a map: which are the same, and why not.

1. `match_layer` measures every overlap in pixels of the run grid. Pairs with an intersection over union of
   `MIN_IOU` or more are the same object, the best pair first, each object once.
2. `layer_rows` asks what the run did at a point inside every other object of the layer: was it judged, was
   its tile rejected and by what, did an object stand there with another outline?
3. Objects of the run without a partner have another outline, are one more piece of something that is matched,
   or are not in the layer.

The layer is not the truth. It may be older, shifted or incomplete, and each row says only how both differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.evaluate.finished_run.run_ledger import NOT_LOOKED_AT, LedgerEntry, read_ledger
from pipeline.files.store.store_path import Place
from pipeline.schema.tiling import TileLattice, Window, tile_id
from pipeline.write.export.mask_reader import MaskReader
from pipeline.write.georeference import Geometries
from pipeline.write.masks_zarr import MASK_FILL
from pipeline.write.run_document import finished_run

MIN_IOU = 0.5
"""Intersection over union from which two outlines are one object."""

_HALF = 0.5
"""Share of an object inside a matched one from which it is a piece of that."""

MATCHED = "matched"
MISSED = "missed"
EXTRA = "extra"
NOT_JUDGED = "not judged"

_NO_ANSWER = "its tile failed: {}"
_REJECTED = {
    "gate": "the gate rejected its tile",
    "prompter": "the prompter said that nothing is there",
    "verifier": "the verifier discarded what was found",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMatch:
    """Which of m objects of the layer is which of n objects of the run; arrays (m,) and (n,)."""

    found_of: NDArray[np.int64]
    """Per object of the layer: the object of the run that it is; -1: none."""
    layer_of: NDArray[np.int64]
    """Per object of the run: the object of the layer that it is; -1: none."""
    layer_iou: NDArray[np.float64]
    """Best intersection over union of each object of the layer; of its partner, where it has one."""
    found_iou: NDArray[np.float64]
    inside: NDArray[np.float64]
    """Share of each object of the run that lies in objects of the layer with a partner, 0..1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRow:
    """What became of one object."""

    status: str
    reason: str
    iou: float


def match_layer(layer: Geometries, found: Geometries) -> LayerMatch:
    """Match objects by their outlines. layer: (m,), found: (n,) valid polygons in pixel edges."""
    at, of = shapely.STRtree(list(found)).query(layer, predicate="intersects")
    common = shapely.area(shapely.intersection(layer[at], found[of]))
    area_layer = shapely.area(layer)
    area_found = shapely.area(found)
    iou = common / np.maximum(area_layer[at] + area_found[of] - common, 1e-12)
    found_of = np.full(len(layer), -1, dtype=np.int64)
    layer_of = np.full(len(found), -1, dtype=np.int64)
    for pair in np.lexsort((of, at, -iou)).tolist():
        if iou[pair] < MIN_IOU:
            break
        if found_of[at[pair]] < 0 and layer_of[of[pair]] < 0:
            found_of[at[pair]] = of[pair]
            layer_of[of[pair]] = at[pair]
    layer_iou = np.zeros(len(layer))
    found_iou = np.zeros(len(found))
    np.maximum.at(layer_iou, at, iou)
    np.maximum.at(found_iou, of, iou)
    mine = found_of[at] == of
    layer_iou[at[mine]] = iou[mine]
    found_iou[of[mine]] = iou[mine]
    taken = found_of[at] >= 0
    inside = np.zeros(len(found))
    np.add.at(inside, of[taken], common[taken])
    return LayerMatch(
        found_of=found_of,
        layer_of=layer_of,
        layer_iou=layer_iou,
        found_iou=found_iou,
        inside=inside / np.maximum(area_found, 1e-12),
    )


def layer_rows(match: LayerMatch, looked: PlaceRecords, layer: Geometries) -> list[LayerRow]:
    """Say what became of every object of the layer."""
    rows = []
    points = shapely.get_coordinates(shapely.point_on_surface(layer)).reshape(-1, 2)
    places = looked.at(points)
    for at, (entry, judged) in enumerate(places):
        iou = float(match.layer_iou[at])
        if match.found_of[at] >= 0:
            rows.append(LayerRow(status=MATCHED, reason="", iou=iou))
        elif entry.failed:
            rows.append(LayerRow(status=NOT_JUDGED, reason=_NO_ANSWER.format(entry.reason.value), iou=iou))
        elif not entry.answered or not judged:
            reason = "not looked at" if entry == NOT_LOOKED_AT else "no valid imagery there"
            rows.append(LayerRow(status=NOT_JUDGED, reason=reason, iou=iou))
        elif iou > 0.0:
            rows.append(LayerRow(status=MISSED, reason="found with another outline", iou=iou))
        else:
            reason = _REJECTED.get(entry.reason.value, "its tile has other objects, and not this one")
            rows.append(LayerRow(status=MISSED, reason=reason, iou=iou))
    return rows


def found_rows(match: LayerMatch) -> list[LayerRow]:
    """Say what became of every object of the run."""
    rows = []
    for at, layer in enumerate(match.layer_of.tolist()):
        iou = float(match.found_iou[at])
        if layer >= 0:
            rows.append(LayerRow(status=MATCHED, reason="", iou=iou))
        elif match.inside[at] >= _HALF:
            rows.append(LayerRow(status=EXTRA, reason="one more piece of a matched object", iou=iou))
        else:
            reason = "another outline than the layer's" if iou > 0.0 else "not in the layer"
            rows.append(LayerRow(status=EXTRA, reason=reason, iou=iou))
    return rows


class PlaceRecords:
    """What a run did at a place."""

    def __init__(self, run_dir: Place, lattice: TileLattice, query_index: int) -> None:
        """run_dir: of a published run. Raises InputError when its ledger cannot be read."""
        self._lattice = lattice
        self._query = query_index
        self._ledger = read_ledger(run_dir)
        self._masks = MaskReader(finished_run(run_dir).masks)

    def at(self, points_px: NDArray[np.float64]) -> list[tuple[LedgerEntry, bool]]:
        """The ledger's entry at each point (n, 2) x, y, and whether the pixel was judged.

        Outside the grid nothing was looked at.
        """
        answers: list[tuple[LedgerEntry, bool]] = [(NOT_LOOKED_AT, False)] * len(points_px)
        col, row = np.floor(points_px).astype(np.int64).T
        grid = self._lattice.grid
        inside = (row >= 0) & (col >= 0) & (row < grid.height) & (col < grid.width)
        core = self._lattice.core_px
        tiles = np.column_stack([row // core, col // core])
        for tile in np.unique(tiles[inside], axis=0).tolist():
            entry = self._ledger.get((tile_id(*tile), self._query), NOT_LOOKED_AT)
            here = np.flatnonzero(inside & (tiles == tile).all(axis=1))
            window = self._lattice.tile(*tile).core
            judged = self._judged(window) if entry.answered else np.zeros(window.shape, dtype=np.bool_)
            for at in here.tolist():
                answers[at] = entry, bool(judged[row[at] - window.row0, col[at] - window.col0])
        return answers

    def _judged(self, window: Window) -> NDArray[np.bool_]:
        return np.asarray(self._masks.read("mask", self._query, window) != MASK_FILL, dtype=np.bool_)
