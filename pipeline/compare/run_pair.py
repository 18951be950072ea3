"""Two finished runs whose pixels lie on one lattice.

`pair_of` reads both run.json files and refuses what cannot be compared: runs that have not ended, other
questions, other pixels. Grids may be of different size and place, if whole pixels lie on whole pixels.
Comparison takes place in the window that both have, in pixels of the first run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from pipeline.errors import InputError
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.georeference import to_pixels
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import finished_run
from pipeline.write.run_json import RunInfo
from pipeline.write.zoned.zoned_json import ZonedInfo, read_any_run

_OFF_PX = 0.01
"""Distance in pixels from a whole number of them at which two grids count as shifted by a fraction."""


@dataclass(frozen=True, kw_only=True)
class DatedRun:
    """One of the two runs."""

    run_dir: RunDir
    info: RunInfo
    query_index: int
    """Of the compared query in this run."""

    @property
    def area_px(self) -> shapely.Geometry | None:
        """The area of interest in pixel edges of the run's grid. None: whole scenes."""
        if not self.info.aoi_wkb:
            return None
        (area,) = to_pixels([shapely.from_wkb(bytes.fromhex(self.info.aoi_wkb))], self.info.lattice.grid)
        return area

    @property
    def dates(self) -> tuple[str, str] | None:
        """Earliest and latest time of its scenes, RFC 3339. None: they have none."""
        times = sorted(scene.datetime for scene in self.info.scenes if scene.datetime)
        return (times[0], times[-1]) if times else None


@dataclass(frozen=True, kw_only=True)
class RunPair:
    """Two runs that asked one query of pixels on one lattice."""

    before: DatedRun
    after: DatedRun
    query: str
    offset: tuple[int, int]
    """Row and column of the second grid's first pixel in the first grid."""

    @property
    def grid(self) -> RunGrid:
        """The first run's grid, in whose pixels everything is."""
        return self.before.info.lattice.grid

    @property
    def window(self) -> Window:
        """What both grids have, in pixels of the first."""
        other = self.after.info.lattice.grid.window.shifted(*self.offset)
        common = self.grid.window.intersect(other)
        assert common is not None, "pair_of refuses grids that share nothing"
        return common

    def in_after(self, window: Window) -> Window:
        """A window of the first grid in pixels of the second."""
        return window.shifted(-self.offset[0], -self.offset[1])


def pair_of(before: str, after: str, query: str | None) -> RunPair:
    """Read two runs. `query`: word for word; None: the only one that both asked.

    Raises InputError for what is no run, a run that has not ended or that has several zones, queries that
    were not asked of both, and pixels that do not lie on each other.
    """
    first = _finished(before)
    second = _finished(after)
    if first[0].path == second[0].path:
        raise InputError(
            "a comparison needs two runs",
            came=f"{first[0].path} twice",
            remedy="give the run of the first date and that of the second",
        )
    asked = _common_query(first[1].queries, second[1].queries, query)
    return RunPair(
        before=DatedRun(run_dir=first[0], info=first[1], query_index=first[1].queries.index(asked)),
        after=DatedRun(run_dir=second[0], info=second[1], query_index=second[1].queries.index(asked)),
        query=asked,
        offset=_offset(first[1].lattice.grid, second[1].lattice.grid),
    )


def _finished(place: str) -> tuple[RunDir, RunInfo]:
    run_dir = finished_run(place)
    if not run_dir.run_json.is_file():
        raise InputError(
            "a comparison needs the directories of two runs",
            came=f"{run_dir.path} without a run.json",
            remedy="give the --out directories of two runs of segment_region.py",
        )
    info = read_any_run(run_dir.run_json)
    if isinstance(info, ZonedInfo):
        raise InputError(
            f"runs are compared zone by zone: {run_dir.path}",
            came=f"a run of {len(info.zones)} zones",
            remedy="give the directory of one zone of both: zones/NAME",
        )
    missing = [path.name for path in (run_dir.masks, run_dir.instances) if not path.exists()]
    if info.status == "running" or missing:
        raise InputError(
            f"only runs that have ended can be compared: {run_dir.path}",
            came=f"status {info.status}" + (f", without {' and '.join(missing)}" if missing else ""),
            remedy="let the run end, or start its own command again: it resumes where it stopped",
        )
    return run_dir, info


def _common_query(first: Sequence[str], second: Sequence[str], wanted: str | None) -> str:
    common = [query for query in first if query in second]
    if wanted in common or (wanted is None and len(common) == 1):
        return wanted or common[0]
    told = ", ".join(map(repr, common)) or "none"
    raise InputError(
        "both runs must have asked the compared query, word for word",
        came=repr(wanted) if wanted is not None else f"no --query, and common queries: {told}",
        remedy=f"choose --query from {told}" if common else "ask both dates the same query",
    )


def _offset(first: RunGrid, second: RunGrid) -> tuple[int, int]:
    """Place of the second grid's first pixel in the first grid (row, column)."""
    remedy = "run the second date again with --grid-of and the first run: its pixels are then the same"
    if first.crs_wkt != second.crs_wkt:
        raise InputError("two dates are compared in one CRS", came="runs in two CRSs", remedy=remedy)
    a, b, c, d, e, f = first.transform
    turn = np.array([[a, b], [d, e]])
    step = np.linalg.solve(turn, np.array([second.transform[2] - c, second.transform[5] - f]))
    theirs = np.array([second.transform[0:2], second.transform[3:5]])
    longest = max(second.width, second.height)
    step = step.round(9) + 0.0  # no minus before a zero
    drift = np.abs(np.linalg.solve(turn, theirs) - np.eye(2)).max() * longest
    if drift > _OFF_PX or np.abs(step - np.round(step)).max() > _OFF_PX:
        raise InputError(
            "pixels of both dates must lie on each other",
            came=f"a second grid that begins {step[0]:+.2f} columns and {step[1]:+.2f} rows off"
            + (", of another pixel size" if drift > _OFF_PX else ""),
            remedy=remedy,
        )
    col, row = (round(float(value)) for value in step)
    if first.window.intersect(second.window.shifted(row, col)) is None:
        raise InputError(
            "two dates are compared where both were looked at",
            came="runs of areas without a common pixel",
            remedy="give two runs of one region",
        )
    return row, col
