"""The run directory: every path in it, and the check that it belongs to this run.

    out/run.json  plan.parquet  scenes.parquet  blocks/*.parquet  masks.zarr/  instances/*.parquet
    coverage.parquet  item.json  report.html

A run of several zones has a run directory for each in zones/, and no blocks/ and masks.zarr/ of its own.
A directory may be new or empty, hold a plan only (a dry run), or hold the same run, which is then resumed.
Anything else is refused before a byte is written.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import InputError, RunMismatchError
from pipeline.files.atomic_file import remove_leftovers
from pipeline.files.fingerprint import describe_difference, diff_parameters, fingerprint
from pipeline.files.output_folder import require_folder, writing_to
from pipeline.write.run_lock import LOCK_NAME, take
from pipeline.write.zoned.zoned_json import read_any_run

Claim = Literal["new", "resume"]

_PLAN_NAMES = ("plan.parquet", "scenes.parquet")
"""What a dry run leaves."""
_ZONES_NAME = "zones"


@dataclass(frozen=True, init=False)
class RunDir:
    """Paths of one run's outputs. Constructing it touches nothing; `claim` creates and checks."""

    path: Path
    records: Path | None
    """Folder of the block records of a region merged again. None: the directory's own."""

    def __init__(self, path: str | Path, *, records: str | Path | None = None) -> None:
        object.__setattr__(self, "path", Path(path))
        object.__setattr__(self, "records", None if records is None else Path(records))

    @property
    def run_json(self) -> Path:
        return self.path / "run.json"

    @property
    def plan(self) -> Path:
        return self.path / _PLAN_NAMES[0]

    @property
    def scenes(self) -> Path:
        return self.path / _PLAN_NAMES[1]

    @property
    def blocks(self) -> Path:
        return self.records or self.path / "blocks"

    @property
    def attempts(self) -> Path:
        """Journal of blocks in progress (pipeline.run.infer.attempts)."""
        return self.path / "attempts"

    @property
    def merge(self) -> Path:
        """Intermediate tables of one publication; removed when it ends."""
        return self.path / "merge.tmp"

    @property
    def log(self) -> Path:
        """What libraries printed while a run was at work. The file is missing when they printed nothing."""
        return self.path / "run.log"

    @property
    def masks(self) -> Path:
        return self.path / "masks.zarr"

    @property
    def instances(self) -> Path:
        return self.path / "instances"

    @property
    def coverage(self) -> Path:
        return self.path / "coverage.parquet"

    @property
    def item(self) -> Path:
        return self.path / "item.json"

    @property
    def zones(self) -> Path:
        """Run directories of the zones, where scenes have several CRSs."""
        return self.path / _ZONES_NAME

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def block(self, block_id: str) -> Path:
        """Path of one block record; the same block always has the same name."""
        return self.blocks / f"{block_id}.parquet"

    def check(self, parameters: Mapping[str, object], *, new_run: bool = False) -> Claim:
        """Say whether a run with these parameters would be new here or a resume; writes nothing.

        `new_run`: the run takes the place of any other, in any directory with a run.json.
        Raises RunMismatchError (keys and both values) for another run's directory, and InputError for a path
        that is not a directory, a directory with foreign content, or a run.json that is damaged or not one of
        ours.
        """
        require_folder(self.path)
        if not self.run_json.exists():
            self._require_vacant()
            return "new"
        before = read_any_run(self.run_json)
        if new_run:
            return "new"
        if before.fingerprint == fingerprint(parameters):
            return "resume"
        keys = diff_parameters(before.parameters, parameters)
        raise RunMismatchError(
            f"{self.path} holds a run with other parameters "
            f"({', '.join(keys) or 'written by another version'})",
            came=describe_difference(before.parameters, parameters)
            or "the same parameters with another fingerprint",
            remedy="give another --out, or set these parameters back to resume that run",
        )

    def claim(self, parameters: Mapping[str, object], *, new_run: bool = False) -> Claim:
        """Take the directory for a run: check it, create it, lock it, and remove what killed writers left.

        With `new_run` the files of an earlier run are deleted. Raises what `check` raises, and InputError
        when another driver is at work there. Whoever claims works inside `run_lock.alone_in`.
        """
        self.check(parameters, new_run=new_run)
        with writing_to(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            take(self.path)
            claim = self.check(parameters, new_run=new_run)  # a driver may have come and gone since
            if new_run:
                self._delete_outputs()
            self.blocks.mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self.blocks, self.instances):
                remove_leftovers(folder)
        return claim

    def _delete_outputs(self) -> None:
        """Everything a run writes, by name, except run.json. The old one stays until the new run's replaces
        it: it says that the directory is a run's. Files that no run writes stay."""
        blocks = self.path / "blocks"  # never those of another directory that `records` names
        for path in (
            self.report,
            self.item,
            self.coverage,
            self.instances,
            self.masks,
            self.merge,
            self.attempts,
            self.log,
            blocks,
            self.plan,
            self.scenes,
            self.zones,
        ):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _require_vacant(self) -> None:
        try:
            entries = sorted(entry.name for entry in self.path.iterdir()) if self.path.exists() else []
        except OSError as error:
            raise InputError(
                f"--out must be readable: {self.path}", came=str(error), remedy="give another --out"
            ) from error
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
        """Whether this is an empty blocks/, as a run leaves it that stopped before it wrote run.json."""
        folder = self.path / name
        return folder == self.blocks and folder.is_dir() and not any(folder.iterdir())

    def _is_planned(self, name: str) -> bool:
        """Whether this is the folder of zones as a dry run leaves it, with plans and nothing else."""
        if name != _ZONES_NAME or not self.zones.is_dir():
            return False
        files = [path.name for path in self.zones.rglob("*") if not path.is_dir()]
        return all(file in _PLAN_NAMES for file in files)
