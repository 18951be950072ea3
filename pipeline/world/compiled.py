"""The one way a world function is compiled: numba, cached on disk, strict floating point.

Strict (no fastmath): the same additions in the same order in every window and on every machine. Numba refreshes a
cached function when its own file changes, but not when a function that it calls, in another file, changes; so index
files older than the newest source of this package are dropped before the first kernel is loaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from numba import njit


def drop_stale_indexes(package: Path) -> int:
    """Delete numba index files in package/__pycache__ older than the newest .py of the package; returns how many."""
    newest = max((source.stat().st_mtime_ns for source in package.glob("*.py")), default=0)
    dropped = 0
    for index in package.glob("__pycache__/*.nbi"):
        with contextlib.suppress(OSError):
            if index.stat().st_mtime_ns < newest:
                index.unlink()
                dropped += 1
    return dropped


drop_stale_indexes(Path(__file__).parent)


def kernel[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function at its first call; its Python type is unchanged."""
    return cast(Callable[P, R], njit(cache=True)(function))
