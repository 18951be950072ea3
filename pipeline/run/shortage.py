"""What ran out, disk or memory, where, and what to do about it.

1. `full_disk` and `short_memory` find the shortage behind an error. Libraries say it in many ways: with an
   errno, an exception of their own or in words alone.
2. `shortage` tells it. Which stage ran out of memory is read from the traceback, also from that of a worker.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Iterator

from pipeline.errors import DiskFullError, MemoryShortError, TerraqueryError

_FULL = (errno.ENOSPC, errno.EDQUOT)
"""A full disk, and a user's full share of one."""

_FULL_WORDS = (
    *(os.strerror(code) for code in _FULL),
    "database or disk is full",
    "PytorchStreamWriter failed writing",
    "] . unexpected pos ",
)
"""How errors without errno say it: those of Rust and GDAL, of SQLite, and of torch."""

_MEMORY_NAMES = ("OutOfMemoryError", "CPLE_OutOfMemoryError")
"""Errors of Ray and torch, and of GDAL."""

_MEMORY_WORDS = ("can't allocate memory", "can't start new thread", "CUDA out of memory")

_STAGES = {
    "grid": ("planning", "ask for a smaller area or fewer scenes"),
    "load": ("reading imagery", "lower --block, so that less is read at once, or resources.reader.actors"),
    "prompt": (
        "asking the prompter",
        "lower --block, prompter.vllm.max_num_seqs or resources.prompter.actors",
    ),
    "segment": ("segmenting", "lower segmenter.prompt_batch, --block or resources.segmenter.actors"),
    "merge": ("merging", "lower --super-tile of jobs/restitch_region.py, which merges the records again"),
    "verify": ("checking the run", "close other programs"),
    "evaluate": ("evaluating", "lower --limit or use a smaller --size"),
    "finetune": ("training", "lower the batch or the size of the model in the preset"),
}
"""Folder of `pipeline` -> what was being done there, and what makes it smaller."""

_WHERE = re.compile(
    r"pipeline/(?:run/)?(grid|load|prompt|segment|stitch|write|merge|zones|verify|evaluate|finetune)/"
)
"""Folders in the lines of a traceback."""

_PART = {"stitch": "merge", "write": "merge", "zones": "merge"}
"""Folders that share the words of another."""

_MOST_CHARS = 200
"""Longest text of a library that is repeated."""


def shortage(error: BaseException, *, place: str) -> TerraqueryError | None:
    """The shortage that an error comes from, in words. None: it comes from something else.

    `place` is named when the error does not name a file.
    """
    full = full_disk(error)
    if full is not None:
        return DiskFullError(
            f"No space left on device for {full.filename or place}. To fix: make room there, then start the "
            "same command again; what is finished is not done again."
        )
    short = short_memory(error)
    if short is None:
        return None
    doing, remedy = stage_of(error)
    said = " ".join(str(short).split())[:_MOST_CHARS]
    return MemoryShortError(
        f"Out of memory while {doing} ({said or type(short).__name__}). To fix: {remedy}, or take a machine "
        "with more memory, then start the same command again; what is finished is not done again."
    )


def full_disk(error: BaseException) -> OSError | None:
    """The full disk that an error comes from. None: it comes from something else."""
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return cause
        if isinstance(cause, TerraqueryError):
            continue  # it says more than that, or has the full disk behind it
        if any(words in str(cause) for words in _FULL_WORDS):
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return None


def short_memory(error: BaseException) -> BaseException | None:
    """The lack of memory that an error comes from. None: it comes from something else."""
    for cause in causes(error):
        if isinstance(cause, MemoryError) or type(cause).__name__ in _MEMORY_NAMES:
            return cause
        if isinstance(cause, OSError) and cause.errno == errno.ENOMEM:
            return cause
        if isinstance(cause, RuntimeError) and any(words in str(cause) for words in _MEMORY_WORDS):
            return cause
    return None


def stage_of(error: BaseException) -> tuple[str, str]:
    """What was being done when an error was raised, and what makes it smaller."""
    folders = [name for cause in causes(error) for name in _WHERE.findall(_trace(cause))]
    if not folders:
        return "working", "lower --block or the actors under [resources]"
    return _STAGES[_PART.get(folders[-1], folders[-1])]


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised from. Ray keeps what a worker raised in `cause`."""
    seen = set[int]()
    waiting: list[object] = [error]
    while waiting:
        found = waiting.pop()
        if isinstance(found, BaseException) and id(found) not in seen:
            seen.add(id(found))
            yield found
            waiting += [found.__cause__, getattr(found, "cause", None)]


def _trace(error: BaseException) -> str:
    """Where an error comes from: the traceback of this process, and that of a worker, which Ray keeps as
    text."""
    return "".join(traceback.format_tb(error.__traceback__)) + str(getattr(error, "traceback_str", ""))
