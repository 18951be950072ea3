"""Blocks in a child process: whatever ends it, this process lives on and starts another.

1. `run_apart` starts a child, which loads the models and sends what came of each block.
2. A child that ends before it is through is followed by another one. What killed it is found by the journal
   (`attempts`), as with Ray's actors; so the number of children is bounded.
3. A child ends with its parent.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

from pipeline.errors import ModelError, TerraqueryError, UnexpectedError
from pipeline.run.infer.deadlines import end_process_when_stuck
from pipeline.run.infer.intake import ALWAYS, Intake
from pipeline.run.infer.progress import BlockSummary
from pipeline.run.infer.steps import RunContext
from pipeline.run.shortage import shortage
from pipeline.run.stop_signals import SIGNALS, unbroken
from pipeline.schema.tiling import BlockSpec

MOST_STILLBORN = 3
"""Children in a row that may die before they begin a block: their models kill them."""

ENDING_S = 30.0
"""Seconds that a child has to end its engine, once it is through."""

type Message = BlockSummary | TerraqueryError


@dataclass(frozen=True, kw_only=True)
class Job:
    """A block to be done."""

    run: int
    """Place of its run among the contexts."""
    block: BlockSpec


class Worker(Protocol):
    """Does blocks, one at a time."""

    def do(self, job: Job) -> BlockSummary:
        """Commit a block. Raises a retryable TerraqueryError when only a fresh process can go on."""
        ...

    def close(self) -> None:
        """End what was loaded."""
        ...


type Build = Callable[[Sequence[RunContext]], Worker]


def run_apart(
    contexts: Sequence[RunContext], jobs: Sequence[Job], *, build: Build, intake: Intake = ALWAYS
) -> Iterator[BlockSummary]:
    """Do blocks in a child process; yields what came of each as it is committed.

    `build` makes the worker in the child, which imports it by its name. `intake`: once it is closed no block
    is begun. Raises what the child raised, and ModelError when children die again and again before they begin
    a block.
    """
    left = list(jobs)
    stillborn = 0
    while left and intake.is_open:
        noted = [context.journal.noted() for context in contexts]
        came = len(left)
        for message in _child(contexts, left, build, intake):
            if isinstance(message, TerraqueryError):
                raise message
            yield message
            del left[0]
        idle = len(left) == came and noted == [context.journal.noted() for context in contexts]
        stillborn = stillborn + 1 if idle else 0
        if stillborn >= MOST_STILLBORN:
            raise ModelError(
                f"the process that loads the models died {stillborn} times in a row; run.log may say why. "
                "What is committed is kept"
            )


def _child(
    contexts: Sequence[RunContext], jobs: Sequence[Job], build: Build, intake: Intake
) -> Iterator[Message]:
    """Start a child, and yield what it sends until it ends."""
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit locks of threads that it has not
    receive, send = spawn.Pipe(duplex=False)
    child = spawn.Process(
        target=_work, args=(tuple(contexts), tuple(jobs), build, intake, send), name="terraquery-apart"
    )
    child.start()
    send.close()
    loading = True
    try:
        while True:
            try:
                with nullcontext() if loading else unbroken():  # nobody should wait for models to load
                    message: Message = receive.recv()
            except (EOFError, OSError):
                child.join(ENDING_S)
                return
            loading = False
            yield message
    finally:
        receive.close()
        child.kill()
        child.join()


def _work(
    contexts: tuple[RunContext, ...], jobs: tuple[Job, ...], build: Build, intake: Intake, send: Connection
) -> None:
    """The life of a child."""
    for number in SIGNALS:  # they reach the parent too, which ends this one
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    end_process_when_stuck(contexts[0].config.limits.block_s)
    try:
        worker = build(contexts)
        for job in jobs:
            if not intake.is_open:
                break
            send.send(worker.do(job))
        worker.close()
    except TerraqueryError as error:
        if error.retryable:
            os._exit(1)
        send.send(error)
    except Exception as error:
        short = shortage(error, place=contexts[0].run_dir)
        if short is not None:
            send.send(short)
            return
        send.send(UnexpectedError(f"unexpected {type(error).__name__} in a child process: {error}"))
        raise


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
