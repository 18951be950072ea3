"""Wire an evaluation: chosen queries -> parts -> {read -> prompt -> score} -> results.

1. `prepare_benchmark` checks everything and claims the output directory.
2. `run_parts` sends the missing parts through the three steps, on Ray or in this process.
3. `publish` makes the result files from the committed parts. It loads no model and can be repeated, also with
   another convention.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.evaluate.benchmark.prepare_benchmark import (
    EvaluationRequest,
    PlannedEvaluation,
    claim,
    missing_parts,
    model_ids,
    plan_evaluation,
)
from pipeline.evaluate.benchmark.results import Results, Subject, build_results, tolerance_text
from pipeline.evaluate.benchmark.results_page import samples_page
from pipeline.evaluate.benchmark.results_text import results_markdown, summary_text
from pipeline.evaluate.benchmark.sample_records import SampleRecord, counts_of, read_part, records_table
from pipeline.evaluate.benchmark.sample_steps import (
    EvaluationContext,
    PartSummary,
    SamplePrompter,
    SampleReader,
    SampleScorer,
    images_to_row,
    row_to_images,
)
from pipeline.evaluate.benchmark.truth_models import MODEL_ID
from pipeline.evaluate.figures.metrics import CONVENTIONS, sample_scores
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.files.raster_access import set_process_defaults
from pipeline.prompt.looks.verifier import LooksAt
from pipeline.prompt.profile import load_profile
from pipeline.run.flow import BLOCKS_IN_FLIGHT
from pipeline.run.infer.block_rows import bytes_to_prompts, prompts_to_bytes
from pipeline.run.ray_engine import ActorStage, dying_with_its_engine, run_actors
from pipeline.run.stop_signals import unbroken_each
from pipeline.run.summary import notice_box


def run_evaluation(request: EvaluationRequest, *, say: Callable[[str], None] = print) -> int:
    """Plan, run and publish. Returns the exit code: 0, or 3 when samples failed. Raises TerraqueryError."""
    set_process_defaults()
    planned = plan_evaluation(request, say=say)
    context = planned.context
    models = model_ids(planned)
    if planned.preset.notice and models["prompter"] != MODEL_ID:
        say(notice_box(planned.preset.notice))
    benchmark = planned.benchmark
    about = f"{len(context.images)} images of {benchmark.name}, {benchmark.split}"
    say(f"{planned.n_samples} queries about {about}")
    claim(planned)
    say(f"results go to {request.out}")
    left, notes = missing_parts(context, retry_failed=request.retry_failed)
    for note in notes:
        say(f"note: {note}")
    if context.n_parts > len(left):
        say(f"resumed: {context.n_parts - len(left)} of {context.n_parts} parts were committed before")
    started = time.monotonic()
    context.journal.reset()
    for done, summary in enumerate(run_parts(planned, left), start=1 + context.n_parts - len(left)):
        counted = f"found {summary.found}, empty {summary.empty}, failed {summary.failed}"
        say(f"part {done}/{context.n_parts}: {counted}  ({time.monotonic() - started:.0f} s)")
    results = publish(planned)
    say("")
    say(summary_text(results))
    again, _ = missing_parts(context, retry_failed=True)
    if again:
        what = f"{len(again)} of {context.n_parts} parts hold queries that failed for a reason that may pass"
        say(f"\nattention: {what}; the same command with --retry-failed does them again")
    say(f"\nresults.json, results.md, samples.parquet and samples.html are in {request.out}")
    return 3 if any(name.startswith("failed") for name in results["outcomes"]) else 0


def run_parts(planned: PlannedEvaluation, parts: list[int]) -> Iterator[PartSummary]:
    """Commit the listed parts and yield each when it is done.

    A verifier has its own engine on Ray; in this process it shares the prompter's. Raises ModelError when a
    model does not load or its engine dies.
    """
    if not parts:
        return
    if planned.request.runner == "local":
        yield from _run_local(planned.context, parts)
        return
    pools = planned.preset.resources
    stages = (
        ActorStage(actor=_ReadActor, role="reader"),
        ActorStage(actor=_PromptActor, role="prompter", concurrent=BLOCKS_IN_FLIGHT),
        ActorStage(actor=_ScoreActor, role="segmenter"),
    )
    for row in run_actors([{"part": part} for part in parts], stages, planned.context, pools):
        yield PartSummary(**row)


def _run_local(context: EvaluationContext, parts: list[int]) -> Iterator[PartSummary]:
    with closing(SamplePrompter(context)) as prompter:
        reader = SampleReader(context)
        with asyncio.Runner() as loop:
            verifier = prompter.verifier()
            looks = None if verifier is None else LooksAt(verifier=verifier, run=loop.run)
            with closing(SampleScorer(context, looks=looks)) as scorer:
                for part in unbroken_each(parts):
                    images = reader.read(part)
                    yield scorer.commit(images, loop.run(prompter.prompt(images)))


class _ReadActor:
    def __init__(self, context: EvaluationContext) -> None:
        self._step = SampleReader(context)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return pa.Table.from_pylist(
            [images_to_row(self._step.read(row["part"])) for row in batch.to_pylist()]
        )


class _PromptActor:
    def __init__(self, context: EvaluationContext) -> None:
        self._step = SamplePrompter(context)

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        for row in batch.to_pylist():
            with dying_with_its_engine():
                answers = await self._step.prompt(row_to_images(row))
            yield pa.Table.from_pylist([{**row, "answers": prompts_to_bytes(answers)}])


class _ScoreActor:
    def __init__(self, context: EvaluationContext) -> None:
        self._step = SampleScorer(context)

    def __call__(self, batch: pa.Table) -> pa.Table:
        with dying_with_its_engine():
            done = [
                self._step.commit(row_to_images(row), bytes_to_prompts(row["answers"]))
                for row in batch.to_pylist()
            ]
        return pa.Table.from_pylist([asdict(summary) for summary in done])


def publish(planned: PlannedEvaluation) -> Results:
    """Write the four result files from the committed parts, and return the results document.

    Raises RecordError when a part is missing or foreign.
    """
    context = planned.context
    request = planned.request
    records = [
        record
        for part in range(context.n_parts)
        for record in read_part(context.part_path(part), context.fingerprint)
    ]
    results = build_results(records, request.scoring, _subject(planned, records))
    out = Path(request.out)
    write_bytes_atomic(
        out / "results.json",
        (json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(),
    )
    write_bytes_atomic(out / "results.md", results_markdown(results).encode())
    counts = counts_of(records)
    scores = sample_scores(counts, CONVENTIONS[request.scoring.convention])
    table = records_table(records, context.fingerprint)
    table = table.append_column(
        "iou", pa.array(counts.iou, pa.float64(), mask=np.isnan(counts.iou))
    )  # null: both masks empty
    table = table.append_column("score", pa.array(scores, pa.float64()))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_bytes_atomic(out / "samples.parquet", sink.getvalue().to_pybytes())
    page = samples_page(results, records, context.images, context.side_px)
    write_bytes_atomic(out / "samples.html", page.encode("utf-8", "replace"))
    return results


def _subject(planned: PlannedEvaluation, records: Sequence[SampleRecord]) -> Subject:
    """Describe what was evaluated, for the results."""
    request = planned.request
    parameters = planned.parameters
    context = planned.context
    refused = sum(1 for image in context.images for sample in image.samples if sample.refusal)
    contradicted = sum(1 for record in records if _contradicted(record))
    notes = [
        (len(planned.squashed), "masks were of another size than their image and were stretched over it"),
        (
            refused,
            "queries may not be put to a model (too long, or with control tokens); they count as failed",
        ),
        (
            contradicted,
            "samples whose annotation and whose mask disagree about whether there is a target; "
            "the mask decides",
        ),
    ]
    side = context.side_px
    wording = (
        f"{parameters['questions']}, seed {request.seed}"
        if parameters["questions"] == "random"
        else parameters["questions"]
    )
    return Subject(
        benchmark=parameters["benchmark"],
        models=model_ids(planned),
        protocol={
            "questions": wording,
            "size": f"squashed to {side} x {side} px (image Lanczos, mask nearest)"
            if side
            else "at their own size",
            "limit": request.limit,
            "boundary_tolerance": tolerance_text(request.boundary_share),
        },
        parser=parameters.get("parser"),
        profile=load_profile(planned.preset.prompter.vllm.profile).name if "parser" in parameters else "",
        retry=planned.preset.prompter.vllm.retry,
        verifier=context.verifier if context.verifier.on else None,
        pixel_m=_scored_pixel_m(planned),
        notes=(*planned.benchmark.notes, *(f"{count} {text}" for count, text in notes if count)),
    )


def _contradicted(record: SampleRecord) -> bool:
    """Whether the annotation's answer (something, or nothing there) disagrees with the mask."""
    return record.strata.get("answer") == ("given" if record.true_px == 0 else "none")


def _scored_pixel_m(planned: PlannedEvaluation) -> float | None:
    """Ground size of a scored pixel in metres. Only worlds have one; their images are the preset's tiles."""
    pixel_m = planned.benchmark.pixel_m
    side = planned.context.side_px
    return pixel_m * planned.preset.tiles.px / side if pixel_m is not None and side else pixel_m
