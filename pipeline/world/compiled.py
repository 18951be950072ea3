"""Compile the functions of the world with numba: cached on disk, with strict floating point.

Without fastmath, sums are added in the same order in every window and on every machine. Numba compiles a
cached function again when its own file changes. It does not notice when a function in another file changes.
So before the first kernel is loaded, index files older than the newest renderer source are deleted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from numba import njit

RENDERER = (
    "classes",
    "compiled",
    "edits",
    "ground",
    "hashing",
    "layout",
    "noise",
    "paint_objects",
    "render",
    "shapes",
    "sites",
    "style",
    "town",
    "water",
)
"""Modules whose kernels or constants are compiled into kernels of other modules."""


def drop_stale_indexes(package: Path) -> int:
    """Delete numba's index files in package/__pycache__ that are older than the newest RENDERER source.

    Returns how many were deleted.
    """
    newest = max(
        (path.stat().st_mtime_ns for name in RENDERER if (path := package / f"{name}.py").exists()), default=0
    )
    dropped = 0
    for index in package.glob("__pycache__/*.nbi"):
        with contextlib.suppress(OSError):
            if index.stat().st_mtime_ns < newest:
                index.unlink()
                dropped += 1
    return dropped


drop_stale_indexes(Path(__file__).parent)


def kernel[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function when it is first called. For type checkers its signature stays the same."""
    return cast(Callable[P, R], njit(cache=True)(function))
