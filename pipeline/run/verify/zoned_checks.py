"""A run of several zones: what lies above the zones against what lies in them.

1. run.json names the zones, and each is the run that it names.
2. The joint plan and ledger follow from those of the zones, and are compared with fresh ones.
3. Every row of the joint instances is sound in itself, and names objects that its zones have.

The zones themselves are checked like any run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import shapely

from pipeline.errors import InputError
from pipeline.files.store.stored_files import read_parquet
from pipeline.run.verify.file_checks import check_run_json, differing_columns
from pipeline.run.verify.findings import Findings
from pipeline.run.verify.object_checks import (
    check_areas,
    check_parts,
    check_polygons,
    names_of,
    row_batches,
)
from pipeline.run.zones.zone_ground import ZoneFiles
from pipeline.run.zones.zone_ledger import owned_ledgers
from pipeline.write.georeference import to_pixels
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.instances import part_files
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import finished_run
from pipeline.write.run_json import RunInfo, read_run_json
from pipeline.write.zoned.zoned_json import ZonedInfo
from pipeline.write.zoned.zoned_tables import (
    LONLAT_GRID,
    write_zoned_coverage,
    write_zoned_plan,
)

AREA_TOLERANCE = 1e-3
"""Areas away from the seams are those of a zone's own pixels. Outlines are rounded on their way to degrees,
which can be seen in objects of a few square metres.
"""

Zones = Mapping[str, tuple[RunDir, RunInfo]]
"""Name -> directory and run.json of a zone."""


def read_zones(run_dir: RunDir, info: ZonedInfo, found: Findings) -> Zones:
    """Read run.json of every zone, and check that it is the run that the whole names."""
    zones = {}
    for entry in info.zones:
        zone = finished_run(run_dir.path / entry.path)
        try:
            own = read_run_json(zone.run_json)
        except InputError as error:
            found.add("run.json", entry.path, str(error))
            continue
        if own.fingerprint != entry.fingerprint and not info.update:
            found.add("run.json", entry.path, "it holds another run than the whole names")
        if own.status != entry.status and not info.update:
            found.add("run.json", entry.path, f"it is {own.status}, and the whole says {entry.status}")
        zones[entry.name] = (zone, own)
    check_run_json(run_dir, info, found)
    return zones


def zones_of_result(info: ZonedInfo, zones: Zones) -> Zones:
    """The zones with the snapshots that the result of all was made of. While an update is under way, some may
    have another one already.
    """
    made_of = {entry.name: entry.snapshot for entry in info.zones}
    return {
        name: (zone.in_snapshot(made_of[name]) if made_of[name] else zone, own)
        for name, (zone, own) in zones.items()
    }


def check_zoned_tables(
    run_dir: RunDir, info: ZonedInfo, zones: Zones, scratch: Path, found: Findings
) -> None:
    """Compare plan.parquet and coverage.parquet with what the zones' own give. While an update is under way
    the plans are not those of the result.
    """
    owned = {entry.name: shapely.from_wkb(bytes.fromhex(entry.owned_wkb)) for entry in info.zones}
    files = [
        ZoneFiles(name=name, run_dir=zone, lattice=own.lattice, owned=owned[name])
        for name, (zone, own) in zones.items()
    ]
    again = RunDir(scratch)
    try:
        write_zoned_plan(again.plan, [(name, zone) for name, (zone, _) in zones.items()])
        write_zoned_coverage(again.coverage, owned_ledgers(files, n_queries=len(info.queries)))
    except (OSError, pa.ArrowException, KeyError) as error:
        found.add("ledger", "zones", f"their tables cannot be read: {str(error).splitlines()[0]}")
        return
    for check, wanted, path in (
        ("plan", again.plan, run_dir.plan),
        ("ledger", again.coverage, run_dir.coverage),
    ):
        if check == "plan" and info.update:
            continue
        try:
            came = read_parquet(path)
        except (OSError, pa.ArrowException) as error:
            found.add(check, path.name, f"it cannot be read: {str(error).splitlines()[0]}")
            continue
        for name, text in differing_columns(read_parquet(wanted), came):
            found.add(check, f"column {name}", text)


def check_zoned_objects(run_dir: RunDir, info: ZonedInfo, zones: Zones, found: Findings) -> None:
    """Check all rows of the joint instances."""
    ids = {name: _ids_of(zone) for name, (zone, _) in zones.items()}
    pieces = []
    try:
        for table in row_batches(part_files(run_dir)):
            names = names_of(table)
            shapes = shapely.from_wkb(table["geometry"].to_numpy())
            sound = check_polygons(table, shapes, names, found)
            whole = [shape if good else shapely.Polygon() for shape, good in zip(shapes, sound, strict=True)]
            ground = geodesic_area_m2(to_pixels(whole, LONLAT_GRID), LONLAT_GRID)
            check_areas(table, ground, sound, names, found, tolerance=AREA_TOLERANCE)
            _check_zone_ids(table, info, ids, found)
            pieces.append(table.select(["query_index", "instance_id", "part_no", "n_parts"]))
    except (OSError, pa.ArrowException, KeyError, shapely.errors.ShapelyError) as error:
        found.add("objects", "instances", f"they cannot be read: {str(error).splitlines()[0]}")
        return
    n_objects = 0
    if pieces:
        rows = pa.concat_tables(pieces)
        check_parts(rows, found)
        n_objects = rows.group_by(["query_index", "instance_id"]).aggregate([]).num_rows
    if info.counters.get("instances") != n_objects:
        text = f"run.json counts {info.counters.get('instances')}, the table holds {n_objects}"
        found.add("objects", "counters.instances", text)


def _ids_of(zone: RunDir) -> frozenset[tuple[int, int]]:
    """Read (query_index, instance_id) of a zone's objects."""
    return frozenset(
        pair
        for table in row_batches(part_files(zone))
        for pair in zip(table["query_index"].to_pylist(), table["instance_id"].to_pylist(), strict=True)
    )


def _check_zone_ids(
    table: pa.Table, info: ZonedInfo, ids: Mapping[str, frozenset[tuple[int, int]]], found: Findings
) -> None:
    """Check query, run, and that every zone has the object that a row says it has."""
    queries = dict(enumerate(info.queries))
    columns = ("query_index", "query", "run_id", "zones", "zone_instance_ids")
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    for name, (index, query, run_id, zones, numbers) in zip(names_of(table), rows, strict=True):
        if queries.get(index) != query:
            found.add("objects", name, f"query {index} is {queries.get(index)!r}, not {query!r}")
        if run_id != info.run_id:
            found.add("objects", name, f"run_id {run_id} is not {info.run_id}")
        if len(zones) != len(numbers) or not zones:
            found.add("objects", name, f"{len(zones)} zones and {len(numbers)} ids in them")
        for zone, number in zip(zones, numbers, strict=False):
            if (index, number) not in ids.get(zone, frozenset()):
                found.add("objects", name, f"zone {zone} has no object {number}")
