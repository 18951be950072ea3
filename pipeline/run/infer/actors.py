"""The three steps of phase one as Ray's actors: tables of one row in, tables of one row out.

An actor is built with the contexts of all runs that are worked on, one for each zone of a region. The column
`RUN` of a row says to which of them it belongs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, replace

import pyarrow as pa

from pipeline.files.raster_access import PROCESS_CACHE_MB, SMALL_CACHE_MB, set_process_defaults
from pipeline.run.events.stage_times import Stopwatch
from pipeline.run.infer.block_rows import (
    bytes_to_prompts,
    image_to_table,
    prompts_to_bytes,
    row_to_block,
    table_to_image,
)
from pipeline.run.infer.deadlines import LoopThread, OverdueError, end_process_when_stuck
from pipeline.run.infer.read_step import ReadStep
from pipeline.run.infer.shared_models import SharedModels
from pipeline.run.infer.steps import PromptStep, RunContext, SegmentStep
from pipeline.run.ray_engine import dying_with_its_engine
from pipeline.run.screen import print_publicly

RUN = "run"
"""Column with the place of a row's run among the contexts."""

TIMES = "times"
"""Column with how long the steps before were at work (`stage_times`)."""


class ReadActor:
    """Turns a block into pixels. Files of one run are open at a time: rows come run by run."""

    def __init__(self, context: Sequence[RunContext]) -> None:
        _prepare(context, PROCESS_CACHE_MB)
        self._watch = Stopwatch("reader")
        self._contexts = tuple(context)
        self._run = 0
        self._step = ReadStep(self._contexts[0])

    def __call__(self, batch: pa.Table) -> pa.Table:
        (row,) = batch.to_pylist()
        run = row[RUN]
        if run != self._run:
            self._step = ReadStep(self._contexts[run])
            self._run = run
        with dying_with_its_engine(), self._watch.at("read"):
            pixels = image_to_table(self._step.read(row_to_block(row, self._contexts[run].lattice)))
        return pixels.append_column(RUN, batch[RUN]).append_column(TIMES, pa.array([self._watch.take()]))


class PromptActor:
    """Adds the answers to the pixels that they are about.

    The prompter works in a loop of its own: what holds it up does not hold up Ray's, which watches.
    """

    def __init__(self, context: Sequence[RunContext]) -> None:
        _prepare(context, SMALL_CACHE_MB)
        self._watch = Stopwatch("prompter")
        models = SharedModels()
        self._lattices = [run.lattice for run in context]
        with self._watch.at("load", "prompter"):
            self._steps = [PromptStep(run, models=models) for run in context]
        self._loop = LoopThread("prompter", context[0].config.limits.tile_s)

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        with dying_with_its_engine():
            run = batch[RUN][0].as_py()
            step = self._steps[run]
            try:
                with self._watch.at("prompt") as counts:
                    image = table_to_image(batch, self._lattices[run])
                    answers = await self._loop.awaited(step.prompt(image))
                    counts.update(step.used())
            except OverdueError as late:
                raise step.held_up(late) from late
            self._watch.loaded("prompter", step.loading())
        yield with_times(batch, self._watch).append_column(
            "answers", pa.array([prompts_to_bytes(answers)], type=pa.large_binary())
        )


class SegmentActor:
    """Turns pixels and answers into a committed block record; passes on what the driver counts."""

    def __init__(self, context: Sequence[RunContext]) -> None:
        _prepare(context, SMALL_CACHE_MB)
        self._watch = Stopwatch("segmenter")
        models = SharedModels()
        self._lattices = [run.lattice for run in context]
        with self._watch.at("load", "segmenter"):
            self._steps = [SegmentStep(run, models=models) for run in context]

    def __call__(self, batch: pa.Table) -> pa.Table:
        with dying_with_its_engine(), self._watch.at("segment") as counts:
            run = batch[RUN][0].as_py()
            image = table_to_image(batch, self._lattices[run])
            summary = self._steps[run].commit(image, bytes_to_prompts(batch["answers"][0].as_py()))
            counts.update(self._steps[run].used())
        self._watch.loaded("segmenter", self._steps[run].loading())
        times = self._watch.take(batch[TIMES][0].as_py())
        return pa.Table.from_pylist([asdict(replace(summary, times=times))])


def with_times(batch: pa.Table, watch: Stopwatch) -> pa.Table:
    """A table of one row with the readings of one more step."""
    times = pa.array([watch.take(batch[TIMES][0].as_py())])
    return batch.set_column(batch.schema.get_field_index(TIMES), TIMES, times)


def _prepare(context: Sequence[RunContext], cache_mb: int) -> None:
    """Settle what holds for an actor's whole process. What Python prints in it lands in Ray's own logs."""
    set_process_defaults(cache_mb)
    print_publicly()
    end_process_when_stuck(context[0].config.limits.block_s)
