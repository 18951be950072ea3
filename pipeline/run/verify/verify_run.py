"""Check a finished run from end to end, and say what is wrong.

1. run.json must be of an ended run, and everything that it names be there (`file_checks`).
2. The plan must be that of its lattice. Every planned block has one whole record of this run
   (`record_checks`), told by the hash in it.
3. The ledger follows from plan and records, and is compared with a fresh one: planned = found + empty +
   failed.
4. Rows of instances are sound in themselves (`object_checks`), and the rasters show them and nothing else
   (`raster_checks`).
5. The snapshot has the files that its manifest names, with their hashes, and the catalogue item pins the
   same.
6. While an update is under way, all this is asked of the result before it (`update_checks`).
7. A run of several zones is checked zone by zone, then what lies above them (`zoned_checks`).

What cannot be checked because something before it is broken is said too. Nothing is written but to a folder
of temporary files, and memory does not grow with the run but by a few numbers per object.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.run.verify.file_checks import check_item, check_manifest, check_plan, check_run_json
from pipeline.run.verify.findings import Finding, Findings
from pipeline.run.verify.object_checks import check_objects
from pipeline.run.verify.raster_checks import RasterChecker, all_blocks
from pipeline.run.verify.record_checks import Records, check_ledger, check_records, records_of
from pipeline.run.verify.update_checks import (
    Inside,
    OpenUpdate,
    check_open_update,
    plan_that_counts,
    scenes_of_both,
    update_text,
    zoned_update_text,
)
from pipeline.run.verify.zoned_checks import (
    check_zoned_objects,
    check_zoned_tables,
    read_zones,
    zones_of_result,
)
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import finished_run
from pipeline.write.run_json import RunInfo
from pipeline.write.zoned.zoned_json import ZonedInfo, read_any_run

CHECKS = {
    "run.json": "ended, its fingerprint, all outputs are there",
    "plan": "one row per tile of the lattice",
    "records": "one whole record of this run per planned block",
    "ledger": "coverage.parquet follows from the records; planned = found + empty + failed",
    "objects": "ids, parts, polygons, areas, tiles of instances/",
    "rasters": "masks.zarr shows the objects and what was looked at",
    "manifest": "every file of the snapshot has its size and hash, and there is no other",
    "item": "sizes and hashes in item.json",
}
"""Check -> what it means, in the order in which they are made."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came out of it."""

    info: RunInfo | ZonedInfo
    findings: tuple[Finding, ...]
    counts: dict[str, int]
    """Findings per check that was made; some may not be listed."""
    not_made: dict[str, str]
    """Check -> why it could not be made."""
    update: str = ""
    """How far an update is that has not ended. Empty: there is none."""

    @property
    def intact(self) -> bool:
        """Whether everything was checked and nothing is wrong with the result that counts."""
        return not self.not_made and not any(self.counts.values())

    @property
    def sound(self) -> bool:
        """Whether the run is intact, and no update of it has begun and not ended."""
        return self.intact and not self.update


def verify(path: str | Path, *, progress: Callable[[str, float], None] | None = None) -> Verdict:
    """Check a run directory.

    `progress` is told the name of a check and the share of it that is done. Raises InputError for what is no
    run directory.
    """
    run_dir = finished_run(path)
    if not run_dir.run_json.is_file():
        raise InputError(
            "A run directory must hold run.json",
            came=str(run_dir.path),
            remedy="give the --out directory of a run",
        )
    info = read_any_run(run_dir.run_json)
    found = Findings()
    told = progress or (lambda _name, _share: None)
    update = ""
    if isinstance(info, ZonedInfo):
        not_made, opened = _check_zoned(run_dir, info, found, told)
        if info.update:
            update = zoned_update_text(run_dir, info, opened)
    else:
        checks = _Checks(run_dir, info, found, told)
        not_made = checks.make()
        if info.update:
            update = _how_far(checks.update)
    counts = {name: found.count(name) for name in CHECKS if name not in not_made}
    return Verdict(info=info, findings=found.kept, counts=counts, not_made=not_made, update=update)


def _how_far(update: OpenUpdate | None) -> str:
    if update is None:
        return update_text(0, 0, ["how far it is cannot be told"])
    return update_text(update.n_older, update.n_new)


def _check_zoned(
    run_dir: RunDir, info: ZonedInfo, found: Findings, progress: Callable[[str, float], None]
) -> tuple[dict[str, str], dict[str, OpenUpdate]]:
    """Check all zones, and what lies above them. Returns check -> why it was not made, and the zones whose
    update has not ended.
    """
    not_made: dict[str, str] = {}
    opened: dict[str, OpenUpdate] = {}
    check_run_json(run_dir, info, found)
    zones = read_zones(run_dir, info, found)
    for name, (zone_dir, zone) in zones.items():
        of_zone = Findings()
        checks = _Checks(zone_dir, zone, of_zone, progress)
        for check, why in checks.make().items():
            not_made.setdefault(check, f"zone {name}: {why}")
        if checks.update is not None:
            opened[name] = checks.update
        found.absorb(of_zone, name)
    if info.status == "running" or len(zones) < len(info.zones):
        for check in ("ledger", "objects"):
            not_made.setdefault(check, "the run has not ended, or a zone is missing")
        return not_made, opened
    if info.update:
        zones = zones_of_result(info, zones)
    progress("ledger", 0.0)
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        check_zoned_tables(run_dir, info, zones, Path(folder), found)
    progress("objects", 0.0)
    check_zoned_objects(run_dir, info, zones, found)
    progress("manifest", 1.0)
    check_manifest(run_dir, info, found)
    progress("item", 1.0)
    check_item(run_dir, info, found)
    return not_made, opened


class _Checks:
    def __init__(
        self, run_dir: RunDir, info: RunInfo, found: Findings, progress: Callable[[str, float], None]
    ) -> None:
        self._run_dir = run_dir
        self._info = info
        self._found = found
        self._progress = progress
        self._not_made: dict[str, str] = {}
        self.update: OpenUpdate | None = None
        """How far an update is. None: there is none, or it cannot be told."""

    def make(self) -> dict[str, str]:
        """Make all checks that can be made. Returns check -> why it was not made, for the others."""
        info = self._info
        check_run_json(self._run_dir, info, self._found)
        with tempfile.TemporaryDirectory(prefix="verify-") as folder:
            scratch = Path(folder)
            self._progress("plan", 0.0)
            records = None
            plan = check_plan(self._run_dir, info, scratch, self._found, scene_ids=scenes_of_both(info))
            inside = plan_that_counts(self._run_dir, info, self._found) if info.update else plan
            if inside is None:
                self._skip("the plan cannot be read", "records", "ledger", "rasters")
            else:
                records = records_of(self._run_dir, info, inside, self._found)
                records = self._check_ledger(records, inside, plan, scratch)
            self._check_results(records)
        if info.status != "running":
            self._progress("manifest", 0.0)
            check_manifest(self._run_dir, info, self._found)
        self._progress("item", 0.0)
        check_item(self._run_dir, info, self._found)
        return self._not_made

    def _check_ledger(
        self, records: Records | None, inside: Inside, plan: Inside | None, scratch: Path
    ) -> Records | None:
        """Check records and ledger; returns the records as the rasters can be checked with. `inside`: the
        plan of the result that counts; `plan`: what plan.parquet says.
        """
        if records is None:
            self._skip("run.json does not say of what its records are", "records", "ledger", "rasters")
            return None
        self._progress("records", 0.0)
        n_left = 0
        if self._info.update:
            update = check_open_update(records, self._info, inside, plan, self._found)
            self.update = update
            records = update.records
            complete = update.whole
        else:
            n_left = check_records(records, self._info, inside, self._found)
            complete = not n_left
        if self._info.status == "running":
            why = f"the run has not ended, and {n_left} of its blocks are not done yet"
            self._skip(why, "ledger", "objects", "rasters")
        elif complete:
            self._progress("ledger", 0.0)
            check_ledger(records, self._info, inside, scratch, self._found)
        else:
            self._skip("block records are missing or damaged", "ledger", "rasters")
        return records

    def _check_results(self, records: Records | None) -> None:
        if self._info.status == "running":
            return
        self._progress("objects", 0.0)
        objects = check_objects(self._run_dir, self._info, self._found)
        if objects is None:
            self._skip("the rows of instances cannot be read", "rasters")
        if objects is None or records is None or "rasters" in self._not_made:
            return
        try:
            checker = RasterChecker(records, self._info, objects, self._found)
        except (OSError, KeyError, ValueError) as error:
            self._found.add("rasters", self._run_dir.masks.name, f"it cannot be read: {error}")
            return
        blocks = all_blocks(self._info)
        for number, block in enumerate(blocks):
            self._progress("rasters", number / len(blocks))
            checker.check_block(block)
        checker.check_counts()
        self._progress("rasters", 1.0)

    def _skip(self, why: str, *checks: str) -> None:
        for name in checks:
            self._not_made.setdefault(name, why)
