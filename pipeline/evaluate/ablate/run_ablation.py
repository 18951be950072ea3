"""Run the variants of an axis and write one document of them.

1. `planned_variants` makes an `EvaluationRequest` of every variant and checks it; what cannot run here keeps
   its reason, and costs nothing.
2. Each variant is an evaluation in a folder of its own (`jobs/evaluate.py`), which resumes. A language
   model's answers are kept, and asked for once where only masks differ.
3. `ablation_document` puts figures, paired differences and the papers' rows together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, ModelError, RecordError, TerraqueryError, without_remedy
from pipeline.evaluate.ablate.ablation_axes import (
    ORACLE,
    AxisName,
    AxisOptions,
    ModelChoice,
    Variant,
    variants_of,
)
from pipeline.evaluate.ablate.ablation_page import ablation_page
from pipeline.evaluate.ablate.ablation_text import ablation_markdown
from pipeline.evaluate.ablate.paired_differences import differences, figures_by_line
from pipeline.evaluate.ablate.published_rows import PUBLISHED
from pipeline.evaluate.benchmark.oracle_noise import NO_NOISE, OracleNoise
from pipeline.evaluate.benchmark.prepare_benchmark import (
    EvaluationRequest,
    PlannedEvaluation,
    plan_evaluation,
)
from pipeline.evaluate.benchmark.run_benchmark import run_evaluation
from pipeline.evaluate.benchmark.sample_records import SampleRecord, read_part
from pipeline.evaluate.benchmark.truth_models import TruthOptions
from pipeline.evaluate.figures.intervals import BootstrapOptions
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.files.lasting_path import require_lasting
from pipeline.options import read_toml
from pipeline.run.config import Runner, merge_tables

DOCUMENT = "ablation.json"
DOCUMENT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class AblationRequest:
    """What the command line asks for."""

    benchmark: str
    axis: AxisName
    models: tuple[ModelChoice, ...]
    out: Path
    noise: OracleNoise = NO_NOISE
    split: str | None = None
    limit: int | None = None
    config_file: str | None = None
    """TOML file with tables of a preset, which every variant gets beneath its own."""
    options: AxisOptions = field(default_factory=AxisOptions)
    runner: Runner = "ray"


@dataclass(frozen=True, kw_only=True)
class PlannedVariant:
    """A variant, and what came of checking it."""

    choice: ModelChoice
    variant: Variant
    request: EvaluationRequest
    planned: PlannedEvaluation | None = None
    why_not: str = ""
    """Why it does not run here. Empty: it does."""


def run_ablation(request: AblationRequest, *, say: Callable[[str], None] = print) -> int:
    """Run all variants and write ablation.json, ablation.md and ablation.html.

    Returns the exit code: 0, or 3 when samples failed. Raises InputError when no variant can run.
    """
    require_lasting(str(request.out), "--out")
    planned = planned_variants(request, say=say)
    codes = [0]
    ended = []
    for number, one in enumerate(planned, start=1):
        say(f"variant {number}/{len(planned)}: {one.choice.name}: {one.variant.name}")
        if one.why_not:
            say(f"  not run: {one.why_not}")
            ended.append(one)
            continue
        try:
            codes.append(run_evaluation(one.request, say=_quietly(say)))
            ended.append(one)
        except ModelError as error:
            say(f"  not run: {error}")
            ended.append(replace(one, planned=None, why_not=without_remedy(str(error))))
            codes.append(3)
    document = ablation_document(request, ended)
    write_bytes_atomic(
        request.out / DOCUMENT,
        (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(),
    )
    text = ablation_markdown(document)
    write_bytes_atomic(request.out / "ablation.md", text.encode())
    write_bytes_atomic(request.out / "ablation.html", ablation_page(document).encode())
    say("")
    say(text)
    say(f"ablation.json, ablation.md and ablation.html are in {request.out}")
    return max(codes)


def planned_variants(request: AblationRequest, *, say: Callable[[str], None] = print) -> list[PlannedVariant]:
    """Check every variant before any of them runs. Raises InputError when none can run."""
    planned = []
    first: InputError | None = None
    for choice in request.models:
        for variant in variants_of(request.axis, choice, request.options):
            asked = evaluation_of(request, choice, variant)
            if variant.impossible:
                planned.append(
                    PlannedVariant(choice=choice, variant=variant, request=asked, why_not=variant.impossible)
                )
                continue
            try:
                checked = plan_evaluation(asked, say=lambda _: None)
            except InputError as error:
                first = first or error
                planned.append(
                    PlannedVariant(
                        choice=choice, variant=variant, request=asked, why_not=_reason(variant, error)
                    )
                )
            else:
                planned.append(PlannedVariant(choice=choice, variant=variant, request=asked, planned=checked))
    if all(one.why_not for one in planned):
        raise first or InputError(
            f"the axis {request.axis} needs models that differ in it",
            came=planned[0].why_not,
            remedy="for example --models oracle+embedded",
        )
    _require_new(request)
    say(f"{len(planned)} variants, {sum(not one.why_not for one in planned)} of them run here")
    return planned


def evaluation_of(request: AblationRequest, choice: ModelChoice, variant: Variant) -> EvaluationRequest:
    """Make the evaluation of a variant."""
    by_truth = choice.prompts == ORACLE
    base = EvaluationRequest(
        benchmark=request.benchmark,
        out=str(request.out / "variants" / choice.name / folder_name(variant.name)),
        preset=choice.preset,
        tables={**_with_config(choice.tables, request.config_file), **variant.tables},
        split=request.split,
        limit=request.limit,
        prompts_from="truth" if by_truth else "preset",
        masks_from="truth" if choice.masks == ORACLE else "preset",
        runner=request.runner,
        answers=str(request.out / "answers"),
    )
    asked = replace(base, **variant.request)
    if asked.prompts_from != "truth":
        return asked
    routes = {"routes": "both"} if asked.masks_from == "truth" else {}
    given: dict[str, Any] = {"noise": request.noise, **routes, **variant.truth}
    if given["noise"] is None:
        given["noise"] = NO_NOISE
    return replace(asked, truth=TruthOptions(**given))


def _with_config(tables: Mapping[str, Any], config: str | None) -> dict[str, Any]:
    return merge_tables(tables, read_toml(Path(config), "--config")) if config else dict(tables)


def folder_name(text: str) -> str:
    """Turn the name of a variant into that of a folder."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")


def ablation_document(request: AblationRequest, ended: Sequence[PlannedVariant]) -> dict[str, Any]:
    """Build the document of an ablation whose variants have run."""
    tables = []
    for choice in request.models:
        rows = [one for one in ended if one.choice == choice]
        reference = next((one for one in rows if not one.why_not), None)
        if reference is None:
            tables.append({"models": choice.name, "reference": None, "rows": [_not_run(one) for one in rows]})
            continue
        beside = records_of(reference)
        tables.append(
            {
                "models": choice.name,
                "reference": reference.variant.name,
                "rows": [
                    _not_run(one) if one.why_not else _row(one, beside, one is reference) for one in rows
                ],
            }
        )
    return {
        "ablation_version": DOCUMENT_VERSION,
        "axis": request.axis,
        "benchmark": request.benchmark,
        "limit": request.limit,
        "noise": request.noise.result_parameters(),
        "intervals": asdict(BootstrapOptions()),
        "tables": tables,
        "published": [asdict(row) for row in PUBLISHED[request.axis]],
    }


def records_of(one: PlannedVariant) -> list[SampleRecord]:
    """Read the records of a variant that has run. Raises RecordError."""
    if one.planned is None:
        raise RecordError(f"the variant {one.variant.name} has not run")
    context = one.planned.context
    return [
        record
        for part in range(context.n_parts)
        for record in read_part(context.part_path(part), context.fingerprint)
    ]


def _row(one: PlannedVariant, beside: Sequence[SampleRecord], is_reference: bool) -> dict[str, Any]:
    results = json.loads((Path(one.request.out) / "results.json").read_bytes())
    records = records_of(one)
    compared = {} if is_reference else differences(records, beside, BootstrapOptions())
    by_line = figures_by_line(records, None if is_reference else beside)
    return {
        "name": one.variant.name,
        "samples": results["n_samples"],
        "images": results["n_images"],
        "models": results["models"],
        "figures": {**results["figures"], **results["pixel_metrics"]},
        "differences": compared,
        **({"by_line": by_line} if by_line else {}),
        "failed": sum(count for name, count in results["outcomes"].items() if name.startswith("failed")),
    }


def _not_run(one: PlannedVariant) -> dict[str, Any]:
    return {"name": one.variant.name, "not_run": one.why_not}


def _reason(variant: Variant, error: TerraqueryError) -> str:
    """Say why a variant does not run: the checkpoints that it needs, or what was wrong."""
    if variant.needs:
        return f"needs {' and '.join(variant.needs)}"
    return without_remedy(str(error))


def _require_new(request: AblationRequest) -> None:
    """Refuse a folder that holds another ablation. Raises InputError."""
    path = request.out / DOCUMENT
    try:
        before: Mapping[str, Any] = json.loads(path.read_bytes())
    except OSError:
        return
    except ValueError as error:
        raise InputError(
            f"{path} must be the document of an ablation", came=str(error), remedy="give another --out"
        ) from error
    for name, now in (("axis", request.axis), ("benchmark", request.benchmark)):
        if before.get(name) != now:
            raise InputError(
                f"{request.out} holds another ablation",
                came=f"its {name} is {before.get(name)!r} and not {now!r}",
                remedy="give another --out",
            )


def _quietly(say: Callable[[str], None]) -> Callable[[str], None]:
    """Let through what tells how far an evaluation is."""

    def only_parts(line: str) -> None:
        if line.startswith(("part ", "resumed", "note", "attention")):
            say(f"  {line}")

    return only_parts
