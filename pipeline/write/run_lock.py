"""One driver at a time in a run directory: `run.lock` names who works there and shows that it lives.

1. `take` creates the file, renews its own or takes over a stale one. It refuses any other.
2. `alone_in` surrounds a driver's work. It rewrites the file every `BEAT_S` and removes it at the end.
3. A lock of this machine is stale when its process is gone. Any other is stale when it has not been renewed
   for `STALE_S` seconds.
4. Two drivers may replace the same stale lock. After `SETTLE_S` the one that is not named gives way.

Locks of the operating system would not help: mounted object stores have none.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import IncompleteRunError, InputError
from pipeline.files.atomic_file import write_bytes_atomic

_log = logging.getLogger(__name__)

LOCK_NAME = "run.lock"

BEAT_S = 20.0
"""Seconds between two signs of life."""

STALE_S = 300.0
"""Age in seconds at which a lock of an unknown process counts as left behind. It is many beats, because
network file systems show changes up to a minute late and a busy driver may not beat for a while."""

SETTLE_S = 1.0
"""Seconds to wait after taking over a stale lock; by then every rival has written it too."""


@dataclass(frozen=True, kw_only=True)
class Driver:
    """The process that holds a lock."""

    host: str
    pid: int
    born: str
    """Its start in ticks of the machine's clock, which tells it from a later process with that pid. Empty:
    the system does not say."""
    pid_table: str
    """Name of the table that `pid` counts in: one boot of one machine, and one container in it. Empty: the
    system does not say."""


def take(folder: Path) -> None:
    """Make this process the driver of an existing run directory. Raises InputError when another one works
    there.

    `RunDir.claim` calls this before a run writes or deletes anything.
    """
    path = folder / LOCK_NAME
    me = _this_process()
    if _create(path, me):
        return
    require_free(folder)
    ours = _read(path) == me
    write_bytes_atomic(path, _content(me))
    if not ours:
        time.sleep(SETTLE_S)
        if _read(path) != me:
            take(folder)


def require_free(folder: Path) -> None:
    """Check that no other driver works in the folder; leaves nothing there. Raises InputError if one does."""
    path = folder / LOCK_NAME
    me = _this_process()
    holder = _read(path)
    age_s = _age_s(path)
    if age_s is None or holder == me:
        return
    near = holder is not None and (holder.host, holder.pid_table) == (me.host, me.pid_table)
    if _is_gone(holder) if holder is not None and near else age_s > STALE_S:
        return
    who = "a process that has not said its name"
    stop = ""
    if holder is not None:
        who = f"process {holder.pid} on {holder.host}"
        stop = f" or stop it (`kill {holder.pid}` on {holder.host}; a submitted job: `ray job stop`)"
    late = (
        ""
        if near
        else f". If it is dead, its lock counts for nothing once it is {STALE_S:.0f} s old; "
        f"to go on at once delete {path}"
    )
    raise InputError(
        f"one driver at a time may work in {folder}: two would overwrite each other's results",
        came=f"{who} at work, its last sign of life {max(age_s, 0.0):.0f} s old",
        remedy=f"wait for it{stop}, then start again{late}",
    )


def _is_gone(holder: Driver) -> bool:
    """Whether a process of this machine's table has ended, or its pid belongs to another by now."""
    born = _born(holder.pid)
    return born is None or bool(born and holder.born and born != holder.born)


@contextmanager
def alone_in(folder: Path) -> Iterator[Callable[[], None]]:
    """Put this around the work of a driver: a lock taken in the body is renewed, and given back at the end.

    Yields a check that raises IncompleteRunError when another driver has taken over. Raises InputError at
    once when one is at work.
    """
    require_free(folder)
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(folder / LOCK_NAME, done), name="run.lock", daemon=True)
    beat.start()
    try:
        yield lambda: _require_still_ours(folder)
    finally:
        done.set()
        beat.join()
        _release(folder / LOCK_NAME)


def _require_still_ours(folder: Path) -> None:
    try:
        take(folder)
    except InputError as error:
        raise IncompleteRunError(
            f"this process was silent for more than {STALE_S:.0f} s, and its run was taken over; "
            f"what it committed is kept: {error}"
        ) from error


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(BEAT_S):
        try:
            if _read(path) == _this_process():
                write_bytes_atomic(path, _content(_this_process()))
        except OSError as error:
            _log.warning("%s could not be renewed: %s", path, error)


def _release(path: Path) -> None:
    try:
        if _read(path) == _this_process():
            path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s could not be removed: %s", path, error)


def _create(path: Path, driver: Driver) -> bool:
    """Write a new lock. False: there is one already. On a full disk nothing is left behind: a lock without a
    name would keep the next driver out.
    """
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_content(driver))
    except OSError as error:
        path.unlink(missing_ok=True)
        error.filename = str(path)
        raise
    return True


def _content(driver: Driver) -> bytes:
    return (json.dumps(asdict(driver), indent=2) + "\n").encode()


def _read(path: Path) -> Driver | None:
    """Read who holds a lock. None: there is no lock, or its file does not say."""
    try:
        entry = json.loads(path.read_bytes())
        return Driver(
            host=str(entry["host"]),
            pid=int(entry["pid"]),
            born=str(entry["born"]),
            pid_table=str(entry["pid_table"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _age_s(path: Path) -> float | None:
    """Seconds since the last sign of life, by the clock of the file system. None: there is no lock.

    The clocks of machines differ, so both times are the file system's own.
    """
    try:
        beaten = path.stat().st_mtime
    except OSError:
        return None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{LOCK_NAME}.", suffix=".tmp") as probe:
            return os.stat(probe.name).st_mtime - beaten
    except OSError:
        return time.time() - beaten


def _this_process() -> Driver:
    return Driver(
        host=socket.gethostname(), pid=os.getpid(), born=_born(os.getpid()) or "", pid_table=_pid_table()
    )


def _pid_table() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> str | None:
    """Read when a process of this table started. Empty: the system does not say. None: there is no such
    process, or only its exit status is left."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # it is somebody else's
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] in "ZX" else fields[19]
