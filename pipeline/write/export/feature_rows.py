"""Rows of a run's tables as features for GIS formats, in batches of `BATCH_ROWS` rows.

1. `InstanceRules` says which objects are kept, whether they have other outlines than their pixels', and
   whether rectangles around them are measured. `InstanceFeatures` makes features of instances by these.
2. `FeatureSource` streams rows from Parquet through such a maker. GIS formats know numbers, texts, times and
   one geometry, so lists become JSON texts, and the column `bbox` is left out. Polygons become multipolygons,
   so that all features of a layer are of one type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from pipeline.files.store.store_path import StorePath
from pipeline.files.store.stored_files import open_parquet
from pipeline.schema.tiling import RunGrid
from pipeline.write.export.edited_instances import EditedInstances
from pipeline.write.export.oriented_boxes import COLUMNS, oriented_boxes
from pipeline.write.export.outline_store import OutlineStore
from pipeline.write.export.score_floor import ScoreFloor
from pipeline.write.georeference import Geometries, to_crs_coordinates, to_pixels

BATCH_ROWS = 4096
"""Rows that are in memory at once."""

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""(n,) scores -> (n,) probabilities."""

_GEOMETRY = pa.field("geometry", pa.binary())


@dataclass(frozen=True, kw_only=True, eq=False)
class InstanceRules:
    """What becomes of the instances."""

    floor: ScoreFloor = field(default_factory=ScoreFloor)
    outlines: OutlineStore | None = None
    """Outlines instead of the pixels'. An object that is split into rows keeps its own."""
    edited: EditedInstances | None = None
    """Edits to apply, with a column `edited`. None: objects are as the run has them."""
    confidence: Mapping[int, Curve] = field(default_factory=dict)
    """Query index -> how often an object of a score is right, as a reviewed sample says. Where there is one,
    a column `confidence` is added.
    """
    oriented: bool = False
    """Whether `length_m`, `width_m`, `heading_deg` and `box_fill` are added, and the layer `rectangles`."""
    text: str = ""
    """What was done to the outlines, for the layer's description."""


FeatureMaker = Callable[[pa.RecordBatch], pa.RecordBatch]
"""Makes features of rows: what has a geometry, in WKB, and any columns."""


def as_they_are(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows that are features already."""
    return rows


class InstanceFeatures:
    """Makes features of instances."""

    def __init__(self, grid: RunGrid, rules: InstanceRules) -> None:
        self._grid = grid
        self._rules = rules

    def objects(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Objects with their measures."""
        kept = self._kept(rows)
        shapes = self._shapes(kept)
        kept = _with(kept, _GEOMETRY, _wkb(shapes))
        if self._rules.edited is not None:
            kept = kept.append_column("edited", self._rules.edited.words(*_names(kept)))
        if self._rules.confidence:
            kept = kept.append_column("confidence", self._confidence(kept))
        if not self._rules.oriented:
            return kept
        measures = oriented_boxes(to_pixels(shapes, self._grid), self._grid).measures
        for column, values in zip(COLUMNS, measures.columns, strict=True):
            kept = kept.append_column(column, values)
        return kept

    def rectangles(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rectangles around objects, with what names the object."""
        kept = self._kept(rows)
        boxes = oriented_boxes(to_pixels(self._shapes(kept), self._grid), self._grid)
        named = kept.select(["instance_id", "query_index", "query", "label", "score"])
        for column, values in zip(COLUMNS, boxes.measures.columns, strict=True):
            named = named.append_column(column, values)
        return named.append_column(_GEOMETRY, _wkb(boxes.rectangles))

    def added(self, made: pa.Schema) -> pa.RecordBatch:
        """Features of objects that a person added, with the columns of `made`."""
        edited = self._rules.edited
        rows = () if edited is None else edited.added
        shapes = np.array([shape for _, _, shape in rows], dtype=object)
        known: dict[str, pa.Array] = {
            "query": pa.array([query for _, query, _ in rows], pa.string()),
            "query_index": pa.array([at for at, _, _ in rows], pa.int32()),
            "edited": pa.array(["added"] * len(rows), pa.string()),
            "geometry": _wkb(shapes),
        }
        if self._rules.oriented and len(shapes):
            measures = oriented_boxes(to_pixels(shapes, self._grid), self._grid).measures
            known |= dict(zip(COLUMNS.names, measures.columns, strict=True))
        empty = [known.get(field.name, pa.nulls(len(rows), field.type)) for field in made]
        return pa.RecordBatch.from_arrays(empty, schema=made)

    def _confidence(self, rows: pa.RecordBatch) -> pa.Array:
        queries, _ = _names(rows)
        scores = rows["score"].to_numpy(zero_copy_only=False).astype(np.float64)
        told = np.full(len(scores), np.nan)
        for query, curve in self._rules.confidence.items():
            told[queries == query] = curve(scores[queries == query])
        return pa.array(told, pa.float32(), from_pandas=True)

    def _kept(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        if self._rules.edited is None:
            return self._rules.floor.rows(rows)
        kept = self._rules.edited.kept(*_names(rows), self._rules.floor.keeps(rows))
        return rows.filter(pa.array(kept))

    def _shapes(self, rows: pa.RecordBatch) -> Geometries:
        """(n,) shapes in the CRS."""
        own = np.asarray(
            shapely.from_wkb(np.asarray(rows["geometry"].to_pylist(), dtype=object)), dtype=object
        )
        if not len(own):
            return own
        own = self._made_anew(own, rows)
        return own if self._rules.edited is None else self._rules.edited.redraw(own, *_names(rows))

    def _made_anew(self, own: Geometries, rows: pa.RecordBatch) -> Geometries:
        if self._rules.outlines is None:
            return own
        whole = rows["n_parts"].to_numpy() == 1
        queries = rows["query_index"].to_numpy()
        ids = rows["instance_id"].to_numpy()
        for query in np.unique(queries[whole]).tolist():
            at = np.flatnonzero(whole & (queries == query))
            made = self._rules.outlines.outlines(query, ids[at])
            known = np.array([shape is not None for shape in made], dtype=bool)
            if known.any():
                own[at[known]] = to_crs_coordinates(made[known], self._grid)
        return own


class FeatureSource:
    """Rows of the chosen queries as features, batch by batch, in the types of a GeoPackage."""

    def __init__(
        self,
        files: Sequence[StorePath],
        queries: Sequence[int],
        maker: FeatureMaker,
        told: Callable[[int], None],
        last: Callable[[pa.Schema], pa.RecordBatch] | None = None,
    ) -> None:
        """told: hears how many rows were read so far. last: makes features that follow, in the maker's
        schema.
        """
        self._files = files
        self._queries = pa.array(queries, pa.int32())
        self._maker = maker
        self._told = told
        self._last = last
        with open_parquet(files[0]) as file:
            stored = file.schema_arrow
        self._columns = pa.schema([field for field in stored if field.name != "bbox"])
        nothing = pa.RecordBatch.from_pylist([], schema=self._columns)
        self._made = maker(nothing).schema
        self.n_read = 0

    def features(self) -> pa.RecordBatchReader:
        """All features; read once."""
        schema = pa.schema([(column.name, _plain_type(column)) for column in self._made])
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema))

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for file in self._files:
            with open_parquet(file) as table:
                for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=self._columns.names):
                    self.n_read += batch.num_rows
                    made = self._maker(batch.filter(pc.is_in(batch["query_index"], self._queries)))
                    yield _in_plain_types(made, schema)
                    self._told(self.n_read)
        if self._last is not None:
            yield _in_plain_types(self._last(self._made), schema)


def _in_plain_types(made: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [_plain(made[column.name], column) for column in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _names(rows: pa.RecordBatch) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """Query indexes and ids of rows."""
    return rows["query_index"].to_numpy(), rows["instance_id"].to_numpy()


def _with(rows: pa.RecordBatch, column: pa.Field, values: pa.Array) -> pa.RecordBatch:
    """The rows with one column replaced."""
    return rows.set_column(rows.schema.get_field_index(column.name), column, values)


def _wkb(shapes: Geometries) -> pa.Array:
    return pa.array(shapely.to_wkb(shapes).tolist(), type=pa.binary())


def _plain_type(field: pa.Field) -> pa.DataType:
    """The type of a column in a GeoPackage: its own, int64 for uint64, and text for everything nested."""
    if pa.types.is_uint64(field.type):
        return pa.int64()
    return pa.string() if pa.types.is_nested(field.type) else field.type


def _plain(column: pa.Array, field: pa.Field) -> pa.Array:
    if field.name == "geometry":
        return _multipolygons(column)
    if pa.types.is_nested(column.type):
        texts = [
            None if value is None else json.dumps(value, ensure_ascii=False) for value in column.to_pylist()
        ]
        return pa.array(texts, type=pa.string())
    return column.cast(field.type)


def _multipolygons(column: pa.Array) -> pa.Array:
    """WKB of polygons and multipolygons as WKB of multipolygons; nothing stays nothing."""
    shapes: Any = shapely.from_wkb(np.asarray(column.to_pylist(), dtype=object))
    parts, owner = shapely.get_parts(shapes, return_index=True)
    whole = np.full(len(shapes), None, dtype=object)
    shapely.multipolygons(parts, indices=owner, out=whole)
    return pa.array(shapely.to_wkb(whole, flavor="iso").tolist(), type=pa.binary())
