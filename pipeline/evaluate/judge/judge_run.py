"""Have the answers of a finished evaluation judged, part by part, and write what came of it.

1. `judge_evaluation` names a folder judges/MODEL-HASH in the evaluation; the hash is of evaluation, judge and
   text, so that two judges stand side by side and the same one resumes.
2. `judge_part` shows every answer of a part: image, true and predicted mask in one picture, and the query.
   The judge never hears of IoU. Where nothing is there and nothing was marked, no judge is asked. An answer
   that marks nothing of a target that is there is judged like any other.
3. judge.json, judge.md and judged.parquet come from all parts (`judge_page`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.evaluate.benchmark.benchmark import SampleImage, read_image, read_mask
from pipeline.evaluate.benchmark.prepare_benchmark import PlannedEvaluation
from pipeline.evaluate.benchmark.sample_records import SampleRecord, read_part, unpack_mask
from pipeline.evaluate.benchmark.sample_steps import EvaluationContext, part_name
from pipeline.evaluate.judge.judge_page import JudgedSample, Judgement, judge_document, judge_markdown
from pipeline.evaluate.judge.judge_picture import judge_picture
from pipeline.evaluate.judge.verdict import CRITERIA, read_verdict
from pipeline.evaluate.judge.vllm_judge import Judge, JudgeOptions, VllmJudge
from pipeline.files.atomic_file import atomic_path, write_bytes_atomic
from pipeline.files.fingerprint import fingerprint
from pipeline.files.output_folder import writing_to
from pipeline.files.provenance import path_identity
from pipeline.prompt.prompter_checkpoint import resolve_model

SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("sample_id", "image_id", "query")),
        pa.field("strata", pa.string(), nullable=False),  # JSON object
        pa.field("judgement", pa.string(), nullable=False),
        *(pa.field(name, pa.int64()) for name in CRITERIA),  # null: missing
        pa.field("reply", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
    ]
)
"""Columns of judged.parquet and of the parts."""


@dataclass(frozen=True, kw_only=True)
class JudgeFolder:
    """Where one judge's verdicts about one evaluation lie."""

    path: Path
    mark: str
    """Fingerprint of evaluation, judge and text; a part with another one is judged again."""

    def part(self, number: int) -> Path:
        return self.path / "parts" / f"{part_name(number)}.parquet"


def judge_folder(planned: PlannedEvaluation, options: JudgeOptions) -> JudgeFolder:
    """Name the folder of this judge in an evaluation."""
    model = resolve_model(options.model)
    mark = fingerprint(
        {
            "evaluation": planned.context.fingerprint,
            "model": path_identity(model),
            **options.result_parameters(),
        }
    )
    name = f"{Path(model).name}-{mark[:8]}"
    return JudgeFolder(path=Path(planned.context.out_dir) / "judges" / name, mark=mark)


def judge_evaluation(
    planned: PlannedEvaluation, options: JudgeOptions, *, say: Callable[[str], None] = print
) -> Path:
    """Judge what is not judged yet, write the three files, and return their folder.

    Raises ModelError when the engine does not start or dies, RecordError for a damaged part.
    """
    folder = judge_folder(planned, options)
    context = planned.context
    left = [number for number in range(context.n_parts) if _known_part(folder, number) is None]
    with writing_to(folder.path):
        (folder.path / "parts").mkdir(parents=True, exist_ok=True)
    if left:
        say(f"judging with {options.model}: {len(left)} of {context.n_parts} parts")
        with closing(VllmJudge(options)) as judge, asyncio.Runner() as loop:
            for number in left:
                _write_part(folder, number, loop.run(judge_part(context, number, judge)))
    samples = [sample for number in range(context.n_parts) for sample in _known_part(folder, number) or ()]
    document = judge_document(samples, judge=folder.path.name)
    write_bytes_atomic(
        folder.path / "judge.json", (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    )
    page = judge_markdown(document)
    write_bytes_atomic(folder.path / "judge.md", page.encode())
    with atomic_path(folder.path / "judged.parquet") as temporary:
        pq.write_table(_table(samples, folder.mark), temporary, compression="zstd")
    say(page)
    say(f"judge.json, judge.md and judged.parquet are in {folder.path}")
    return folder.path


async def judge_part(context: EvaluationContext, number: int, judge: Judge) -> list[JudgedSample]:
    """Judge the answers of one part, in its order. Raises ModelError, RecordError."""
    records = iter(read_part(context.part_path(number), context.fingerprint))
    jobs = []
    for place in context.numbers_of(number):
        image = context.images[place]
        rgb: NDArray[np.uint8] | None = None
        for sample in image.samples:
            record = next(records)
            true = read_mask(sample.mask, (record.height, record.width))
            predicted = unpack_mask(record.mask_png, (record.height, record.width))
            if not true.any() and not predicted.any():
                jobs.append(_unasked(record, Judgement.NOTHING_TO_SHOW))
                continue
            try:
                rgb = read_image(image.pixels, context.side_px) if rgb is None else rgb
            except SourceError as error:
                jobs.append(_unasked(record, Judgement.NO_REPLY, str(error)))
                continue
            jobs.append(_judged(image, record, judge_picture(rgb, true, predicted), judge))
    return list(await asyncio.gather(*jobs))


async def _unasked(record: SampleRecord, judgement: Judgement, error: str = "") -> JudgedSample:
    return _sample(record, judgement, error=error)


async def _judged(
    image: SampleImage, record: SampleRecord, picture: NDArray[np.uint8], judge: Judge
) -> JudgedSample:
    said = await judge.rate(f"{image.image_id}-{record.sample_id}", picture, record.query)
    if said.error:
        return _sample(record, Judgement.NO_REPLY, error=said.error)
    verdict = read_verdict(said.reply)
    if verdict is None:
        return _sample(record, Judgement.UNREADABLE, reply=said.reply)
    marks = {name: getattr(verdict, name) for name in CRITERIA}
    return _sample(record, Judgement.RATED, reply=said.reply, **marks)


def _sample(record: SampleRecord, judgement: Judgement, **more: Any) -> JudgedSample:
    return JudgedSample(
        sample_id=record.sample_id,
        image_id=record.image_id,
        query=record.query,
        strata=dict(record.strata),
        judgement=judgement,
        **more,
    )


def _write_part(folder: JudgeFolder, number: int, samples: Sequence[JudgedSample]) -> None:
    with atomic_path(folder.part(number)) as temporary:
        pq.write_table(_table(samples, folder.mark), temporary, compression="zstd")


def _table(samples: Sequence[JudgedSample], mark: str) -> pa.Table:
    rows = [
        {
            **{item.name: getattr(sample, item.name) for item in fields(JudgedSample)},
            "strata": json.dumps(dict(sample.strata), ensure_ascii=False, sort_keys=True),
            "judgement": str(sample.judgement),
        }
        for sample in samples
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({"fingerprint": mark}))


def _known_part(folder: JudgeFolder, number: int) -> list[JudgedSample] | None:
    """Read a part that is judged. None: it is not there, is damaged, or is of another judge or text."""
    try:
        table = pq.read_table(folder.part(number))
    except (OSError, pa.ArrowException):
        return None
    if (table.schema.metadata or {}).get(b"fingerprint", b"").decode() != folder.mark:
        return None
    return [
        JudgedSample(
            **{
                **row,
                "strata": json.loads(row["strata"]),
                "judgement": Judgement(row["judgement"]),
            }
        )
        for row in table.to_pylist()
    ]
