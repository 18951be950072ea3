"""Compare two finished runs of one region.

1. The common window is read in squares of `SQUARE_PX`, once. Each gives the shift of the second date, counts
   of common pixels, and the raster of changes.
2. Objects are matched (`pipeline.compare.match`), and joined with their shapes.
3. Files are made in a hidden folder and moved into `out` when all are whole. Both runs are only read.

Memory grows with the number of objects (about 1 kB each with their outlines), not with pixels.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.compare.change_page import COLOURS, change_page
from pipeline.compare.change_tables import (
    CHANGES_SCHEMA,
    REGISTRATION_SCHEMA,
    change_rows,
    read_objects,
    registration_rows,
    shift_lengths,
    state_of,
)
from pipeline.compare.match import CHANGES, MatchRules, join_moved, match
from pipeline.compare.pixel_overlap import (
    GAINED,
    KEPT,
    LOST,
    NOT_COMPARABLE,
    NOTHING,
    OverlapTables,
    PairReader,
)
from pipeline.compare.registration import Shift, estimate_shift
from pipeline.compare.run_pair import DatedRun, RunPair
from pipeline.errors import InputError
from pipeline.files.output_folder import require_folder, require_no_run, work_folder
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.export.cog_file import RasterLook, write_squares
from pipeline.write.geo_parquet import write_geo_parquet
from pipeline.write.georeference import affine_or_identity
from pipeline.write.ground_area import geodesic_area_m2

SQUARE_PX = 2048
"""Side of the squares: one estimate of the shift each. A multiple of a GeoTIFF's blocks."""

FILES = ("changes.parquet", "registration.parquet", "changes.tif", "summary.json", "changes.html")
"""What a comparison consists of."""

_WORK = ".compare-"

_LEGEND = "0 = no object, 1 = object at both dates, 2 = lost, 3 = gained, 255 = not judged at both dates"


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """How to compare a pair of runs, and where to."""

    pair: RunPair
    out: Path
    rules: MatchRules = field(default_factory=MatchRules)
    search_px: int = 16
    """Longest shift that is looked for, in rows and columns."""
    overwrite: bool = False


def check_compare(request: CompareRequest) -> None:
    """Raise InputError where files are in the way, or shifts cannot be looked for."""
    require_folder(request.out)
    require_no_run(request.out)
    there = [name for name in FILES if (request.out / name).exists()]
    if there and not request.overwrite:
        raise InputError(
            f"files of an earlier comparison are not replaced unasked: {request.out}",
            came=", ".join(there),
            remedy="add --overwrite, or give another --out",
        )
    if not 0 <= request.search_px <= 256:
        raise InputError(
            "--search-px must lie between 0 and 256",
            came=str(request.search_px),
            remedy="leave it out for 16",
        )


def compare(request: CompareRequest, *, progress: Callable[[str, float], None]) -> dict[str, Any]:
    """Compare, write the files, and return the content of summary.json."""
    check_compare(request)
    with work_folder(request.out, _WORK) as work:
        pixels = _read_pixels(request, work / "changes.tif", progress)
        summary = _write_tables(request, pixels, work)
        (work / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
        (work / "changes.html").write_text(change_page(summary, work / "changes.tif"))
        for name in FILES:
            (work / name).replace(request.out / name)
        return summary


@dataclass(kw_only=True, eq=False)
class _Pixels:
    """What the squares say."""

    squares: list[Window] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)
    tables: OverlapTables = field(default_factory=OverlapTables)
    states_px: dict[int, int] = field(default_factory=lambda: dict.fromkeys(COLOURS, 0))
    states_m2: dict[int, float] = field(default_factory=lambda: dict.fromkeys(COLOURS, 0.0))


def _read_pixels(request: CompareRequest, raster: Path, progress: Callable[[str, float], None]) -> _Pixels:
    pair = request.pair
    common = pair.window
    found = _Pixels()
    write_squares(
        raster,
        _square_states(request, found),
        grid=_part_of(pair.grid, common),
        look=RasterLook(
            description="change", legend=_LEGEND, nodata=NOT_COMPARABLE, dtype="uint8", colours=COLOURS
        ),
        tags={"QUERY": pair.query, "BEFORE": pair.before.info.run_id, "AFTER": pair.after.info.run_id},
        progress=lambda share: progress("pixels", share),
    )
    return found


def _square_states(
    request: CompareRequest, found: _Pixels
) -> Iterator[tuple[Window, NDArray[np.uint8], float]]:
    """Count square by square, and give the pixels of the raster on the way, in its own pixels."""
    pair = request.pair
    common = pair.window
    reader = PairReader(pair)
    windows = list(_squares(common))
    for number, window in enumerate(windows):
        pixels = reader.read(window)
        shift = estimate_shift(
            pixels.ids_before > 0,
            pixels.ids_after > 0,
            pixels.judged_before,
            pixels.judged_after,
            most_px=request.search_px,
        )
        found.squares.append(window)
        found.shifts.append(shift)
        found.tables.add(number, pixels)
        states = pixels.states
        (ground_m2,) = geodesic_area_m2(
            [shapely.box(window.col0, window.row0, window.col1, window.row1)], pair.grid
        )
        for value, count in zip(*np.unique(states, return_counts=True), strict=True):
            found.states_px[int(value)] += int(count)
            found.states_m2[int(value)] += float(count) * ground_m2 / window.area_px
        yield window.shifted(-common.row0, -common.col0), states, (number + 1) / len(windows)


def _squares(common: Window) -> Iterator[Window]:
    for row0 in range(common.row0, common.row1, SQUARE_PX):
        for col0 in range(common.col0, common.col1, SQUARE_PX):
            row1 = min(row0 + SQUARE_PX, common.row1)
            yield Window(row0=row0, col0=col0, row1=row1, col1=min(col0 + SQUARE_PX, common.col1))


def _part_of(grid: RunGrid, window: Window) -> RunGrid:
    a, b, c, d, e, f = affine_or_identity(grid)
    x = a * window.col0 + b * window.row0 + c
    y = d * window.col0 + e * window.row0 + f
    return replace(grid, transform=(a, b, x, d, e, y), width=window.width, height=window.height)


def _write_tables(request: CompareRequest, pixels: _Pixels, work: Path) -> dict[str, Any]:
    pair = request.pair
    grid = pair.grid
    objects = read_objects(pair.before), read_objects(pair.after)
    rows = match(
        pixels.tables.total(),
        area_px=(objects[0].rows["area_px"], objects[1].rows["area_px"]),
        shift_px=shift_lengths(pixels.shifts),
        rules=request.rules,
    )
    pixel_m = _pixel_m(pair)
    if request.rules.most_way_m > 0.0 and not math.isfinite(pixel_m):
        raise InputError(
            "--moved-m is a way on the ground",
            came="runs whose pixels have no known ground",
            remedy="leave it out",
        )
    middles = objects[0].middles_m(grid, pixel_m), objects[1].middles_m(grid, pixel_m)
    rows = join_moved(rows, middles, request.rules)
    changes = change_rows(rows, objects, query=pair.query, grid=grid, pixel_m=pixel_m)
    write_geo_parquet(work / "changes.parquet", [changes], schema=CHANGES_SCHEMA, grid=grid)
    squares = registration_rows(
        pixels.squares, pixels.shifts, most_shift_px=request.rules.most_shift_px, grid=grid
    )
    write_geo_parquet(work / "registration.parquet", [squares], schema=REGISTRATION_SCHEMA, grid=grid)
    return _summary(request, pixels, changes)


def _pixel_m(pair: RunPair) -> float:
    window = pair.window
    row = (window.row0 + window.row1) // 2
    col = (window.col0 + window.col1) // 2
    (pixel_m2,) = geodesic_area_m2([shapely.box(col, row, col + 1, row + 1)], pair.grid)
    return math.sqrt(pixel_m2)


def _summary(request: CompareRequest, pixels: _Pixels, changes: pa.Table) -> dict[str, Any]:
    pair = request.pair
    frame = changes.select(["change", "reason", "before_area_m2", "after_area_m2"]).to_pandas()
    states = Counter(state_of(shift, request.rules.most_shift_px) for shift in pixels.shifts)
    known = [shift for shift in pixels.shifts if shift.known]
    return {
        "query": pair.query,
        "before": _run_entry(pair.before, changes["before_id"]),
        "after": _run_entry(pair.after, changes["after_id"]),
        "one_area": pair.before.info.aoi_wkb == pair.after.info.aoi_wkb,
        "rules": asdict(request.rules),
        "ground": _ground_entry(pixels),
        "registration": {
            "squares": len(pixels.shifts),
            **{state: states[state] for state in ("registered", "off", "not known")},
            "median_rows": float(np.median([shift.rows for shift in known])) if known else None,
            "median_cols": float(np.median([shift.cols for shift in known])) if known else None,
        },
        "changes": {change: _change_entry(frame[frame["change"] == change]) for change in CHANGES},
        "reasons": {str(name): int(n) for name, n in frame["reason"].value_counts().sort_index().items()},
    }


def _run_entry(run: DatedRun, ids: pa.ChunkedArray) -> dict[str, Any]:
    return {
        "run": str(run.run_dir.path),
        "run_id": run.info.run_id,
        "fingerprint": run.info.fingerprint,
        "dates": run.dates,
        "objects": len(ids) - ids.null_count,
    }


def _ground_entry(pixels: _Pixels) -> dict[str, Any]:
    m2 = pixels.states_m2
    px = pixels.states_px
    known = all(map(math.isfinite, m2.values()))
    total_m2 = sum(m2.values())
    return {
        "common_px": sum(px.values()),
        "compared_px": sum(px.values()) - px[NOT_COMPARABLE],
        "common_km2": total_m2 / 1e6 if known else None,
        "compared_km2": (total_m2 - m2[NOT_COMPARABLE]) / 1e6 if known else None,
        **{f"{name}_px": px[value] for name, value in _STATES.items()},
        **{f"{name}_m2": m2[value] if known else None for name, value in _STATES.items()},
    }


_STATES = {"nothing": NOTHING, "kept": KEPT, "lost": LOST, "gained": GAINED}


def _change_entry(rows: pd.DataFrame) -> dict[str, Any]:
    entry: dict[str, Any] = {"objects": len(rows)}
    for side in ("before", "after"):
        total = rows[f"{side}_area_m2"].sum(min_count=1)
        entry[f"{side}_m2"] = None if math.isnan(total) else float(total)
    return entry
