"""How much ground all zones have searched, every place once.

1. `shared_ground` is where planned cores of several zones lie on each other, by their ledgers.
2. There a place counts for the zone that has the say, as for objects: its owner, or a zone that judged what
   the owner did not (`zone_ground.true_ground`).
3. `own_shares` measures which share of what was judged in a core lies on its zone's own ground. The joint
   ledger counts this share of what the zone's ledger has. Away from shared ground a core counts whole.

Shares are of what was judged and not of the core: a core of which a half is imagery, and that half the
zone's own, counts with the area of its imagery and not with a half of that. All of it follows from files.

What is left of error is rounding: outlines have whole `SNAP_DEG`, which is 1e-7 of cores of 50 m. One thing
is not told exactly: pixels without imagery onto which an object reaches look judged in the mask raster. They
are in the outlines that shares are taken of, and never in the areas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.files.store.stored_files import open_parquet
from pipeline.geo.globe import polygonal, polygons_to_lonlat
from pipeline.run.zones.zone_ground import ZoneCores, ZoneFiles, judged_cores, planned_cores, true_ground
from pipeline.run.zones.zone_objects import BATCH_ROWS
from pipeline.run.zones.zone_plan import SNAP_DEG
from pipeline.schema.tile_answers import Reason
from pipeline.write.georeference import to_pixels
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.zoned.zoned_tables import LONLAT_GRID, CoreShares, OwnedLedger

_BENT_DEG = 1e-2
"""How far edges of cores may bend on their way to degrees; more only costs time."""


def owned_ledgers(zones: Sequence[ZoneFiles], *, n_queries: int) -> list[OwnedLedger]:
    """Say of the ledgers of all zones what counts, every place once."""
    shared = shared_ground(zones)
    planned = _shares(zones, partial(planned_cores, near=shared))
    searched = [
        _shares(zones, partial(judged_cores, query_index=query_index, near=shared))
        for query_index in range(n_queries)
    ]
    return [
        OwnedLedger(
            zone=zone.name,
            run_dir=zone.run_dir,
            crs_wkt=zone.crs_wkt,
            planned=planned[number],
            searched=tuple(of_query[number] for of_query in searched),
        )
        for number, zone in enumerate(zones)
    ]


def _shares(zones: Sequence[ZoneFiles], cores_of: Callable[[ZoneFiles], ZoneCores]) -> list[CoreShares]:
    """Divide ground among the zones by what their cores show; returns the shares of each zone's cores."""
    cores = [cores_of(zone) for zone in zones]
    seen = [polygonal(shapely.union_all(each.shapes, grid_size=SNAP_DEG)) for each in cores]
    own = true_ground([zone.owned for zone in zones], seen)
    return [own_shares(each, ground) for each, ground in zip(cores, own, strict=True)]


def shared_ground(zones: Sequence[ZoneFiles]) -> BaseGeometry:
    """Unite the ground on which planned cores of several zones lie, in degrees."""
    extents = [_extent(zone) for zone in zones]
    trees = []
    for number, zone in enumerate(zones):
        others = shapely.union_all([*extents[:number], *extents[number + 1 :]])
        trees.append(shapely.STRtree(planned_cores(zone, others).shapes))
    found = []
    for one, other in combinations(trees, 2):
        of_other, of_one = one.query(other.geometries, predicate="intersects")
        found += shapely.intersection(one.geometries[of_one], other.geometries[of_other]).tolist()
    return polygonal(shapely.union_all([polygonal(part) for part in found], grid_size=SNAP_DEG))


def _extent(zone: ZoneFiles) -> BaseGeometry:
    """Draw a box around the planned cores of a zone, in degrees; empty: it has none."""
    found = []
    with open_parquet(zone.run_dir.coverage) as ledger:
        for batch in ledger.iter_batches(batch_size=BATCH_ROWS, columns=["reason", "geometry"]):
            table = pa.Table.from_batches([batch]).filter(pc.field("reason") != Reason.OUTSIDE_AOI.value)
            cores = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
            if len(cores):
                found.append(shapely.box(*shapely.total_bounds(polygons_to_lonlat(cores, zone.crs_wkt))))
    return shapely.box(*shapely.total_bounds(found)).buffer(_BENT_DEG) if found else shapely.Polygon()


def own_shares(cores: ZoneCores, own: BaseGeometry) -> CoreShares:
    """Measure which shares of cores lie on the ground of their zone, by geodesic area.

    A core of which nothing counts has the share 0.
    """
    shapely.prepare(own)
    share = np.zeros(len(cores.shapes))
    share[shapely.covers(own, cores.shapes)] = 1.0
    crossing = np.flatnonzero(shapely.intersects(own, cores.shapes) & (share == 0))
    whole = cores.shapes[crossing]
    parts = np.array([polygonal(part) for part in shapely.intersection(whole, own)], dtype=object)
    share[crossing] = _m2(parts) / _m2(whole)
    return CoreShares(tile_row=cores.tile_row, tile_col=cores.tile_col, share=share)


def _m2(shapes: NDArray[np.object_]) -> NDArray[np.float64]:
    return geodesic_area_m2(to_pixels(shapes, LONLAT_GRID), LONLAT_GRID)
