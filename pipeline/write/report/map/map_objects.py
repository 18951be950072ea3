"""Which objects the map holds, and how many lie where.

1. All objects, or of a run with more the largest and those with the lowest scores (`ObjectSummary.mapped`).
2. `_read` streams their rows and reduces outlines to what a screen shows. Parts of one object are put
   together (`_joined`).
3. `_within_budget` reduces outlines further until the page has room for them. What is still too much is left
   out, the smallest first, and counted.
4. `count_by_square` counts all objects in squares of the grid, for runs of which not all are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.schema.tiling import RunGrid
from pipeline.write.georeference import xy_to_pixels
from pipeline.write.report.map.map_outlines import base64_text, outlines_text, varints
from pipeline.write.report.report_data import mover, named, pixels_of
from pipeline.write.report.report_objects import ObjectNames, ObjectSummary
from pipeline.write.report.report_rows import batches, instance_files, rows_where
from pipeline.write.report.report_sections import short_text
from pipeline.write.run_dir import RunDir

MAX_VERTICES = 300_000
"""Most vertices in a page: about 1 MB."""

MAX_TEXT_CHARS = 1_500_000
"""Most characters of labels and rationales in a page."""

SQUARES = 96
"""Squares along the longer side of the grid in which objects are counted."""

_FINEST_PX = 0.3
"""Outlines are never reduced less: steps of one pixel stay."""

_STEPS_OF_SIDE = 8192
"""Outlines keep what is larger than the grid's longer side over this."""

_MOST_HALVINGS = 4

_EDGES = ("xmin", "xmax", "ymin", "ymax")

_NAME = ("query_index", "instance_id")
_NUMBERS = ("query_index", "instance_id", "part_no", "score", "area_px", "area_m2", "n_tiles", "truncated")
_COLUMNS = (*_NUMBERS, "label", "rationale", "geometry")


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Rows or objects of the map; columns (n,)."""

    numbers: dict[str, NDArray[np.generic]]
    texts: NDArray[np.object_]
    """(n, 2): label, rationale."""
    shapes: NDArray[np.object_]
    """In pixels of the grid."""

    def take(self, order: NDArray[np.integer]) -> _Rows:
        numbers = {name: column[order] for name, column in self.numbers.items()}
        return _Rows(numbers=numbers, texts=self.texts[order], shapes=self.shapes[order])


def map_objects(run_dir: RunDir, objects: ObjectSummary, grid: RunGrid) -> dict[str, Any]:
    """Read what the map shows of objects, JSON-ready. Columns are in one order, the largest object first."""
    tolerance_px = max(_FINEST_PX, max(grid.width, grid.height) / _STEPS_OF_SIDE)
    rows = _joined(_read(run_dir, objects.mapped, grid, tolerance_px=tolerance_px))
    columns = rows.numbers
    smallness = -columns["area_px"].astype(np.int64)
    rows = rows.take(np.lexsort((columns["instance_id"], columns["query_index"], smallness)))
    rows, tolerance_px = _within_budget(rows, tolerance_px)
    n = len(rows.shapes)
    step_px = max(0.25, tolerance_px / 2)
    outlines = outlines_text(rows.shapes, step_px=step_px)
    texts, places = _texts(rows)
    columns = rows.numbers
    document: dict[str, Any] = {
        "n": len(objects),
        "per_query": objects.n_per_query.tolist(),
        "query": columns["query_index"].tolist(),
        "id": [str(number) for number in columns["instance_id"].tolist()],
        "score": [round(number, 4) for number in columns["score"].tolist()],
        "area_px": columns["area_px"].tolist(),
        "area_m2": [
            float(f"{number:.5g}") if np.isfinite(number) else None for number in columns["area_m2"].tolist()
        ],
        "tiles": columns["n_tiles"].tolist(),
        "cut": columns["truncated"].astype(int).tolist(),
        "texts": texts,
        "label": places[:, 0].tolist(),
        "why": places[:, 1].tolist(),
        "step": step_px,
        "reduced": tolerance_px > _FINEST_PX,
        "rings": outlines.rings,
        "points": outlines.points,
        "steps": outlines.steps,
    }
    if n < len(objects):
        document["squares"] = count_by_square(run_dir, grid, n_queries=len(objects.n_per_query))
    return document


def count_by_square(run_dir: RunDir, grid: RunGrid, *, n_queries: int) -> dict[str, Any]:
    """Count objects by the middle of their bounds, in squares of the grid. `counts`: per query base64 of
    varints, row by row.
    """
    side_px = max(grid.width, grid.height) / SQUARES
    n_cols = int(np.ceil(grid.width / side_px))
    n_rows = int(np.ceil(grid.height / side_px))
    counts = np.zeros((n_queries, n_rows, n_cols), dtype=np.int64)
    for path in instance_files(run_dir):
        move = mover(path, grid)
        for batch in batches(path, ("query_index", "part_no", "bbox")):
            edges = {name: np.asarray(batch["bbox"].field(name), dtype=np.float64) for name in _EDGES}
            x = (edges["xmin"] + edges["xmax"]) / 2
            y = (edges["ymin"] + edges["ymax"]) / 2
            if move is not None:
                x, y = move.transform(x, y)
            place = xy_to_pixels(np.column_stack([x, y]), grid) // side_px
            col, row = (np.clip(place, 0, (n_cols - 1, n_rows - 1)).astype(np.int64)).T
            first = batch["part_no"].to_numpy() == 0
            square = (batch["query_index"].to_numpy().astype(np.int64) * n_rows + row) * n_cols + col
            counts += np.bincount(square[first], minlength=counts.size).reshape(counts.shape)
    texts = [base64_text(varints(one.ravel())) for one in counts]
    return {"side": side_px, "cols": n_cols, "rows": n_rows, "counts": texts}


def _read(run_dir: RunDir, wanted: ObjectNames | None, grid: RunGrid, *, tolerance_px: float) -> _Rows:
    """Rows of the wanted objects (None: of all), in the order of the files."""
    numbers: dict[str, list[NDArray[np.generic]]] = {name: [] for name in _NUMBERS}
    texts: list[tuple[str, str]] = []
    shapes = [np.zeros(0, dtype=object)]
    for path in instance_files(run_dir):
        move = mover(path, grid)
        for batch in rows_where(path, named(wanted), by=_NAME, columns=_COLUMNS):
            for name in _NUMBERS:
                numbers[name].append(batch[name].to_numpy(zero_copy_only=False))
            texts += [
                (short_text(label or ""), short_text(why or ""))
                for label, why in zip(batch["label"].to_pylist(), batch["rationale"].to_pylist(), strict=True)
            ]
            outlines = np.asarray(shapely.from_wkb(batch["geometry"].to_pylist()), dtype=object)
            shapes.append(shapely.simplify(pixels_of(outlines, grid, move), tolerance_px))
    made = np.empty((len(texts), 2), dtype=object)
    if texts:
        made[:] = texts
    columns = {
        name: np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
        for name, parts in numbers.items()
    }
    return _Rows(numbers=columns, texts=made, shapes=np.concatenate(shapes))


def _joined(rows: _Rows) -> _Rows:
    """Objects from the rows of their parts: sizes are summed, outlines put together, the rest is the first
    part's.
    """
    names = rows.numbers
    rows = rows.take(np.lexsort((names["part_no"], names["instance_id"], names["query_index"])))
    names = rows.numbers
    if not len(rows.shapes):
        return rows
    new = (np.diff(names["instance_id"]) != 0) | (np.diff(names["query_index"]) != 0)
    first = np.flatnonzero(np.concatenate([[True], new]))
    if len(first) == len(rows.shapes):
        return rows
    heads = rows.take(first)
    numbers = dict(heads.numbers)
    for name in ("area_px", "area_m2", "n_tiles"):
        numbers[name] = np.add.reduceat(names[name], first)
    shapes = heads.shapes.copy()
    for place, (start, stop) in enumerate(zip(first, [*first[1:], len(rows.shapes)], strict=True)):
        if stop - start > 1:
            shapes[place] = shapely.multipolygons(shapely.get_parts(rows.shapes[start:stop]))
    return _Rows(numbers=numbers, texts=heads.texts, shapes=shapes)


def _within_budget(rows: _Rows, tolerance_px: float) -> tuple[_Rows, float]:
    """Reduce outlines until there are at most MAX_VERTICES; returns the tolerance, too."""
    shapes = rows.shapes
    for _ in range(_MOST_HALVINGS):
        if int(shapely.get_num_coordinates(shapes).sum()) <= MAX_VERTICES:
            break
        tolerance_px *= 2
        shapes = shapely.simplify(shapes, tolerance_px)
    n = int(np.searchsorted(np.cumsum(shapely.get_num_coordinates(shapes)), MAX_VERTICES, side="right"))
    kept = _Rows(numbers=rows.numbers, texts=rows.texts, shapes=shapes)
    return kept if n == len(shapes) else kept.take(np.arange(n)), tolerance_px


def _texts(rows: _Rows) -> tuple[list[str], NDArray[np.int64]]:
    """Texts, each once, and the places of those of every object, (n, 2); -1: there was no room for it. Those
    of the lowest scores come first.
    """
    known: dict[str, int] = {"": 0}
    room = MAX_TEXT_CHARS
    places = np.zeros((len(rows.texts), 2), dtype=np.int64)
    for row in np.argsort(rows.numbers["score"], kind="stable").tolist():
        for column in (0, 1):
            text = str(rows.texts[row, column])
            if text not in known:
                if len(text) > room:
                    places[row, column] = -1
                    continue
                room -= len(text)
                known[text] = len(known)
            places[row, column] = known[text]
    return list(known), places
