"""How many, how large, how dense: the answer of a finished run, with what was not looked at.

1. `read_looked_at` sums the ledger: ground looked at, and why the rest was not.
2. `_counted` sums the objects in one pass. With districts an object belongs, with all of its area, to the one
   that holds a point on it; so numbers add up.
3. An interval comes from a reviewed sample alone (`estimate_run`). Scores say how sure a model is of itself,
   and nothing of what it missed: no interval is made of them. An assessment is of the whole run, so districts
   have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.assess.districts import Districts, read_districts
from pipeline.assess.estimate_run import read_assessment
from pipeline.assess.looked_at import SearchedGround, read_looked_at
from pipeline.errors import InputError
from pipeline.write.report.report_rows import batches, instance_files
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import chosen_queries, existing_run
from pipeline.write.run_json import RunInfo
from pipeline.write.zoned.zoned_json import ZonedInfo, read_any_run
from pipeline.write.zoned.zoned_tables import LONLAT_GRID

ELSEWHERE = "elsewhere"
"""Name of what lies in no district."""


@dataclass(frozen=True, kw_only=True)
class AnswerRow:
    """The answer to one query in one place."""

    query: str
    district: str | None
    """None: the whole run."""
    objects: int
    area_m2: float | None
    """None: the run has no CRS."""
    ground: SearchedGround

    @property
    def per_km2(self) -> float | None:
        """Objects per km2 of ground that was looked at. None: there is none, or no CRS."""
        return self.objects / self.ground.searched_km2 if self.ground.searched_km2 > 0 else None


@dataclass(frozen=True, kw_only=True)
class RunAnswer:
    """The answer of a run."""

    run: str
    run_id: str
    complete: bool
    """Whether every planned tile is accounted for."""
    rows: tuple[AnswerRow, ...]
    """Per query the whole, then its districts."""
    assessed: Mapping[str, Mapping[str, Any]]
    """Query -> its entry in assessment.json."""
    not_assessed: str
    """Why there is no assessment, where one is there and does not count."""


def answer_run(
    run: str, *, queries: Sequence[str] = (), by: Path | None = None, by_name: str | None = None
) -> RunAnswer:
    """Read the answer of a finished run.

    Raises InputError for a run that has not published, a query that was not asked, and districts that cannot
    be used.
    """
    run_dir = existing_run(run, what="an answer")
    info = read_any_run(run_dir.run_json)
    for path in (run_dir.instances, run_dir.coverage):
        if not path.exists():
            raise InputError(
                f"an answer needs {path.name} of the run",
                came=f"status {info.status} in {run_dir.path}",
                remedy="let the run end: start its own command again, it resumes",
            )
    chosen = chosen_queries(info.queries, queries)
    grid = LONLAT_GRID if isinstance(info, ZonedInfo) else info.lattice.grid
    districts = Districts(names=(), shapes=()) if by is None else read_districts(by, grid, column=by_name)
    ground = read_looked_at(
        run_dir, n_queries=len(info.queries), area=_area_of(info), districts=districts.shapes
    )
    counts, areas = _counted(run_dir, len(info.queries), districts)
    names: list[str | None] = [None, *districts.names, *([ELSEWHERE] if districts.names else [])]
    rows = [
        AnswerRow(
            query=info.queries[index],
            district=name,
            objects=int(counts[index, place]),
            area_m2=None if np.isnan(areas[index, place]) else float(areas[index, place]),
            ground=ground[index][place],
        )
        for index in chosen
        for place, name in enumerate(names)
    ]
    kept = read_assessment(run_dir, info)
    entries = kept.document["queries"] if kept.document is not None else ()
    return RunAnswer(
        run=run,
        run_id=info.run_id,
        complete=info.status == "complete",
        rows=tuple(
            row for row in rows if row.district != ELSEWHERE or row.ground.area_km2 > 1e-9 or row.objects
        ),
        assessed={info.queries[entry["query_index"]]: entry for entry in entries},
        not_assessed=kept.why_not,
    )


def _area_of(info: RunInfo | ZonedInfo) -> shapely.Geometry | Mapping[str, shapely.Geometry] | None:
    """The AOI in the CRS of the tables, or the ground that each zone owns. None: whole scenes."""
    if isinstance(info, ZonedInfo):
        return {zone.name: shapely.from_wkb(bytes.fromhex(zone.owned_wkb)) for zone in info.zones}
    return shapely.from_wkb(bytes.fromhex(info.aoi_wkb)) if info.aoi_wkb else None


def _counted(
    run_dir: RunDir, n_queries: int, districts: Districts
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Objects and their area in m2, (n_queries, 1 + districts + 1): the whole, each district, elsewhere."""
    n_places = len(districts.names) + 2
    counts = np.zeros((n_queries, n_places), dtype=np.int64)
    areas = np.zeros((n_queries, n_places))
    numbers = ("query_index", "part_no", "area_m2")
    columns = (*numbers, *(("geometry",) if districts.names else ()))
    for path in instance_files(run_dir):
        for batch in batches(path, columns):
            query, part, area = (batch[name].to_numpy(zero_copy_only=False) for name in numbers)
            first = (part == 0).astype(np.int64)
            np.add.at(counts[:, 0], query, first)
            np.add.at(areas[:, 0], query, area)
            if districts.names:
                shapes = shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False))
                place = 1 + districts.place_of(shapely.point_on_surface(shapes))
                np.add.at(counts, (query, place), first)
                np.add.at(areas, (query, place), area)
    return counts, areas
