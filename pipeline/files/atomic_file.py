"""Files appear whole or not at all: temporary name in the same folder, fsync, rename, fsync of the folder.

So nobody meets a half-written file under its final name, whatever was killed. An interrupted write leaves a
`.{name}.*.tmp`, which nothing reads and `remove_leftovers` deletes. A writer holds the system's lock of its
temporary file, which ends with its process: so a file of the dead is told from one of the living at once.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.files.fail_point import reach

LEFTOVER_AGE_S = 3600.0
"""Age in seconds from which a temporary file belongs to nobody, where a file system knows no locks."""


@contextmanager
def atomic_path(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the body ends without an exception, its file becomes `path`.

    The folder is created if need be. On an exception the temporary file is removed and `path` stays as it
    was. An OSError that names no file, or the temporary one, names `path`. `lasting`: sync it, so that it
    survives a power cut.
    """
    with temporary_beside(path) as temporary:
        yield temporary
        if lasting:
            settle(temporary)
        reach("before_object")
        temporary.replace(path)
        reach("after_object")
        if lasting:
            sync_folder(path.parent)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Give an empty temporary file in the folder of `path`, which is removed at the end if it is still there.

    The folder is created if need be. An OSError of the body that names no file, or the temporary one, names
    `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = _locked_temporary(path)
    try:
        yield temporary
    except OSError as error:
        if error.filename in (None, str(temporary), temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _locked_temporary(path: Path) -> tuple[int, Path]:
    """Make an empty file whose lock this process holds: (open handle, path)."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_SH)
        if os.path.exists(name):  # swept up before it was locked
            return handle, Path(name)
        os.close(handle)


def settle(temporary: Path) -> None:
    """Sync a temporary file, and give it the permissions of an ordinary one."""
    _fsync(temporary)
    temporary.chmod(0o666 & ~_umask())


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder."""
    _fsync(folder)


def write_bytes_atomic(path: Path, data: bytes) -> Path:
    """Write `data` under `path`, whole or not at all; an existing file is replaced."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return path


def remove_leftovers(folder: Path, *, deep: bool = False, older_than_s: float = LEFTOVER_AGE_S) -> int:
    """Delete temporary files of interrupted writes in `folder`; returns how many. `deep`: also in all folders
    below it.

    Those of dead writers go, and those older than `older_than_s`. A living writer keeps its young ones.
    """
    removed = 0
    for leftover in folder.glob("**/.*.tmp" if deep else ".*.tmp"):
        try:
            removed += _remove_left(leftover, older_than_s)
        except FileNotFoundError:
            continue  # another process swept it up first
    return removed


def _remove_left(leftover: Path, older_than_s: float) -> bool:
    """Remove a temporary file that nobody writes. Raises FileNotFoundError."""
    is_left = time.time() - leftover.stat().st_mtime > older_than_s
    handle = os.open(leftover, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_left = True
        except OSError:  # it has a writer, or the file system knows no locks
            pass
        if is_left:
            leftover.unlink()
    finally:
        os.close(handle)
    return is_left


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    """Read the process umask from /proc. `os.umask` reads it only by setting it, which other threads see."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o022
