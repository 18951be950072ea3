"""Files appear whole or not at all: temporary name in the same folder, fsync, rename, fsync of the folder.

So nobody meets a half-written file under its final name, whatever was killed. An interrupted write leaves a
`.{name}.*.tmp`, which nothing reads and `remove_leftovers` deletes. On an object store one PUT gives the same
promise; only these functions would change.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEFTOVER_AGE_S = 3600.0
"""Age in seconds below which a temporary file may belong to a writer that is still alive."""


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
        temporary.replace(path)
        if lasting:
            sync_folder(path.parent)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Give an empty temporary file in the folder of `path`, which is removed at the end if it is still there.

    The folder is created if need be. An OSError of the body that names no file, or the temporary one, names
    `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
    except OSError as error:
        if error.filename in (None, name, temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


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


def remove_leftovers(folder: Path, *, older_than_s: float = LEFTOVER_AGE_S) -> int:
    """Delete temporary files of interrupted writes directly in `folder`; returns how many."""
    removed = 0
    for leftover in folder.glob(".*.tmp"):
        try:
            if time.time() - leftover.stat().st_mtime > older_than_s:
                leftover.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # another process swept it up first
    return removed


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
