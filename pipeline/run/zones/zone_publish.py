"""Instances, ledger and plan of all zones, from what each zone has published.

1. The ledger and the plan of all zones are written. Ground counts for the zone that has the say there
   (`zone_ledger`).
2. Every zone's instances are streamed. Those on ground that only their own zone judged become rows at once;
   the few near a seam stay in memory.
3. Query by query, `zone_match` says which of them are one, `zone_shapes` draws them, `zone_rows` makes their
   rows.
4. All rows are sorted and written as those of an ordinary run.

The same files of the zones give the same bytes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.files.store.store_path import StorePath
from pipeline.files.store.stored_files import read_parquet
from pipeline.options import parse_table
from pipeline.run.merge.finished_rows import centre_bounds
from pipeline.run.merge.merge_job import MergeJob, run_here
from pipeline.run.merge.publish import order_rows, with_tables
from pipeline.run.merge.tally import Bounds, join_bounds
from pipeline.run.zones.zone_ground import (
    files_of,
    judged_ground,
    judged_twice,
    seam_ground,
    true_ground,
)
from pipeline.run.zones.zone_ledger import owned_ledgers
from pipeline.run.zones.zone_match import ZoneObjects, match_zones
from pipeline.run.zones.zone_objects import SeamRows, ZoneResult, split_rows
from pipeline.run.zones.zone_plan import SNAP_DEG
from pipeline.run.zones.zone_rows import merged_rows, renamed
from pipeline.run.zones.zone_shapes import drawn
from pipeline.schema.tiling import TileLattice
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.write.coverage import Conservation, SearchedArea
from pipeline.write.geo_parquet import with_geometry
from pipeline.write.instances import InstanceMeta, part_files
from pipeline.write.manifest import snapshot_name
from pipeline.write.merge_files import write_table
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.run_dir import RunDir
from pipeline.write.shown_snapshots import free_name
from pipeline.write.zoned.zoned_json import ZonedInfo
from pipeline.write.zoned.zoned_tables import (
    LONLAT_GRID,
    write_zoned_coverage,
    write_zoned_plan,
)

EDGE_PX = 2.0
"""An outline that comes this close to an edge of what its zone judged ends there, in pixels."""


@dataclass(frozen=True, kw_only=True)
class PublishedZones:
    """What all zones left behind together."""

    run_dir: RunDir
    """The joint directory, with the results of the snapshot that was written."""

    conservation: Conservation
    n_instances: tuple[int, ...]
    """Per query."""
    qa: Mapping[str, Any] = field(default_factory=dict)
    """Query -> what happened at the seams of the zones."""


def publish_zones(
    root: RunDir, results: Sequence[ZoneResult], *, min_area_m2: float, info: ZonedInfo
) -> PublishedZones:
    """Write plan.parquet, coverage.parquet and instances/ of all zones into `root`."""
    content = {
        "fingerprint": info.fingerprint,
        "zones": [(each.zone.name, each.run_dir.results.name, each.id_offset) for each in results],
        "min_area_m2": min_area_m2,
    }
    job = replace(_job(root, results, info), snapshot=snapshot_name(content))
    job = replace(job, snapshot=free_name(job.run_dir))
    write_zoned_plan(root.plan, [(each.zone.name, each.run_dir) for each in results])
    ledgers = owned_ledgers([files_of(each) for each in results], n_queries=len(info.queries))
    km2 = write_zoned_coverage(job.run_dir.coverage, ledgers)
    with with_tables(job) as job:
        writer = _RowWriter(job, results, min_area_m2)
        seam = seam_ground(results)
        judged = [
            [judged_ground(each, query_index, seam) for each in results]
            for query_index in range(len(info.queries))
        ]
        twice = judged_twice(judged)
        near = [writer.split(each, twice) for each in results]
        qa = {
            query: writer.join(query_index, near, judged[query_index])
            for query_index, query in enumerate(info.queries)
        }
        order_rows(writer.job, run_here, writer.files, n_rows=writer.n_rows, bounds=writer.bounds)
    for query_index, query in enumerate(info.queries):
        qa[query] |= {
            "objects": writer.n_objects[query_index],
            "below_min_area_m2": writer.n_small[query_index],
        }
    return PublishedZones(
        run_dir=job.run_dir,
        conservation=_conservation([each.conservation for each in results], km2.planned, km2.searched),
        n_instances=tuple(writer.n_objects[i] for i in range(len(info.queries))),
        qa=qa,
    )


def _job(root: RunDir, results: Sequence[ZoneResult], info: ZonedInfo) -> MergeJob:
    """What the steps that sort and write rows are told. No tile of its lattice is ever looked at."""
    first = results[0].info
    stitch = parse_table(StitchOptions, dict(first.parameters["stitch"]), "the merge's thresholds")
    known = first.parameters["prompter"]["kind"] == "vector"
    return MergeJob(
        records_dir=str(root.blocks),
        out_dir=str(root.path),
        keys=AlikeKeys(info.fingerprint),  # there are no block records
        lattice=TileLattice(grid=LONLAT_GRID, tile_px=1024, halo_px=64, block_tiles=4),
        inside=np.zeros((0, 0), dtype=np.bool_),
        aoi_grid=None,
        scenes=(),
        meta=InstanceMeta(
            queries=info.queries,
            prompter_id=first.model_ids["prompter"],
            segmenter_id=first.model_ids["segmenter"],
            run_id=info.run_id,
            verified="verifier" in first.parameters,
            known_locations=known,
            zoned=True,
        ),
        stitch=stitch,
        mode=first.parameters["merge_mode"],
        min_area_m2=0.0,
        super_tile_tiles=1,
    )


class _RowWriter:
    """Writes the rows of all zones as tables on their way to instances/, and counts them."""

    def __init__(self, job: MergeJob, results: Sequence[ZoneResult], min_area_m2: float) -> None:
        self.job = job
        self.n_rows = 0
        self.bounds: Bounds | None = None
        self.n_objects: Counter[int] = Counter()
        self.n_small: Counter[int] = Counter()
        self._results = results
        self._least_m2 = min_area_m2
        self.files: list[StorePath] = []

    def split(self, result: ZoneResult, twice: BaseGeometry) -> SeamRows:
        """Write the rows of a zone that no seam concerns; returns the others. `twice`: ground that several
        zones judged.
        """
        others = [each.zone.owned for each in self._results if each is not result]
        foreign = shapely.union_all([twice, *others], grid_size=SNAP_DEG)
        small = _small_in_parts(result, self._least_m2)

        def write(table: pa.Table, shapes: NDArray[np.object_]) -> None:
            rows = self._renamed(table, result)
            placed = with_geometry(rows, np.asarray(shapely.orient_polygons(shapes), dtype=object))
            keep = ~_is_small(table, self._least_m2, small)
            heads = table["part_no"].to_numpy() == 0
            self.n_small.update(table["query_index"].to_numpy()[~keep & heads].tolist())
            self._write(placed.filter(pa.array(keep)))

        return split_rows(result, foreign, far=write)

    def join(
        self, query_index: int, near: Sequence[SeamRows], judged: Sequence[BaseGeometry]
    ) -> dict[str, Any]:
        """Join, draw and write the objects of one query near the seams; returns what happened."""
        rows, objects = self._objects(query_index, near)
        match = match_zones(objects, judged, options=self.job.stitch, touching=self.job.mode == "semantic")
        ground = true_ground([each.zone.owned for each in self._results], judged)
        drawing = drawn(objects, match.group, ground)
        table = merged_rows(
            rows, objects, match.group, drawing, cut_off=self._cut_off(objects, judged, ground)
        )
        table = self._large(table, query_index)
        self._write(table)
        n_groups = len(np.unique(match.group))
        return {
            "near_a_seam": objects.n_objects,
            "pairs": match.n_pairs,
            "disputed": match.n_disputed,
            "joined": objects.n_objects - n_groups,
            "left_to_the_owner": n_groups
            - len(set(match.group[objects.object][~shapely.is_empty(drawing.parts)])),
            "beyond_the_seam": int(drawing.beyond.sum()),
        }

    def _objects(self, query_index: int, near: Sequence[SeamRows]) -> tuple[pa.Table, ZoneObjects]:
        tables = []
        polygons = [np.zeros(0, dtype=object)]
        zone = [np.zeros(0, dtype=np.int64)]
        pixel = [np.zeros(0)]
        for place, (result, found) in enumerate(zip(self._results, near, strict=True)):
            mine = np.flatnonzero(found.rows["query_index"].to_numpy() == query_index)
            table = found.rows.take(pa.array(mine))
            tables.append(self._renamed(table, result))
            polygons.append(found.polygons[mine])
            zone.append(np.full(mine.size, place))
            px = np.maximum(table["area_px"].to_numpy(), 1)
            pixel.append(shapely.area(found.polygons[mine]) / px)
        rows = pa.concat_tables(tables).combine_chunks()
        _, number = np.unique(rows["instance_id"].to_numpy(), return_inverse=True)
        return rows, ZoneObjects(
            polygons=np.concatenate(polygons),
            zone=np.concatenate(zone).astype(np.int64),
            object=number.reshape(-1).astype(np.int64),
            whole=~np.asarray(rows["truncated"].to_numpy(zero_copy_only=False), dtype=np.bool_),
            pixel_deg2=np.concatenate(pixel),
        )

    def _cut_off(
        self, objects: ZoneObjects, judged: Sequence[BaseGeometry], ground: Sequence[BaseGeometry]
    ) -> NDArray[np.bool_]:
        """(n,) whether an outline ends at an edge of judged ground that is not its zone's seam band."""
        out = np.zeros(len(objects.polygons), dtype=np.bool_)
        for zone, (seen, own) in enumerate(zip(judged, ground, strict=True)):
            rows = np.flatnonzero((objects.zone == zone) & ~objects.whole)
            band = shapely.difference(seen.boundary, own)
            near_px = EDGE_PX * np.sqrt(objects.pixel_deg2[rows])
            at_band = shapely.distance(objects.polygons[rows], band) <= near_px
            rim = shapely.intersection(seen.boundary, own)
            at_rim = shapely.distance(objects.polygons[rows], rim) <= near_px
            out[rows] = at_rim | ~at_band
        return out

    def _large(self, table: pa.Table, query_index: int) -> pa.Table:
        """Rows of objects that reach the smallest area; one whose area is unknown stays."""
        ids = table["instance_id"].to_numpy()
        unique, place = np.unique(ids, return_inverse=True)
        area = table["area_m2"].to_numpy(zero_copy_only=False).astype(np.float64)
        total = np.bincount(place.reshape(-1), weights=area, minlength=len(unique))
        small = total < self._least_m2
        self.n_small[query_index] += int(small.sum())
        return table.filter(pa.array(~small[place.reshape(-1)]))

    def _renamed(self, table: pa.Table, result: ZoneResult) -> pa.Table:
        meta = self.job.meta
        return renamed(
            table,
            zone=result.zone.name,
            id_offset=result.id_offset,
            run_id=meta.run_id,
            schema=meta.schema,
        )

    def _write(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        self.files.append(write_table(self.job.table("rows", 0, f"{len(self.files):08d}"), rows))
        self.n_rows += rows.num_rows
        self.bounds = join_bounds([self.bounds, centre_bounds(rows)])
        heads = rows["part_no"].to_numpy() == 0
        self.n_objects.update(rows["query_index"].to_numpy()[heads].tolist())


def _is_small(table: pa.Table, least_m2: float, in_parts: set[tuple[int, int]]) -> NDArray[np.bool_]:
    """(n,) rows of objects below the smallest area. `in_parts`: those that have several rows."""
    area = table["area_m2"].to_numpy(zero_copy_only=False).astype(np.float64)
    small = (area < least_m2) & (table["n_parts"].to_numpy() == 1)
    if in_parts:
        pairs = zip(table["query_index"].to_pylist(), table["instance_id"].to_pylist(), strict=True)
        small |= np.array([pair in in_parts for pair in pairs], dtype=np.bool_)
    return np.asarray(small, dtype=np.bool_)


def _small_in_parts(result: ZoneResult, least_m2: float) -> set[tuple[int, int]]:
    """(query_index, instance_id) of objects in several rows that are below the smallest area all together."""
    total: defaultdict[tuple[int, int], float] = defaultdict(float)
    for path in part_files(result.run_dir) if least_m2 > 0 else ():
        columns = ["query_index", "instance_id", "area_m2"]
        table = read_parquet(path, columns, filters=[("n_parts", ">", 1)])
        for query, number, area in zip(*(table[name].to_pylist() for name in columns), strict=True):
            total[query, number] += np.inf if area is None else area
    return {key for key, area in total.items() if area < least_m2}


def _conservation(
    parts: Sequence[Conservation], planned_km2: float, searched_km2: Sequence[float]
) -> Conservation:
    """The ledger of all zones: tiles are summed, ground counts for its owner."""
    reasons: Counter[str] = Counter()
    for part in parts:
        reasons.update(part.reasons)
    searched = [part.searched for part in parts if part.searched is not None]
    known = np.isfinite([planned_km2, *searched_km2]).all()
    return Conservation(
        planned=sum(part.planned for part in parts),
        found=sum(part.found for part in parts),
        empty=sum(part.empty for part in parts),
        failed=sum(part.failed for part in parts),
        reasons=dict(sorted(reasons.items())),
        searched=SearchedArea(
            planned_px=sum(each.planned_px for each in searched),
            searched_px=tuple(sum(px) for px in zip(*(each.searched_px for each in searched), strict=True)),
            planned_km2=planned_km2 if known else None,
            searched_km2=tuple(searched_km2) if known else (),
        ),
    )
