"""The three steps of phase one as Ray's actors: tables of one row in, tables of one row out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict

import pyarrow as pa

from pipeline.files.raster_access import PROCESS_CACHE_MB, SMALL_CACHE_MB, set_process_defaults
from pipeline.run.infer.block_rows import (
    bytes_to_prompts,
    image_to_table,
    prompts_to_bytes,
    row_to_block,
    table_to_image,
)
from pipeline.run.infer.steps import PromptStep, ReadStep, RunContext, SegmentStep
from pipeline.run.ray_engine import dying_with_its_engine


class ReadActor:
    """Turns a block into pixels."""

    def __init__(self, context: RunContext) -> None:
        set_process_defaults(PROCESS_CACHE_MB)
        self._context = context
        self._step = ReadStep(context)

    def __call__(self, batch: pa.Table) -> pa.Table:
        (row,) = batch.to_pylist()
        return image_to_table(self._step.read(row_to_block(row, self._context.lattice)))


class PromptActor:
    """Adds the answers to the pixels that they are about."""

    def __init__(self, context: RunContext) -> None:
        set_process_defaults(SMALL_CACHE_MB)
        self._context = context
        self._step = PromptStep(context)

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        with dying_with_its_engine():
            answers = await self._step.prompt(table_to_image(batch, self._context.lattice))
        yield batch.append_column("answers", pa.array([prompts_to_bytes(answers)], type=pa.large_binary()))


class SegmentActor:
    """Turns pixels and answers into a committed block record; passes on what the driver counts."""

    def __init__(self, context: RunContext) -> None:
        set_process_defaults(SMALL_CACHE_MB)
        self._context = context
        self._step = SegmentStep(context)

    def __call__(self, batch: pa.Table) -> pa.Table:
        with dying_with_its_engine():
            image = table_to_image(batch, self._context.lattice)
            summary = self._step.commit(image, bytes_to_prompts(batch["answers"][0].as_py()))
        return pa.Table.from_pylist([asdict(summary)])
