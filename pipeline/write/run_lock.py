"""One driver at a time in a run directory: `run.lock` names who works there and shows that it lives.

1. `take` creates the object, renews its own or takes over a stale one. It refuses any other. Of two drivers
   that replace the same stale lock one wins, because a store swaps only the version that was seen.
2. `alone_in` surrounds a driver's work. It renews the object every `BEAT_S` and removes it at the end.
3. A lock of this machine is stale when its process is gone. Any other is stale when it has not been renewed
   for `STALE_S` seconds by the store's own clock. One from the future (a clock was changed) is watched for
   as long instead.
4. A driver that slept and was taken over cannot publish: run.json names the driver that may
   (`run_document`).

Locks of the operating system would not help: object stores have none.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.errors import IncompleteRunError, RunBusyError, TerraqueryError
from pipeline.files.fail_point import reach
from pipeline.files.store.store_path import Place, StorePath, store_path

_log = logging.getLogger(__name__)

LOCK_NAME = "run.lock"

BEAT_S = 20.0
"""Seconds between two signs of life."""

STALE_S = 300.0
"""Age in seconds at which a lock of an unknown process counts as left behind. It is many beats, because
network file systems show changes up to a minute late and a busy driver may not beat for a while."""

_SLACK_S = 5.0
"""Seconds by which a lock may lie in the future: clocks of a store's machines differ a little."""

_LOOK_S = 5.0
"""Seconds between two looks at a lock from the future."""


_taken: set[tuple[StorePath, str]] = set()
"""Locks that this process took and did not give back, with its token: a forked child has taken none."""


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
    token: str
    """A random text of this process, which no other driver ever has."""


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A lock as it was seen."""

    holder: Driver | None
    """None: it does not say."""
    version: str
    age_s: float
    """Seconds since it was written; negative where a clock was changed."""


def take(folder: Place, *, say: Callable[[str], None] | None = None) -> None:
    """Make this process the driver of a run directory. Raises RunBusyError when another one works there.

    `RunDir.claim` calls this before a run writes or deletes anything. `say` tells that a lock is watched.
    """
    path = store_path(folder) / LOCK_NAME
    me = this_driver()
    reach("before_lock")
    while path.create(_content(me)) is None:
        held = _look(path)
        if held is None:
            continue  # given back just now
        if held.holder != me:
            _require_stale(path, held, say)
        if path.swap(_content(me), held.version) is not None:
            break
    _taken.add((path, me.token))
    reach("after_lock")


def require_free(folder: Place, *, say: Callable[[str], None] | None = None) -> None:
    """Check that no other driver works in it; leaves nothing there. Raises RunBusyError if one does."""
    path = store_path(folder) / LOCK_NAME
    held = _look(path)
    if held is not None and held.holder != this_driver():
        _require_stale(path, held, say)


def _require_stale(path: StorePath, held: _Held, say: Callable[[str], None] | None) -> None:
    """Raise RunBusyError unless the lock counts for nothing. May watch it for some minutes."""
    me = this_driver()
    holder = held.holder
    near = holder is not None and (holder.host, holder.pid_table) == (me.host, me.pid_table)
    if holder is not None and near:
        if _is_gone(holder):
            return
    elif held.age_s > STALE_S or (held.age_s < -_SLACK_S and not _is_renewed(path, held, say)):
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
    raise RunBusyError(
        f"one driver at a time may work in {path.parent}: two would overwrite each other's results",
        came=f"{who} at work, its last sign of life {max(held.age_s, 0.0):.0f} s old",
        remedy=f"wait for it{stop}, then start again{late}",
    )


def _is_renewed(path: StorePath, held: _Held, say: Callable[[str], None] | None) -> bool:
    """Watch a lock whose time says nothing, by this process's own clock: is there a sign of life?"""
    text = (
        f"{path} lies {-held.age_s:.0f} s in the future: a clock was changed. "
        f"It is watched for {STALE_S:.0f} s; if nobody renews it, this run goes on"
    )
    (say or _log.warning)(text)
    until = time.monotonic() + STALE_S
    while time.monotonic() < until:
        time.sleep(min(_LOOK_S, max(until - time.monotonic(), 0.0)))
        seen = _look(path)
        if seen is None:
            return False
        if seen.version != held.version:
            return True
    return False


def _is_gone(holder: Driver) -> bool:
    """Whether a process of this machine's table has ended, or its pid belongs to another by now."""
    born = _born(holder.pid)
    return born is None or bool(born and holder.born and born != holder.born)


@contextmanager
def alone_in(folder: Place, *, say: Callable[[str], None] | None = None) -> Iterator[Callable[[], None]]:
    """Put this around the work of a driver: a lock taken in the body is renewed, and given back at the end.

    Yields a check that raises IncompleteRunError when another driver has taken over; so does whatever goes
    wrong in the body after that. Raises RunBusyError at once when one is at work.
    """
    place = store_path(folder)
    require_free(place, say=say)
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(place / LOCK_NAME, done), name="run.lock", daemon=True)
    beat.start()
    try:
        yield lambda: require_still_ours(place)
    except TerraqueryError:
        raise
    except Exception as error:
        with suppress(OSError):
            require_not_lost(place)  # a successor removes what its predecessor needs
        raise error
    finally:
        done.set()
        beat.join()
        give_back(place)


def require_still_ours(folder: Place) -> None:
    """Check that this process is still the driver. Raises IncompleteRunError when another one took over."""
    try:
        take(folder)
    except RunBusyError as error:
        raise _taken_over(error) from error


def require_not_lost(folder: Place) -> None:
    """Check that nobody took this process's lock, and renew nothing. Raises IncompleteRunError."""
    path = store_path(folder) / LOCK_NAME
    held = _look(path)
    me = this_driver()
    if held is not None and held.holder == me:
        return
    if held is not None or (path, me.token) in _taken:
        raise _taken_over("its lock is gone" if held is None else f"{held.holder} is at work")


def guard_of(folder: Place) -> Callable[[], None]:
    """Make a check for everything that cannot be taken back, such as each of many removals: it raises
    IncompleteRunError when another driver took over.

    It asks the store only where it has not asked for `BEAT_S`. A lock that was held then is still held now.
    """
    asked = -math.inf

    def check() -> None:
        nonlocal asked
        while time.monotonic() - asked >= BEAT_S:
            asked = time.monotonic()
            require_not_lost(folder)

    return check


def _taken_over(error: Exception | str) -> IncompleteRunError:
    return IncompleteRunError(
        f"this process was silent for more than {STALE_S:.0f} s, and its run was taken over; "
        f"what it committed is kept: {error}"
    )


def _beat(path: StorePath, done: threading.Event) -> None:
    while not done.wait(BEAT_S):
        try:
            held = _look(path)
            if held is not None and held.holder == this_driver():
                path.swap(_content(this_driver()), held.version)
        except OSError as error:
            _log.warning("%s could not be renewed: %s", path, error)


def give_back(folder: Place) -> None:
    """Remove the lock if it is this process's."""
    path = store_path(folder) / LOCK_NAME
    _taken.discard((path, this_driver().token))
    try:
        held = _look(path)
        if held is not None and held.holder == this_driver():
            reach("before_lock_release")
            path.store.discard(path.key, held.version)
            reach("after_lock_release")
    except OSError as error:
        _log.warning("%s could not be removed: %s", path, error)


def _content(driver: Driver) -> bytes:
    """The bytes of a lock. `renewed` makes every one of them another version, also where the version is a
    hash of the content.
    """
    return (json.dumps({**asdict(driver), "renewed": uuid.uuid4().hex}, indent=2) + "\n").encode()


def _look(path: StorePath) -> _Held | None:
    """Read a lock. None: there is none."""
    try:
        stored = path.read_stored()
        age_s = path.store.age_s(path.key)
    except FileNotFoundError:
        return None
    try:
        entry = json.loads(stored.data)
        holder = Driver(
            host=str(entry["host"]),
            pid=int(entry["pid"]),
            born=str(entry["born"]),
            pid_table=str(entry["pid_table"]),
            token=str(entry.get("token", "")),
        )
    except (ValueError, TypeError, KeyError):
        holder = None
    return _Held(holder=holder, version=stored.version, age_s=age_s)


def this_driver() -> Driver:
    """Describe this process as a driver."""
    pid = os.getpid()
    return Driver(
        host=socket.gethostname(), pid=pid, born=_born(pid) or "", pid_table=_pid_table(), token=_token(pid)
    )


@lru_cache(maxsize=4)
def _token(pid: int) -> str:
    """A text of one process; a forked child has another one."""
    return f"{pid}-{uuid.uuid4().hex}"


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
