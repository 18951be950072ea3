"""How much ground a run looked at for each query, and what became of the rest, from the ledger.

Only ground of the area counts: the core of a tile at its border by the share that lies inside. What a tile
left unjudged is told by the tile's own reason (failed, clouds, no imagery); in a tile that was answered it is
ground without imagery or under clouds. A district's share of a tile is its share of the tile's ground: judged
and unjudged ground are taken to be spread evenly inside one tile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.write.report.report_rows import batches
from pipeline.write.run_dir import RunDir

PARTLY = "no imagery, or under clouds, in tiles that were answered"

_WHY = {
    Reason.NODATA.value: "no imagery",
    Reason.CLOUD.value: "under clouds",
    Reason.UNREADABLE.value: "failed: the imagery could not be read",
    Reason.MALFORMED.value: "failed: the model's reply could not be used",
    Reason.MODEL_ERROR.value: "failed: a model failed",
    Reason.CRASHED.value: "failed: the process died",
    Reason.TIMEOUT.value: "failed: no answer in time",
}


@dataclass(kw_only=True)
class SearchedGround:
    """Ground of one query in one place, in km2."""

    area_km2: float = 0.0
    """All ground."""
    searched_km2: float = 0.0
    """What was judged."""
    gate_km2: float = 0.0
    """The part of it that a gate rejected after a cheap look."""
    not_looked_at: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Why -> km2."""

    def add(self, area: float, searched: float, why: str, *, gate: bool) -> None:
        """Count the ground of one tile."""
        self.area_km2 += area
        self.searched_km2 += searched
        self.gate_km2 += searched if gate else 0.0
        if area > searched * (1 + 1e-9):
            self.not_looked_at[why] += area - searched


def read_looked_at(
    run_dir: RunDir,
    *,
    n_queries: int,
    area: shapely.Geometry | None,
    districts: Sequence[shapely.Geometry] = (),
) -> list[list[SearchedGround]]:
    """Sum the ledger: for each query all ground, then each district, then what lies in none.

    `area`: the AOI in the CRS of the ledger. None: everything that was planned. `districts`: in that CRS,
    without overlaps. Memory: a batch of rows.
    """
    n_places = 1 + len(districts) + 1
    sums = [[SearchedGround() for _ in range(n_places)] for _ in range(n_queries)]
    tree = shapely.STRtree(list(districts))
    if area is not None:
        shapely.prepare(area)
    columns = ("query_index", "status", "reason", "km2", "searched_km2", "geometry")
    for batch in batches(run_dir.coverage, columns):
        rows = batch.to_pandas()
        rows = rows[rows["reason"] != Reason.OUTSIDE_AOI.value]
        shapes = shapely.from_wkb(rows["geometry"].to_numpy())
        inside = _share_inside(shapes, area)
        given = zip(rows.itertuples(index=False), shapes, inside.tolist(), strict=True)
        for row, shape, share in given:
            shares = _shares(shape, tree, districts)
            why = _why(row.status, row.reason)
            gate = row.reason == Reason.GATE.value
            for place, part in ((0, 1.0), *shares):
                km2 = np.nan_to_num(row.km2) * share * part
                searched = min(np.nan_to_num(row.searched_km2) * share * part, km2)
                sums[row.query_index][place].add(km2, searched, why, gate=gate)
    return sums


def _why(status: str, reason: str) -> str:
    if status == TileStatus.FOUND.value or reason not in _WHY:
        return PARTLY
    return _WHY[reason]


def _share_inside(shapes: NDArray[np.object_], area: shapely.Geometry | None) -> NDArray[np.float64]:
    """Share of each polygon that lies in the area, (n,)."""
    if area is None or not len(shapes):
        return np.ones(len(shapes))
    shares = np.ones(len(shapes))
    cut = ~shapely.contains_properly(area, shapes)
    shares[cut] = shapely.area(shapely.intersection(shapes[cut], area)) / shapely.area(shapes[cut])
    return shares


def _shares(
    shape: shapely.Geometry, tree: shapely.STRtree, districts: Sequence[shapely.Geometry]
) -> list[tuple[int, float]]:
    """(place, share of the polygon) of the districts that it meets, and of what lies in none."""
    if not districts:
        return []
    whole = shape.area
    found = []
    left = 1.0
    for number in tree.query(shape, predicate="intersects").tolist():
        part = districts[number].intersection(shape).area / whole
        found.append((1 + number, part))
        left -= part
    return [*found, (1 + len(districts), max(left, 0.0))]
