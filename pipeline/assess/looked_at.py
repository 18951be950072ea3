"""How much ground a run looked at for each query, and what became of the rest, from the ledger.

Only ground of the area counts: the core of a tile at its border by the share that lies inside. What a tile
left unjudged is told by the tile's own reason (failed, clouds, no imagery); in a tile that was answered it is
ground without imagery or under clouds. A district's share of a tile is its share of the tile's ground: judged
and unjudged ground are taken to be spread evenly inside one tile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.write.report.report_rows import batches
from pipeline.write.run_dir import RunDir

PARTLY = "no imagery, or under clouds, in tiles that were answered"

_ROUNDED = 1e-5
"""Share of a tile's ground that is no ground but rounding."""

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
        if area > searched:
            self.not_looked_at[why] += area - searched


def read_looked_at(
    run_dir: RunDir,
    *,
    n_queries: int,
    area: shapely.Geometry | Mapping[str, shapely.Geometry] | None,
    districts: Sequence[shapely.Geometry] = (),
) -> list[list[SearchedGround]]:
    """Sum the ledger: for each query all ground, then each district, then what lies in none.

    `area`: the AOI in the CRS of the ledger; of a run of several zones the ground that each owns, by name,
    so that every place counts once. None: everything that was planned. `districts`: in that CRS, without
    overlaps. Memory: a batch of rows.
    """
    n_places = 1 + len(districts) + 1
    sums = [[SearchedGround() for _ in range(n_places)] for _ in range(n_queries)]
    tree = shapely.STRtree(list(districts))
    zoned = isinstance(area, Mapping)
    names = ("query_index", "status", "reason", "km2", "searched_km2", "geometry")
    columns = (*names, *(("zone",) if zoned else ()))
    for batch in batches(run_dir.coverage, columns):
        rows = batch.to_pandas()
        rows = rows[rows["reason"] != Reason.OUTSIDE_AOI.value]
        cores = shapely.from_wkb(rows["geometry"].to_numpy())
        own = rows["zone"].to_numpy() if zoned else np.zeros(len(rows))
        ground = _inside(cores, own, area)
        share = shapely.area(ground) / shapely.area(cores)
        core_km2 = np.nan_to_num(rows["km2"])
        rows["km2"] = core_km2 * share
        # in the ledger of several zones what was searched is of the owned ground alone
        searched = np.nan_to_num(rows["searched_km2"]) * (1.0 if zoned else share)
        whole = np.abs(core_km2 * share - searched) <= _ROUNDED * core_km2
        rows["searched_km2"] = np.where(whole, rows["km2"], searched)
        for row, shape in zip(rows.itertuples(index=False), ground, strict=True):
            why = _why(row.status, row.reason)
            gate = row.reason == Reason.GATE.value
            for place, part in ((0, 1.0), *_shares(shape, tree, districts)):
                sums[row.query_index][place].add(row.km2 * part, row.searched_km2 * part, why, gate=gate)
    return sums


def _why(status: str, reason: str) -> str:
    if status == TileStatus.FOUND.value or reason not in _WHY:
        return PARTLY
    return _WHY[reason]


def _inside(
    cores: NDArray[np.object_],
    own: NDArray[np.generic],
    area: shapely.Geometry | Mapping[str, shapely.Geometry] | None,
) -> NDArray[np.object_]:
    """The parts of polygons that lie in the area, (n,). `own`: the zone of each."""
    ground = cores.copy()
    named = area.items() if isinstance(area, Mapping) else [(0, area)] if area is not None else []
    for name, shape in named:
        shapely.prepare(shape)
        mine = np.flatnonzero(own == name)
        cut = mine[~shapely.contains_properly(shape, cores[mine])]
        ground[cut] = shapely.intersection(cores[cut], shape)
    return ground


def _shares(
    shape: shapely.Geometry, tree: shapely.STRtree, districts: Sequence[shapely.Geometry]
) -> list[tuple[int, float]]:
    """(place, share of the polygon) of the districts that it meets, and of what lies in none."""
    whole = shape.area
    if not districts or not whole:
        return []
    found = []
    left = 1.0
    for number in tree.query(shape, predicate="intersects").tolist():
        part = districts[number].intersection(shape).area / whole
        found.append((1 + number, part))
        left -= part
    return [*found, (1 + len(districts), max(left, 0.0))]
