"""A shortage of disk or memory is found in what libraries raise, and told with what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
import torch

from pipeline.errors import DiskFullError, InputError, MemoryShortError
from pipeline.run.shortage import full_disk, short_memory, shortage, stage_of


def no_space(*, code: int = errno.ENOSPC, place: str | None = None) -> OSError:
    return OSError(code, os.strerror(code), place)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_its_file_or_the_place(code: int) -> None:
    told = shortage(no_space(code=code, place="/data/run/item.json"), place="/data/run")
    assert isinstance(told, DiskFullError)
    assert str(told).startswith("No space left on device for /data/run/item.json. To fix: make room there")
    assert "for /data/run. To fix" in str(shortage(no_space(code=code), place="/data/run"))


def test_a_full_disk_is_found_behind_other_errors() -> None:
    """As Ray hands over what a worker raised, and as our own code wraps what it catches."""
    wrapped = InputError("--out must be writable")
    wrapped.__cause__ = no_space(place="/data/run")
    on_ray = RuntimeError("task failed")
    on_ray.cause = wrapped  # type: ignore[attr-defined]
    assert full_disk(on_ray) is wrapped.__cause__


def test_an_error_beside_a_full_disk_is_not_taken_for_one() -> None:
    beside = ValueError("another matter")
    beside.__context__ = no_space()
    assert full_disk(beside) is None
    assert full_disk(PermissionError(errno.EACCES, "no")) is None
    assert full_disk(InputError("--query is 'No space left on device'")) is None
    assert shortage(beside, place="here") is None


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("library", ["python", "arrow", "torch"])
def test_what_libraries_say_of_a_full_disk_is_understood(library: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each has an exception of its own
        {
            "python": lambda: FULL.write_text("x"),
            "arrow": lambda: pa.OSFile(str(FULL), "w").write(b"x" * 100_000),
            "torch": lambda: torch.save(torch.zeros(100_000), FULL),
        }[library]()
    assert full_disk(caught.value) is not None, repr(caught.value)


def test_words_alone_are_understood_too() -> None:
    """A database that may not grow, and the words of a Rust library."""
    base = sqlite3.connect(":memory:")
    base.execute("pragma max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as caught:
        base.executescript("create table t (a); insert into t values (zeroblob(100000))")
    assert full_disk(caught.value) is not None
    assert full_disk(RuntimeError("while serializing: No space left on device (os error 28)")) is not None


def test_what_libraries_say_of_memory_is_understood() -> None:
    for ask in (
        lambda: np.zeros(2**62, dtype=np.uint8),
        lambda: pa.allocate_buffer(2**62),
        lambda: torch.zeros(2**55),
        lambda: bytearray(2**62),
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            ask()
        assert short_memory(caught.value) is not None, repr(caught.value)
    assert short_memory(torch.OutOfMemoryError("CUDA out of memory.")) is not None
    assert short_memory(ray.exceptions.OutOfMemoryError("killed")) is not None
    assert short_memory(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))) is not None
    assert short_memory(RuntimeError("shapes differ")) is None


def raised_in(file: str) -> MemoryError:
    """An error of a function that stands in this file."""
    known: dict[str, object] = {}
    code = "def ask():\n    raise MemoryError('Unable to allocate 9 GiB')\n"
    exec(compile(code, file, "exec"), known)
    with pytest.raises(MemoryError) as caught:
        known["ask"]()  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize(
    ("file", "doing"),
    [
        ("/x/pipeline/grid/tiles.py", "planning"),
        ("/x/pipeline/load/reader.py", "reading imagery"),
        ("/x/pipeline/prompt/vllm_prompter.py", "asking the prompter"),
        ("/x/pipeline/segment/sam2_segmenter.py", "segmenting"),
        ("/x/pipeline/run/merge/paint_tasks.py", "merging"),
        ("/x/pipeline/stitch/join.py", "merging"),
        ("/x/pipeline/write/instances.py", "merging"),
        ("/x/pipeline/run/zones/zone_match.py", "merging"),
        ("/x/pipeline/run/verify/raster_checks.py", "checking the run"),
        ("/x/pipeline/evaluate/figures/metrics.py", "evaluating"),
        ("/x/pipeline/finetune/grpo/sft.py", "training"),
        ("/x/pipeline/run/flow.py", "working"),
    ],
)
def test_the_stage_is_where_the_traceback_ends(file: str, doing: str) -> None:
    told = shortage(raised_in(file), place="/data/run")
    assert isinstance(told, MemoryShortError)
    assert str(told).startswith(f"Out of memory while {doing} (Unable to allocate 9 GiB). To fix: ")


def test_the_stage_of_a_worker_is_in_the_text_that_ray_keeps() -> None:
    on_ray = RuntimeError("task failed")
    on_ray.cause = MemoryError("Unable to allocate 9 GiB")  # type: ignore[attr-defined]
    on_ray.traceback_str = 'File "/x/pipeline/run/merge/a.py", line 3\nFile "/x/pipeline/load/a.py"'  # type: ignore[attr-defined]
    assert stage_of(on_ray)[0] == "reading imagery"
