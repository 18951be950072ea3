"""Blocks in child processes: what kills a child is set aside, and what only looks like it is not."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from bad_tiles import BadSteps, BadTiles
from run.infer.oracle_context import oracle_context

from pipeline.errors import DiskFullError, InputError, ModelError
from pipeline.run.infer.apart import MOST_STILLBORN, Job, run_apart
from pipeline.run.infer.intake import Intake
from pipeline.run.infer.progress import BlockSummary
from pipeline.run.infer.steps import RunContext
from pipeline.schema.tile_answers import Reason
from pipeline.write.records.block_records import read_block_record
from pipeline.write.records.record_keys import key_of
from pipeline.write.run_dir import RunDir


def jobs(context: RunContext) -> list[Job]:
    return [Job(run=0, block=block) for block in context.plan.blocks()]


def failed(context: RunContext) -> dict[str, Reason]:
    """tile_id -> reason, of all committed blocks."""
    told = {}
    for block in context.plan.blocks():
        record = read_block_record(
            RunDir(context.run_dir).block(block.block_id), key_of(context.keys, block.block_id).fingerprint
        )
        told |= {row.tile.tile_id: row.reason for row in record.tiles if row.status == "failed"}
    return told


@pytest.mark.long  # every child imports everything again
@pytest.mark.timeout(600)
def test_a_tile_that_kills_the_process_is_set_aside_and_all_else_is_done(tmp_path: Path) -> None:
    context = oracle_context(tmp_path)
    bad = BadTiles(tiles={("prompt", "kills"): "r00001c00001"})
    summaries = list(run_apart([context], jobs(context), build=partial(BadSteps, bad=bad)))
    assert [summary.block_id for summary in summaries] == [job.block.block_id for job in jobs(context)]
    assert failed(context) == {"r00001c00001": Reason.CRASHED}


class Stillborn:
    """Dies before it begins a block."""

    def __init__(self, contexts: Sequence[RunContext]) -> None:
        with (Path(contexts[0].run_dir) / "born.txt").open("a") as file:
            file.write("x")
        os._exit(9)


class Refusing:
    """A model that does not load."""

    def __init__(self, contexts: Sequence[RunContext]) -> None:
        raise InputError("the checkpoint is missing")

    def do(self, job: Job) -> BlockSummary:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


class FullDisk(Refusing):
    """Finds no room for its files."""

    def __init__(self, contexts: Sequence[RunContext]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "labels.parquet")


@pytest.mark.long  # every child imports everything again
@pytest.mark.timeout(600)
def test_models_that_kill_their_process_end_the_run_after_few_children(tmp_path: Path) -> None:
    context = oracle_context(tmp_path)
    with pytest.raises(ModelError, match=f"died {MOST_STILLBORN} times in a row"):
        list(run_apart([context], jobs(context), build=Stillborn))  # type: ignore[arg-type]
    assert (Path(context.run_dir) / "born.txt").read_text() == "x" * MOST_STILLBORN


def test_what_a_child_raises_is_raised_here(tmp_path: Path) -> None:
    context = oracle_context(tmp_path)
    with pytest.raises(InputError, match="the checkpoint is missing"):
        list(run_apart([context], jobs(context), build=Refusing))


def test_a_full_disk_is_told_as_one_also_from_a_child(tmp_path: Path) -> None:
    context = oracle_context(tmp_path)
    with pytest.raises(DiskFullError, match=r"No space left on device for labels\.parquet\. To fix:"):
        list(run_apart([context], jobs(context), build=FullDisk))


class OneBlock:
    """Commits nothing, and is at its first block until the intake closes."""

    def __init__(self, contexts: Sequence[RunContext], *, intake: Intake) -> None:
        self.intake = intake

    def do(self, job: Job) -> BlockSummary:
        time.sleep(max(self.intake.until - time.monotonic(), 0.0))
        counts = {"found": 1, "empty": 0, "nodata": 0, "failed": 0, "n_embeddings": 0, "n_calls": 0}
        return BlockSummary(block_id=job.block.block_id, elapsed_s=0.0, **counts)

    def close(self) -> None:
        """Nothing was loaded."""


@pytest.mark.long  # a child imports everything again
@pytest.mark.timeout(600)
def test_a_child_begins_no_block_once_the_intake_is_closed(tmp_path: Path) -> None:
    context = oracle_context(tmp_path, px=80)
    intake = Intake(until=time.monotonic() + 60.0)
    first, *_ = [job.block.block_id for job in jobs(context)]
    work = run_apart([context], jobs(context), build=partial(OneBlock, intake=intake), intake=intake)
    assert [summary.block_id for summary in work] == [first]
    assert list(run_apart([context], jobs(context), build=Refusing, intake=intake)) == []
