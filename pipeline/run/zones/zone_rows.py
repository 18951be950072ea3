"""Rows of a run of several zones: what the zones say of an object becomes what the whole says of it.

1. `renamed` takes rows that one zone alone has: ids move by the zone's offset, and tiles get the zone's name
   before them.
2. `merged_rows` takes the rows near the seams and what `zone_shapes` drew of them, and makes one row per
   object. It has the smallest of the ids. The score is the mean of the zones', weighted by their pixels;
   tiles, scenes and zones are all of theirs, the time is the earliest. Label, rationale, box and points are
   those of the zone that drew the most.
3. An object that a zone published in several rows stays in as many, each with its own part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from pipeline.run.zones.zone_match import ZoneObjects
from pipeline.run.zones.zone_shapes import DrawnObjects, united
from pipeline.write.geo_parquet import with_geometry
from pipeline.write.georeference import to_pixels
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.zoned.zoned_tables import LONLAT_GRID


def renamed(table: pa.Table, *, zone: str, id_offset: int, run_id: str, schema: pa.Schema) -> pa.Table:
    """Make rows of the whole from rows of one zone, without geometry. `schema`: `InstanceMeta.schema`."""
    own = table["instance_id"].combine_chunks()
    n = table.num_rows
    made: dict[str, pa.Array] = {
        "instance_id": pc.add(own, pa.scalar(id_offset, pa.uint64())),
        "tile_ids": _prefixed(table["tile_ids"].combine_chunks(), f"{zone}/"),
        "run_id": pa.repeat(pa.scalar(run_id, pa.string()), n),
        "zones": _lists_of_one(pa.repeat(pa.scalar(zone, pa.string()), n)),
        "zone_instance_ids": _lists_of_one(own),
    }
    columns = [made[field.name] if field.name in made else table[field.name] for field in schema]
    return pa.table(columns, names=schema.names).cast(schema)


def merged_rows(
    rows: pa.Table,
    objects: ZoneObjects,
    group: NDArray[np.int64],
    drawing: DrawnObjects,
    *,
    cut_off: NDArray[np.bool_],
) -> pa.Table:
    """Make the published rows of one query near the seams, bbox and geometry included.

    `rows`: `renamed`, in the order of `objects`. `cut_off` (n,): the zone's outline ends where imagery or the
    area does, not only where the zone's seam band ends. Groups of which nothing was drawn have no row.
    """
    of_row = group[objects.object]
    shown = np.flatnonzero(~shapely.is_empty(drawing.parts))
    made: list[dict[str, Any]] = []
    shapes: list[shapely.Geometry] = []
    order = shown[np.lexsort((shown, of_row[shown]))]
    starts = np.flatnonzero(np.diff(of_row[order], prepend=-1)).tolist()
    everyone = _members(of_row, len(group))
    said = rows.to_pylist()
    for first, last in pairwise([*starts, order.size]):
        members = order[first:last]
        number = int(of_row[members[0]])
        asked = everyone[number]
        new, drawn_shapes = _object_rows(
            {row: said[row] for row in asked.tolist()}, members, objects, drawing, cut_off=cut_off
        )
        made += new
        shapes += drawn_shapes
    polygons = np.array(shapes, dtype=object)
    areas = geodesic_area_m2(to_pixels(polygons, LONLAT_GRID), LONLAT_GRID)
    for row, area in zip(made, areas.tolist(), strict=True):
        row["area_m2"] = None if np.isnan(area) else area
    return with_geometry(pa.Table.from_pylist(made, schema=rows.schema), polygons)


def _members(of_row: NDArray[np.int64], n_groups: int) -> list[NDArray[np.int64]]:
    """Rows of each group, ascending."""
    order = np.argsort(of_row, kind="stable")
    bounds = np.searchsorted(of_row[order], np.arange(n_groups + 1))
    return [order[first:last] for first, last in pairwise(bounds.tolist())]


def _object_rows(
    said: Mapping[int, Mapping[str, Any]],
    shown: NDArray[np.int64],
    objects: ZoneObjects,
    drawing: DrawnObjects,
    *,
    cut_off: NDArray[np.bool_],
) -> tuple[list[dict[str, Any]], list[shapely.Geometry]]:
    """Rows of one object, without area_m2, and their outlines.

    `said`: what the zones say, row by row; `shown`: rows of which something is drawn.
    """
    asked = np.array(sorted(said), dtype=np.int64)
    px = {
        row: max(round(said[row]["area_px"] * _share(drawing.parts[row], objects.polygons[row])), 1)
        for row in shown.tolist()
    }
    lead = max(shown.tolist(), key=lambda row: (px[row], -row))
    rows_in_order = [lead, *(row for row in asked.tolist() if row != lead)]
    heads = _one_per_object(rows_in_order, objects)
    common = {
        "instance_id": min(said[row]["instance_id"] for row in asked.tolist()),
        "score": _mean_score([(said[row]["score"], px[row]) for row in shown.tolist()]),
        "truncated": bool((cut_off[asked] & ~objects.whole[asked]).any()),
        "one_sided": any(said[row]["one_sided"] for row in asked.tolist())
        or bool(drawing.beyond[asked].any()),
        "zones": [said[row]["zones"][0] for row in heads],
        "zone_instance_ids": [said[row]["zone_instance_ids"][0] for row in heads],
    }
    if any(said[row]["n_parts"] > 1 for row in asked.tolist()):
        made = [
            {**said[row], **common, "area_px": px[row], "part_no": part, "n_parts": len(shown)}
            for part, row in enumerate(shown.tolist())
        ]
        return made, [united([drawing.parts[row]]) for row in shown.tolist()]
    whole = {
        **said[lead],
        **common,
        "area_px": sum(px.values()),
        "tile_ids": list(dict.fromkeys(tile for row in asked.tolist() for tile in said[row]["tile_ids"])),
        "scene_ids": list(
            dict.fromkeys(scene for row in asked.tolist() for scene in said[row]["scene_ids"] or ())
        ),
        "datetime": min((d for row in asked.tolist() if (d := said[row]["datetime"])), default=None),
    }
    whole["n_tiles"] = len(whole["tile_ids"])
    half_px = float(np.sqrt(objects.pixel_deg2[lead])) / 2
    return [whole], [_without_slivers(united(drawing.parts[shown].tolist()), half_px, n_drawn=len(shown))]


def _one_per_object(rows: Sequence[int], objects: ZoneObjects) -> list[int]:
    """The first row of each object, in order."""
    first: dict[int, int] = {}
    for row in rows:
        first.setdefault(int(objects.object[row]), row)
    return list(first.values())


def _share(part: shapely.Geometry, whole: shapely.Geometry) -> float:
    return float(part.area / whole.area) if whole.area else 0.0


def _mean_score(scored: Sequence[tuple[float, int]]) -> float:
    return float(sum(score * px for score, px in scored) / sum(px for _, px in scored))


def _without_slivers(shape: shapely.Geometry, half_px: float, *, n_drawn: int) -> shapely.Geometry:
    """Drop loose pieces of an object of several zones that are thinner than a pixel.

    They appear where an outline runs along the line between two zones, and the zones see it on either side.
    """
    parts = shapely.get_parts(shape)
    if n_drawn < 2 or len(parts) < 2:
        return shape
    thick = ~shapely.is_empty(shapely.buffer(parts, -0.99 * half_px, join_style="mitre"))
    thick[np.argmax(shapely.area(parts))] = True
    kept = parts[thick]
    return kept[0] if len(kept) == 1 else shapely.multipolygons(kept)


def _lists_of_one(values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1, dtype=np.int32)), values)


def _prefixed(lists: pa.ListArray, prefix: str) -> pa.ListArray:
    values = pc.binary_join_element_wise(pa.scalar(prefix), lists.flatten().cast(pa.string()), "")
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([np.zeros(1, dtype=np.int32), np.cumsum(lengths, dtype=np.int32)])
    return pa.ListArray.from_arrays(pa.array(offsets), values)
