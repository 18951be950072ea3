"""A run beside a layer, written out: one row per object with shape and reason, numbers, and a page.

`write_layer_report` matches (`layer_match`), counts by reason and by district, and writes

    objects.parquet   one row per object of the layer and of the run
    layer.json        the counts
    layer.html        the same as a page, which says first what was not judged
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.evaluate.figures.intervals import wilson
from pipeline.evaluate.figures.metrics import Ratio
from pipeline.evaluate.finished_run.layer_match import (
    EXTRA,
    MATCHED,
    MISSED,
    NOT_JUDGED,
    LayerRow,
    PlaceRecords,
    found_rows,
    layer_rows,
    match_layer,
)
from pipeline.evaluate.finished_run.layer_picture import layer_picture
from pipeline.evaluate.finished_run.run_ledger import aoi_in_pixels
from pipeline.evaluate.finished_run.score_polygons import choose_query, read_polygons
from pipeline.files.output_folder import writing_to
from pipeline.files.store.stored_files import read_parquet
from pipeline.schema.tiling import RunGrid
from pipeline.write.geo_parquet import with_geometry, write_geo_parquet
from pipeline.write.georeference import Geometries, to_crs_coordinates, to_pixels
from pipeline.write.instances import part_files
from pipeline.write.report.report_html import Html, table, tag
from pipeline.write.report.report_style import STYLE
from pipeline.write.run_document import finished_run
from pipeline.write.run_json import RunInfo

FILES = ("objects.parquet", "layer.json", "layer.html")

OBJECTS_SCHEMA = pa.schema(
    [
        ("side", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("iou", pa.float64()),
        ("instance_id", pa.uint64()),
        ("score", pa.float32()),
        ("district", pa.string()),
    ]
)
"""`side` is `layer` or `run`. `instance_id` and `score` are those of the run's object, of a matched one of
the layer too. `iou` is the best intersection over union with an object of the other side."""

_LEVEL = 0.95

Placer = Callable[[NDArray[np.object_]], Sequence[str]]
"""Names the district of points (n,) in the CRS of the run; an empty name is none."""


@dataclass(frozen=True, kw_only=True)
class LayerRequest:
    """Which run and layer, and where the files go."""

    run: str
    layer: Path
    query: str | None
    """Number or text of the query; None: the run's only one."""
    out: Path
    district_of: Placer | None = None


def write_layer_report(request: LayerRequest, info: RunInfo) -> dict[str, Any]:
    """Match, write the files and return the content of layer.json. Raises InputError for bad input."""
    grid = info.lattice.grid
    query = choose_query(info.queries, request.query)
    aoi = bytes.fromhex(info.aoi_wkb)
    region = _region(grid, aoi_in_pixels(aoi, grid))
    layer = read_polygons(request.layer, grid, aoi).geometries
    layer = np.asarray(layer[shapely.intersects(region, layer)], dtype=object)
    ids, scores, shapes = _found(request.run, query)
    found = np.asarray(to_pixels(shapes, grid), dtype=object)
    inside = shapely.intersection(layer, region)
    match = match_layer(inside, shapely.intersection(found, region))
    rows = layer_rows(match, PlaceRecords(request.run, info.lattice, query), inside)
    others = found_rows(match)
    partner = np.append(np.arange(len(ids)), -1)[match.found_of]
    outlines = np.concatenate([to_crs_coordinates(layer, grid), shapes])
    district = _districts(request.district_of, outlines)
    columns = {
        "side": ["layer"] * len(rows) + ["run"] * len(others),
        "status": [row.status for row in [*rows, *others]],
        "reason": [row.reason or None for row in [*rows, *others]],
        "iou": [row.iou for row in [*rows, *others]],
        "instance_id": [None if at < 0 else int(ids[at]) for at in partner.tolist()] + ids.tolist(),
        "score": [None if at < 0 else float(scores[at]) for at in partner.tolist()] + scores.tolist(),
        "district": [name or None for name in district],
    }
    objects = with_geometry(pa.table(columns, schema=OBJECTS_SCHEMA), outlines)
    summary = {
        "query": info.queries[query],
        "run_id": info.run_id,
        "layer": request.layer.name,
        "note": "The layer is not the truth: where both differ, either may be wrong, older or shifted.",
        "all": _counts(rows, others),
        "districts": _by_district(rows, others, district) if request.district_of else None,
    }
    with writing_to(request.out, "--objects"):
        request.out.mkdir(parents=True, exist_ok=True)
        write_geo_parquet(request.out / FILES[0], [objects], schema=OBJECTS_SCHEMA, grid=grid)
        (request.out / FILES[1]).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
        picture = layer_picture(np.concatenate([layer, found]), columns["status"])
        (request.out / FILES[2]).write_text(_page(summary, picture))
    return summary


def layer_lines(summary: dict[str, Any]) -> list[str]:
    """The counts as sentences, what was not judged first."""
    count = summary["all"]
    lines = [_not_judged(count)]
    lines.append(
        f"{count[MATCHED]:,} of {count['judged']:,} judged objects of the layer were found "
        f"({_share(count['found_share'])})."
    )
    lines += [f"  missed {number:,}: {reason}" for reason, number in count["missed_by"].items()]
    lines.append(
        f"{count['run_matched']:,} of {count['run_objects']:,} objects of the run are in the layer "
        f"({_share(count['run_share'])})."
    )
    lines += [f"  extra {number:,}: {reason}" for reason, number in count["extra_by"].items()]
    lines += [
        f"{name}: {part[MATCHED]:,} of {part['judged']:,} judged found, {part['run_matched']:,} of "
        f"{part['run_objects']:,} of the run in the layer"
        for name, part in (summary["districts"] or {}).items()
    ]
    return [*lines, summary["note"]]


def _region(grid: RunGrid, aoi_px: shapely.Geometry | None) -> shapely.Geometry:
    """What is compared, in pixel edges: of an object at its border, the part inside."""
    whole = shapely.box(0, 0, grid.width, grid.height)
    return whole if aoi_px is None else whole.intersection(aoi_px)


def _found(run: str, query: int) -> tuple[NDArray[np.uint64], NDArray[np.float32], Geometries]:
    """(ids, scores, outlines in the CRS) of the run's objects."""
    columns = ["instance_id", "query_index", "score", "geometry"]
    wanted = [("query_index", "==", query)]
    rows = pa.concat_tables(
        [read_parquet(file, columns, filters=wanted) for file in part_files(finished_run(run))]
    )
    shapes = np.asarray(shapely.from_wkb(rows["geometry"].to_numpy()), dtype=object)
    return rows["instance_id"].to_numpy(), rows["score"].to_numpy(), shapes


def _districts(district_of: Placer | None, outlines: Geometries) -> Sequence[str]:
    if district_of is None:
        return [""] * len(outlines)
    return district_of(np.asarray(shapely.point_on_surface(outlines), dtype=object))


def _by_district(
    rows: Sequence[LayerRow], others: Sequence[LayerRow], district: Sequence[str]
) -> dict[str, dict[str, Any]]:
    own = district[: len(rows)]
    theirs = district[len(rows) :]
    return {
        name or "outside all districts": _counts(
            [row for row, at in zip(rows, own, strict=True) if at == name],
            [row for row, at in zip(others, theirs, strict=True) if at == name],
        )
        for name in sorted(set(district), key=lambda name: (not name, name))
    }


def _counts(rows: Sequence[LayerRow], others: Sequence[LayerRow]) -> dict[str, Any]:
    status = Counter(row.status for row in rows)
    judged = status[MATCHED] + status[MISSED]
    run_matched = sum(row.status == MATCHED for row in others)
    return {
        "layer_objects": len(rows),
        NOT_JUDGED: status[NOT_JUDGED],
        "judged": judged,
        MATCHED: status[MATCHED],
        "found_share": _interval(status[MATCHED], judged),
        "not_judged_by": _reasons(rows, NOT_JUDGED),
        "missed_by": _reasons(rows, MISSED),
        "run_objects": len(others),
        "run_matched": run_matched,
        "run_share": _interval(run_matched, len(others)),
        "extra_by": _reasons(others, EXTRA),
    }


def _reasons(rows: Sequence[LayerRow], status: str) -> dict[str, int]:
    return dict(Counter(row.reason for row in rows if row.status == status).most_common())


def _interval(yes: int, n: int) -> list[float] | None:
    """[share, lower, upper] at 95 % (Wilson 1927, as if objects were independent); None: of nothing."""
    if n == 0:
        return None
    hits = np.arange(n) < yes
    low, high = wilson(Ratio(numerator=hits.astype(float), denominator=np.ones(n)), _LEVEL)
    return [yes / n, low, high]


def _share(share: list[float] | None) -> str:
    return "none" if share is None else f"{share[0]:.1%}, {share[1]:.1%} to {share[2]:.1%}"


def _not_judged(count: dict[str, Any]) -> str:
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in count["not_judged_by"].items())
    told = f" ({reasons})" if reasons else ""
    return f"{count[NOT_JUDGED]:,} of {count['layer_objects']:,} objects of the layer were not judged{told}."


def _page(summary: dict[str, Any], picture: Html) -> str:
    count = summary["all"]
    missed = [(MISSED, reason, number) for reason, number in count["missed_by"].items()]
    extra = [(EXTRA, reason, number) for reason, number in count["extra_by"].items()]
    body = [
        tag("h1", f"{summary['query']}: the run beside {summary['layer']}"),
        *(tag("p", line) for line in layer_lines(summary | {"districts": None}) if not line.startswith("  ")),
        picture,
        tag("h2", "Why both differ"),
        table(("", "reason", "objects"), [*missed, *extra]),
    ]
    if summary["districts"] is not None:
        body += [tag("h2", "By district"), _district_table(summary["districts"])]
    head = tag("head", tag("meta", charset="utf-8"), tag("title", "Run and layer"), tag("style", Html(STYLE)))
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", *body)), lang="en") + "\n"


def _district_table(districts: dict[str, dict[str, Any]]) -> Html:
    rows = [
        (
            name,
            count["layer_objects"],
            count[NOT_JUDGED],
            count[MATCHED],
            _share(count["found_share"]),
            count["run_objects"],
            _share(count["run_share"]),
        )
        for name, count in districts.items()
    ]
    header = ("", "in the layer", "not judged", "found", "share found", "of the run", "share in the layer")
    return table(header, rows)
