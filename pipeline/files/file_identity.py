"""What pins the content of a file, so that another content under its name is noticed.

1. `local_identity` reads a local file's size and times, and hashes its content, whole or in samples.
2. `require_same` compares a file with the identity that it had when the run was planned. Where size and times
   are equal, so is the content. Where a time differs, the content is hashed again: a file that was touched,
   or fetched again, is the same file.
3. `pins` chooses what enters a run's fingerprint.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from pipeline.errors import SourceError

WHOLE_FILE_BYTES = 256 * 1024 * 1024
"""Bytes up to which a file is hashed whole, which takes half a second. Of a larger one only samples are, so
its modification time pins it too."""

SAMPLES = 256
"""Samples of a larger file, evenly spread from its first byte to its last."""

SAMPLE_BYTES = 64 * 1024

_TIMES = ("mtime_ns", "ctime_ns")


def local_identity(path: str) -> dict[str, str]:
    """Read `size_bytes`, `mtime_ns`, `ctime_ns` and `sha256` of a file, `sample_sha256` of a large one.

    Raises SourceError for a file that is being written, and OSError.
    """
    before = _status(path)
    content = _content(path, *before)
    if _status(path) != before:
        raise SourceError(f"{path} is being written. To fix: wait until it is complete", retryable=True)
    size, mtime_ns, ctime_ns = before
    return {"size_bytes": str(size), "mtime_ns": str(mtime_ns), "ctime_ns": str(ctime_ns), **dict(content)}


def require_same(path: str, planned: Mapping[str, str]) -> None:
    """Refuse a file whose content is not the planned one. Raises SourceError."""
    try:
        size, mtime_ns, ctime_ns = _status(path)
        times = {"mtime_ns": str(mtime_ns), "ctime_ns": str(ctime_ns)}
        if str(size) == planned["size_bytes"] and all(times[key] == planned.get(key) for key in _TIMES):
            return
        found = pins(local_identity(path))
    except OSError as error:
        raise SourceError(f"{path} cannot be read any more: {error.strerror}") from error
    wanted = pins(planned)
    differing = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    if differing:
        raise SourceError(
            f"{path} is not the file that the run was planned with ({', '.join(differing)} differ). "
            "To fix: put the earlier file back, or start a new run"
        )


def pins(identity: Mapping[str, str]) -> dict[str, str]:
    """Choose what tells one content from another; the times of a file whose whole content is known do not.

    An ETag stands for the content as well, so that an object uploaded again is the same one.
    """
    known = {"sha256", "etag"} & identity.keys()
    idle = {"ctime_ns", *(("mtime_ns", "last_modified") if known else ())}
    return {key: value for key, value in identity.items() if key not in idle}


def _status(path: str) -> tuple[int, int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=4096)
def _content(path: str, size: int, mtime_ns: int, ctime_ns: int) -> tuple[tuple[str, str], ...]:  # noqa: ARG001
    """Hash a file; the times are there so that a file is hashed again after it changed."""
    with Path(path).open("rb") as file:
        if size <= WHOLE_FILE_BYTES:
            return (("sha256", hashlib.file_digest(file, "sha256").hexdigest()),)
        digest = hashlib.sha256()
        for index in range(SAMPLES):
            file.seek((size - SAMPLE_BYTES) * index // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return (("sample_sha256", digest.hexdigest()),)
