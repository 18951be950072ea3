"""Remove what a run no longer needs: old snapshots and records, killed publications, unended uploads.

1. `plan_cleaning` lists the snapshots. The one that counts stays, and so do the `keep` that counted before
   it, the latest first. Any that was written, or counted, less than `min_age_s` ago stays too: somebody may
   be reading it.
2. `clean` holds the run's lock, and bars a driver that slept from publishing: no publication is at work. It
   removes a snapshot's manifest first: what is left of it then counts for nothing, whenever the cleaning is
   stopped.
3. Then block records go that neither the plan nor a snapshot that stays needs (`old_records`). All others,
   the plan and run.json are never touched: the results can always be made again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.files.atomic_file import remove_leftovers
from pipeline.files.store.s3_store import S3Store
from pipeline.files.store.store_path import StorePath
from pipeline.run.old_records import plan_records, remove_records, whole_of
from pipeline.run.sole_driver import sole_driver
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import bar_sleepers, finished_run, forget
from pipeline.write.run_lock import guard_of, take
from pipeline.write.zoned.zoned_json import ZonedInfo, read_any_run

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class OldSnapshot:
    """A snapshot that may go, or why it stays."""

    name: str
    n_files: int
    n_bytes: int
    age_s: float
    """Since it was whole, or counted at the latest; of one that never was, since something of it was
    written.
    """
    is_named: bool
    """Whether run.json names it: it counts, or did. Else nobody reads it."""
    stays: str = ""
    """Why it stays. Empty: it goes."""


def plan_cleaning(run_dir: RunDir, *, keep: int, min_age_s: float) -> list[OldSnapshot]:
    """List the snapshots of a run, and which of them go. Raises InputError for what is no run directory."""
    _require_run(run_dir)
    info = read_any_run(run_dir.run_json)
    of_all = _in_result_of_all(run_dir)
    kept = info.earlier[:keep]
    replaced_s = run_dir.run_json.store.age_s(run_dir.run_json.key)
    found = []
    for name in run_dir.snapshots.children():
        folder = run_dir.snapshots / name
        files = list(folder.store.entries(folder.key))
        age_s = _age_s(run_dir.in_snapshot(name).manifest, [file.key for file in files])
        if name in info.earlier:  # it may have counted until run.json was written
            age_s = min(age_s, replaced_s)
        stays = ""
        if name == info.snapshot:
            stays = "it counts"
        elif name == of_all:
            stays = "the result of all zones was made of it"
        elif name in kept:
            stays = f"one of the {keep} that counted before"
        elif age_s < min_age_s:
            stays = f"younger than {min_age_s / 3600:g} h: somebody may be reading it"
        found.append(
            OldSnapshot(
                name=name,
                n_files=len(files),
                n_bytes=sum(file.size for file in files),
                age_s=age_s,
                is_named=name in (info.snapshot, *info.earlier),
                stays=stays,
            )
        )
    return found


def _in_result_of_all(run_dir: RunDir) -> str:
    """Name the snapshot of a zone that the result of all zones was made of. Empty: it is no zone.

    It may not be the one that counts: an update that was interrupted has published some zones and not all.
    """
    whole = whole_of(run_dir)
    entries = () if whole is None else whole[1].zones
    return next((entry.snapshot for entry in entries if entry.name == run_dir.path.name), "")


def _require_run(run_dir: RunDir) -> None:
    if not run_dir.run_json.is_file():
        raise InputError(
            "A run directory must hold run.json",
            came=str(run_dir.path),
            remedy="give the --out directory of a run",
        )


def _age_s(manifest: StorePath, keys: list[str]) -> float:
    """Seconds since a manifest was written, or else any of the keys."""
    for key in (manifest.key, *keys[-1:]):
        with suppress(FileNotFoundError):
            return manifest.store.age_s(key)
    return math.inf


def clean(run_dir: RunDir, *, keep: int, min_age_s: float, say: Say) -> list[OldSnapshot]:
    """Remove what `plan_cleaning` lists to go; returns it. Raises RunBusyError when a driver is at work
    there.
    """
    with sole_driver(run_dir.path, say=say):
        _require_run(run_dir)
        take(run_dir.path, say=say)
        bar_sleepers(run_dir)
        guard = guard_of(run_dir.path)
        plan = plan_cleaning(run_dir, keep=keep, min_age_s=min_age_s)
        gone = [snapshot for snapshot in plan if not snapshot.stays]
        for snapshot in gone:
            folder = run_dir.in_snapshot(snapshot.name)
            folder.manifest.delete_tree(guard)
            folder.results.delete_tree(guard)
            say(f"removed snapshot {snapshot.name}: {snapshot.n_files} files, {snapshot.n_bytes:,} bytes")
        records = plan_records(run_dir, kept=names_of_kept(plan), min_age_s=min_age_s)
        if records.names and not records.stays:
            remove_records(run_dir, records, guard)
            say(f"removed {records.text()}")
        forget(run_dir, {snapshot.name for snapshot in gone})
        run_dir.merge.delete_tree(guard)
        store = run_dir.path.store
        if isinstance(store, S3Store):
            for key in store.abort_uploads(older_than_s=min_age_s):
                say(f"ended an upload that never ended: {key}")
        elif run_dir.path.is_local:
            for place in (run_dir.path, run_dir.blocks):
                remove_leftovers(place.local(), older_than_s=min_age_s)
    return gone


def names_of_kept(plan: Sequence[OldSnapshot]) -> list[str]:
    """The whole snapshots that stay: those that run.json names. What was killed needs no records."""
    return [snapshot.name for snapshot in plan if snapshot.stays and snapshot.is_named]


def run_dirs(place: str) -> list[RunDir]:
    """The run directory, and those of its zones, also of those that it has no more."""
    root = finished_run(place)
    info = read_any_run(root.run_json) if root.run_json.is_file() else None
    zones = (*info.zones, *info.left_zones) if isinstance(info, ZonedInfo) else ()
    return [root, *(finished_run(root.path / zone.path) for zone in zones)]
