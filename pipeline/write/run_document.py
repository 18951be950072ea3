"""run.json as the one document that is rewritten: who may publish, and which snapshot counts.

1. `begin` writes it when a driver starts. It names the driver (`at_work`), and keeps what was published: a
   reader sees the earlier result until the new one is whole. Of an update it says what the run becomes.
2. `conclude` writes it when a snapshot is whole, over the version that names this driver. A driver that slept
   while another one took over finds another name there, and is refused. So the pointer moves at once, and
   never back.
3. `show_results` lets the links of a local folder follow. They serve people and programs that know plain
   paths; run.json is what counts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import IncompleteRunError, InputError
from pipeline.files.fail_point import reach
from pipeline.files.store.local_store import LocalStore
from pipeline.files.store.store_path import Place, StorePath
from pipeline.write.run_dir import CURRENT, RESULT_NAMES, RunDir
from pipeline.write.run_json import RunInfo, run_json_bytes
from pipeline.write.run_lock import require_not_lost, this_driver
from pipeline.write.zoned.zoned_json import ZonedInfo, any_run_of, read_any_run, zoned_json_bytes

KEPT_NAMES = 20
"""Earlier snapshots that run.json names."""


def finished_run(place: Place) -> RunDir:
    """The run directory at a place, with the results that count. Raises InputError for a damaged run.json,
    and for a place that cannot be looked at.

    Where there is no run, or nothing was published yet, results have no snapshot.
    """
    run_dir = RunDir(place)
    if not run_dir.has_run():
        return run_dir
    return run_dir.in_snapshot(read_any_run(run_dir.run_json).snapshot)


def existing_run(place: Place, *, what: str) -> RunDir:
    """The same of a place that must hold a run. `what` needs it, in the error: "an export"."""
    run_dir = finished_run(place)
    if not run_dir.run_json.is_file():
        raise InputError(
            f"{what} needs the directory of a run",
            came=f"{run_dir.path} without a run.json",
            remedy="give the --out directory of a run of segment_region.py",
        )
    return run_dir


def chosen_queries(asked: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Positions of the wanted queries of a run, ascending; all when none is named. Raises InputError."""
    unknown = [query for query in wanted if query not in asked]
    if unknown:
        raise InputError(
            "--query must be a query of the run, word for word",
            came=repr(unknown[0]),
            remedy=f"choose from {', '.join(map(repr, asked))}",
        )
    return tuple(index for index, query in enumerate(asked) if not wanted or query in wanted)


def begin[Info: (RunInfo, ZonedInfo)](
    run_dir: RunDir,
    info: Info,
    *,
    new_run: bool = False,
    update: bool = False,
    aim: Mapping[str, Any] | None = None,
) -> Info:
    """Write run.json for a driver that starts; the caller holds the lock. Returns `info` as it counts: it has
    the start of the first start of this run.

    Where the same run has published, run.json keeps saying what it published; `new_run`: not any more.
    `update`: the run that is there is the same one, with another area or other scenes. Until it is concluded,
    run.json names `aim`, which says what its block records are to be of; so it does where a start goes back
    on an update that was interrupted. Raises IncompleteRunError when another driver has taken over.
    """
    token = this_driver().token
    reach("before_run_json_begin")
    while True:
        try:
            stored = run_dir.run_json.read_stored()
        except FileNotFoundError:
            info = replace(info, at_work=token)
            require_not_lost(run_dir.path)
            if run_dir.run_json.create(_bytes(info)) is not None:
                break
            continue
        before: RunInfo | ZonedInfo = any_run_of(stored.data, run_dir.run_json)
        written: RunInfo | ZonedInfo = info
        if (before.fingerprint == info.fingerprint or update) and not new_run:
            info = replace(
                info,
                started=before.started or info.started,
                snapshot=before.snapshot,
                earlier=before.earlier,
            )
            if before.snapshot:
                under_way = (aim or {}) if update or before.update else {}
                written = replace(_with_pins(before, info), update=under_way)
            else:
                written = info
        info = replace(info, at_work=token)
        require_not_lost(run_dir.path)  # after the look at run.json: whoever takes over now writes it, too
        if run_dir.run_json.swap(_bytes(replace(written, at_work=token)), stored.version) is not None:
            break
    reach("after_run_json_begin")
    return info


def _with_pins(published: RunInfo | ZonedInfo, started: RunInfo | ZonedInfo) -> RunInfo | ZonedInfo:
    """What was published, and what this start has learnt of scenes: it binds the starts after it."""
    if isinstance(published, RunInfo) and isinstance(started, RunInfo):
        return replace(published, pins=started.pins, unread=started.unread)
    return published


def conclude[Info: (RunInfo, ZonedInfo)](run_dir: RunDir, info: Info) -> Info:
    """Write the closing run.json, which makes the snapshot of `run_dir.results` count; returns it.

    Raises IncompleteRunError when another driver has taken over: its result counts.
    """
    try:
        stored = run_dir.run_json.read_stored()
    except FileNotFoundError as error:
        raise _taken_over(run_dir) from error
    published: RunInfo | ZonedInfo = any_run_of(stored.data, run_dir.run_json)
    snapshot = run_dir.snapshot
    names = [name for name in (published.snapshot, *published.earlier) if name and name != snapshot]
    info = replace(info, at_work="", update={}, snapshot=snapshot, earlier=tuple(names[:KEPT_NAMES]))
    reach("before_run_json_swap")
    if (
        published.at_work != this_driver().token
        or run_dir.run_json.swap(_bytes(info), stored.version) is None
    ):
        raise _taken_over(run_dir)
    reach("after_run_json_swap")
    show_results(run_dir)
    return info


def amend[Info: (RunInfo, ZonedInfo)](run_dir: RunDir, info: Info) -> Info:
    """Write run.json again after `conclude`, with further notes; returns it. Another driver's stays as it
    is.
    """
    stored = run_dir.run_json.read_stored()
    now = any_run_of(stored.data, run_dir.run_json)
    if (now.snapshot, now.at_work, now.ended) == (info.snapshot, "", info.ended):
        run_dir.run_json.swap(_bytes(info), stored.version)
    return info


def bar_sleepers(run_dir: RunDir) -> None:
    """Let no driver publish any more that began before now; the caller holds the lock. What such a one has
    written and not published can then be removed.
    """
    while True:
        stored = run_dir.run_json.read_stored()
        info: RunInfo | ZonedInfo = any_run_of(stored.data, run_dir.run_json)
        if not info.at_work:
            return
        require_not_lost(run_dir.path)
        if run_dir.run_json.swap(_bytes(replace(info, at_work="")), stored.version) is not None:
            return


def forget(run_dir: RunDir, names: Collection[str]) -> None:
    """Let run.json no longer name earlier snapshots that were removed."""
    stored = run_dir.run_json.read_stored()
    info: RunInfo | ZonedInfo = any_run_of(stored.data, run_dir.run_json)
    left = tuple(name for name in info.earlier if name not in names)
    if left != info.earlier:
        run_dir.run_json.swap(_bytes(replace(info, earlier=left)), stored.version)


def seen_version(path: StorePath) -> str:
    """The version of an object, for `write_unless_newer`. Empty: there is none."""
    entry = path.head()
    return "" if entry is None else entry.version


def write_unless_newer(path: StorePath, data: bytes, seen: str) -> StorePath:
    """Write a document that follows run.json, unless another driver has written it since its version was
    `seen`.
    """
    if seen:
        path.swap(data, seen)
    else:
        path.create(data)
    return path


def show_results(run_dir: RunDir) -> None:
    """Let the links of a local folder lead to the snapshot that run.json names. Nothing happens in a bucket.

    A file system without links raises OSError.
    """
    store = run_dir.path.store
    if not isinstance(store, LocalStore):
        return
    root = run_dir.path.local()
    with store.swapping():  # two drivers would let it follow each other's reading
        snapshot = any_run_of(run_dir.run_json.read_bytes(), run_dir.run_json).snapshot
        if not snapshot:
            return
        reach("before_links")
        _link(root / CURRENT, f"{run_dir.snapshots.name}/{snapshot}")
        reach("between_links")
        for name in RESULT_NAMES:
            if (root / CURRENT / name).exists():
                _link(root / name, f"{CURRENT}/{name}")
            elif (root / name).is_symlink():
                (root / name).unlink()
    reach("after_links")


def _link(path: Path, target: str) -> None:
    """Make a link, or let one lead elsewhere, at once."""
    if path.is_symlink() and os.readlink(path) == target:
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)  # of a version that knew no snapshots, or of a copy that followed the links
    temporary = path.with_name(f".{path.name}.link.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)


def _bytes(info: RunInfo | ZonedInfo) -> bytes:
    return zoned_json_bytes(info) if isinstance(info, ZonedInfo) else run_json_bytes(info)


def _taken_over(run_dir: RunDir) -> IncompleteRunError:
    return IncompleteRunError(
        f"another driver has taken over {run_dir.path} while this process was silent; its result counts, and "
        "what this one committed is kept"
    )
