"""The run directory: every path in it, and the check that it belongs to this run.

    out/run.json  plan.parquet  scenes.parquet  blocks/*.parquet  item.json
    out/snapshots/<id>/  masks.zarr/  instances/*.parquet  coverage.parquet  report.html  manifest.json

It lies in a local folder or in an object store. What is published lies in a *snapshot*, whose name follows
from the block records and the parameters of the merge: the same publication has the same name, and writes
the same bytes. run.json names the snapshot that counts (`run_document`), and item.json its files. In a local
folder, links lead to it: `out/masks.zarr` is `out/snapshots/<id>/masks.zarr`.

A run of several zones has a run directory for each in zones/, and no blocks/ and masks.zarr of its own. Its
snapshot holds a copy of each zone's report, `snapshots/<id>/zones/<name>/report.html`.

A directory may be new or empty, hold a plan only (a dry run), or hold the same run, which is then resumed.
Anything else is refused before a byte is written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import InputError, RunMismatchError
from pipeline.files.atomic_file import remove_leftovers
from pipeline.files.fingerprint import describe_difference, diff_parameters, few, fingerprint
from pipeline.files.output_folder import require_folder, writing_to
from pipeline.files.run_times import fixed_time
from pipeline.files.store.store_path import Place, StorePath, store_path
from pipeline.write.changing_parameters import could_update, is_addition, is_update
from pipeline.write.run_lock import LOCK_NAME, guard_of, take
from pipeline.write.zoned.zoned_json import read_any_run

Claim = Literal["new", "resume", "update"]

_PLAN_NAMES = ("plan.parquet", "scenes.parquet")
"""What a dry run leaves."""
_ZONES_NAME = "zones"

RESULT_NAMES = ("masks.zarr", "instances", "coverage.parquet", "report.html", "manifest.json")
"""What a snapshot consists of, where everything could be made."""

CURRENT = "current"
"""In a local folder: the link to the snapshot that counts."""


@dataclass(frozen=True, init=False)
class RunDir:
    """Paths of one run's outputs. Constructing it touches nothing; `claim` creates and checks."""

    path: StorePath
    records: StorePath | None
    """Folder of the block records of a region merged again. None: the directory's own."""
    results: StorePath
    """Folder of what is published: of a snapshot, or the directory itself."""

    def __init__(
        self,
        path: Place,
        *,
        records: Place | None = None,
        results: StorePath | None = None,
    ) -> None:
        object.__setattr__(self, "path", store_path(path))
        object.__setattr__(self, "records", None if records is None else store_path(records))
        object.__setattr__(self, "results", self.path if results is None else results)

    @property
    def run_json(self) -> StorePath:
        return self.path / "run.json"

    @property
    def plan(self) -> StorePath:
        return self.path / _PLAN_NAMES[0]

    @property
    def scenes(self) -> StorePath:
        return self.path / _PLAN_NAMES[1]

    @property
    def blocks(self) -> StorePath:
        return self.records or self.path / "blocks"

    @property
    def attempts(self) -> Path:
        """Journal of blocks in progress (pipeline.run.infer.attempts). Of a run in a bucket: on each
        machine.
        """
        return self._beside("attempts")

    @property
    def merge(self) -> StorePath:
        """Intermediate tables of publications; removed when they end."""
        return self.path / "merge.tmp"

    @property
    def log(self) -> Path:
        """What libraries printed while a run was at work. The file is missing when they printed nothing. Of a
        run in a bucket: on the driver's machine, until `keep_log`. Of a run whose times are fixed
        (`run_times`): in a folder for temporary files, for no two logs are the same.
        """
        return self._apart("run.log") if fixed_time() is not None else self._beside("run.log")

    @property
    def costs(self) -> StorePath:
        """What the run cost; missing where times are fixed."""
        return self.path / "cost.json"

    @property
    def examples(self) -> StorePath:
        """Folder of the classifier that a run with --examples trained, and of its marks."""
        return self.path / "examples"

    @property
    def events(self) -> StorePath:
        """Folder of the logs of all starts, one line per event (pipeline.run.events)."""
        return self.path / "logs"

    @property
    def event_logs(self) -> Path:
        """Where they lie on this machine while a start is at work; as `log`."""
        return self._apart("logs") if fixed_time() is not None else self._beside("logs")

    def keep_log(self) -> None:
        """Copy the log into the bucket, if the run lies in one, there is a log, and times are not fixed. A
        bucket that does not take it costs the copy alone."""
        if not self.path.is_local and fixed_time() is None and self.log.is_file():
            with suppress(OSError):
                (self.path / "run.log").write_bytes(self.log)

    def _beside(self, name: str) -> Path:
        """A file or folder of this machine: in the run directory, or in a folder for temporary files."""
        return self.path.local() / name if self.path.is_local else self._apart(name)

    def _apart(self, name: str) -> Path:
        """A file or folder of this machine in a folder for temporary files that belongs to this run."""
        key = hashlib.sha256(str(self.path).encode()).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"terraquery-{os.getuid()}" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    @property
    def snapshots(self) -> StorePath:
        """Folder of all snapshots."""
        return self.path / "snapshots"

    @property
    def manifest(self) -> StorePath:
        """What a snapshot consists of (`manifest`)."""
        return self.results / RESULT_NAMES[4]

    def with_records(self, records: Place) -> RunDir:
        """The same directory and results, with block records that lie elsewhere."""
        return RunDir(self.path, records=records, results=self.results)

    @property
    def snapshot(self) -> str:
        """Name of the snapshot that the results are. Empty: they are in none."""
        return self.results.name if self.results != self.path else ""

    def in_snapshot(self, snapshot: str) -> RunDir:
        """The same directory, whose results are those of one snapshot. Empty: of none, as of earlier
        versions.
        """
        results = self.snapshots / snapshot if snapshot else self.path
        return RunDir(self.path, records=self.records, results=results)

    @property
    def masks(self) -> StorePath:
        return self.results / RESULT_NAMES[0]

    @property
    def instances(self) -> StorePath:
        return self.results / RESULT_NAMES[1]

    @property
    def coverage(self) -> StorePath:
        return self.results / RESULT_NAMES[2]

    @property
    def item(self) -> StorePath:
        return self.path / "item.json"

    @property
    def zones(self) -> StorePath:
        """Run directories of the zones, where scenes have several CRSs."""
        return self.path / _ZONES_NAME

    @property
    def report(self) -> StorePath:
        return self.results / RESULT_NAMES[3]

    def zone_report(self, zone: str) -> StorePath:
        """The report of a zone as the results of the whole have it.

        In a local folder the zone's own lies at the same path below the run directory.
        """
        return self.results / _ZONES_NAME / zone / RESULT_NAMES[3]

    def block(self, block_id: str) -> StorePath:
        """Path of one block record; the same block always has the same name."""
        return self.blocks / f"{block_id}.parquet"

    def check(
        self,
        parameters: Mapping[str, object],
        *,
        new_run: bool = False,
        update: bool = False,
        adds_queries: bool = False,
    ) -> Claim:
        """Say whether a run with these parameters would be new here, a resume or an update; writes nothing.

        `new_run`: the run takes the place of any other, in any directory with a run.json. `update`: it goes
        on with a run that had another area or other scenes (`changing_parameters.is_update`).
        `adds_queries`: it goes on with a run that had fewer queries (`is_addition`).
        Raises RunMismatchError (keys and both values) for another run's directory, and InputError for a path
        that is not a directory, a directory with foreign content, or a run.json that is damaged or not one of
        ours.
        """
        require_folder(self.path)
        if not self.has_run():
            self._require_vacant()
            return "new"
        before = read_any_run(self.run_json)
        if new_run:
            return "new"
        _require_no_other_queries(self.path, before.update, parameters)
        if before.fingerprint == fingerprint(parameters):
            return "resume"
        if update and is_update(before.parameters, parameters):
            return "update"
        adds = is_addition(before.parameters, parameters)
        if adds_queries and adds:
            return "update"
        keys, more = few(diff_parameters(before.parameters, parameters))
        keys += [f"{more} more"] if more else []
        remedy = "give another --out, or set these parameters back to resume that run"
        if adds:
            remedy += ". Or give --out and the new queries alone, as --add-query: only they are asked"
        if is_addition(parameters, before.parameters):
            told = " ".join(f"--query {query!r}" for query in before.parameters["queries"])
            remedy += f". Or name all queries of that run, for some were added: {told}"
        if not update and could_update(before.parameters, parameters):
            remedy += (
                ". Or add --update: the run goes on with this area and these scenes, on the grid that it "
                "has, and does only the blocks again that they touch"
            )
        raise RunMismatchError(
            f"{self.path} holds a run with other parameters "
            f"({', '.join(keys) or 'written by another version'})",
            came=describe_difference(before.parameters, parameters)
            or "the same parameters with another fingerprint",
            remedy=remedy,
        )

    def claim(
        self,
        parameters: Mapping[str, object],
        *,
        new_run: bool = False,
        update: bool = False,
        adds_queries: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> Claim:
        """Take the directory for a run: check it, create it, lock it, and remove what killed writers left.

        With `new_run` the caller writes run.json, and then `clear`s what an earlier run left. Raises what
        `check` raises, and RunBusyError when another driver is at work there. Whoever claims works inside
        `run_lock.alone_in`. `say` tells what it waits for.
        """
        self.check(parameters, new_run=new_run, update=update, adds_queries=adds_queries)
        with writing_to(self.path):
            take(self.path, say=say)
            # a driver may have come and gone since
            claim = self.check(parameters, new_run=new_run, update=update, adds_queries=adds_queries)
            self.merge.delete_tree(guard_of(self.path))  # of a publication that was killed
            if self.path.is_local:
                for folder in (self.path, self.blocks):
                    remove_leftovers(folder.local())
                remove_leftovers(self.snapshots.local(), deep=True)
        return claim

    def clear(self) -> None:
        """Remove everything a run writes, by name, except run.json and the lock, for a new run. Its run.json
        was written before: it says that the directory is a run's, and no longer names what goes away. Files
        that no run writes stay. Raises IncompleteRunError when another driver has taken over.
        """
        blocks = self.path / "blocks"  # never those of another directory that `records` names
        links = (self.path / name for name in (CURRENT, *RESULT_NAMES))
        made = (self.snapshots, self.merge, blocks, self.events, self.examples)
        own = (*made, self.item, self.plan, self.scenes, self.costs)
        guard = guard_of(self.path)
        shutil.rmtree(self.attempts, ignore_errors=True)
        shutil.rmtree(self.event_logs, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        for path in (*links, *own, self.zones):
            path.delete_tree(guard)

    def has_run(self) -> bool:
        """Whether a run has begun here. Raises InputError for a place that cannot be looked at."""
        try:
            return self.run_json.is_file()
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _require_vacant(self) -> None:
        try:
            entries = self.path.children()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        ours = (*_PLAN_NAMES, LOCK_NAME)
        foreign = [
            name
            for name in entries
            if name not in ours
            and not name.endswith(".tmp")
            and not self._is_empty_folder(name)
            and not self._is_planned(name)
        ]
        if foreign:
            raise InputError(
                f"--out must be empty or hold a run (run.json): {self.path}",
                came=f"{len(foreign)} other entries, e.g. {', '.join(foreign[:3])}",
                remedy="give a new directory; nothing in this one was touched",
            )

    def _is_empty_folder(self, name: str) -> bool:
        """Whether this is an empty blocks/, as an earlier version left it before it wrote run.json."""
        folder = self.path / name
        return folder == self.blocks and folder.is_dir() and not folder.children()

    def _is_planned(self, name: str) -> bool:
        """Whether this is the folder of zones as a dry run leaves it, with plans and nothing else."""
        if name != _ZONES_NAME:
            return False
        return all(path.name in _PLAN_NAMES for path in self.zones.entries())


def _require_no_other_queries(
    path: StorePath, update: Mapping[str, Any], parameters: Mapping[str, object]
) -> None:
    """Refuse other parameters while queries are being added: records that have their answers would be made
    again without them. Raises RunMismatchError.
    """
    coming = update.get("queries")
    if not coming or list(coming) == list(parameters.get("queries", ())):  # type: ignore[call-overload]
        return
    named = ", ".join(repr(query) for query in coming)
    raise RunMismatchError(
        f"queries are being added to the run in {path}, and that has not ended",
        came="a start that does not ask all of them",
        remedy=f"start the command with --add-query again, so that the run has {named}; then this one",
    )


def _unreadable(path: StorePath, error: OSError) -> InputError:
    return InputError(f"--out must be readable: {path}", came=str(error), remedy="give another --out")
