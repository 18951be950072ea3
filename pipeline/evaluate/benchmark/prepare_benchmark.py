"""Check an evaluation, as far as this is possible before a model is loaded.

1. `plan_evaluation` opens the benchmark, chooses the queries, and checks masks and models.
2. `claim` takes the output directory: a new one, or one of the same evaluation, which is then resumed.
3. `missing_parts` lists what is left to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import InputError, RecordError, RunMismatchError
from pipeline.evaluate.benchmark.benchmark import (
    Benchmark,
    QueryPolicy,
    SizePolicy,
    check_sizes,
    choose_samples,
)
from pipeline.evaluate.benchmark.benchmark_content import masks_hash, queries_hash
from pipeline.evaluate.benchmark.evaluation_models import pin_evaluation
from pipeline.evaluate.benchmark.kept_answers import PromptParts
from pipeline.evaluate.benchmark.open_benchmark import ReadOptions, open_benchmark
from pipeline.evaluate.benchmark.readers.rrsisd import Sentence
from pipeline.evaluate.benchmark.results import Scoring
from pipeline.evaluate.benchmark.sample_records import SampleRecord, read_part
from pipeline.evaluate.benchmark.sample_steps import IMAGES_PER_PART, NO_GRID, EvaluationContext, ModelSource
from pipeline.evaluate.benchmark.truth_models import MODEL_ID, TruthOptions
from pipeline.evaluate.figures.boundary import DIAGONAL_SHARE
from pipeline.files.atomic_file import remove_leftovers, write_bytes_atomic
from pipeline.files.fingerprint import canonical, describe_difference, fingerprint
from pipeline.files.lasting_path import require_lasting
from pipeline.files.output_folder import require_folder, writing_to
from pipeline.files.provenance import path_identity
from pipeline.prompt.box_margins import BoxMargins
from pipeline.prompt.build_prompter import check_prompter, check_second_looks, look_decision
from pipeline.prompt.prompter_checkpoint import resolve_model
from pipeline.prompt.reply.released_parser import ParserName
from pipeline.run.config import Preset, Runner, build_preset, preset_tables
from pipeline.run.models.hub_pins import PinnedModel, asked_revisions
from pipeline.run.prepare import check_engines, profile_parameters, short_identity
from pipeline.schema.tile_answers import Reason
from pipeline.segment.build_segmenter import check_segmenter, pinned_parameters
from pipeline.write.run_json import collect_versions

EVALUATION_JSON = "evaluation.json"
"""File with identity and settings of the evaluation."""

ScoredSize = int | Literal["native", "preset"]


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What the command line asks for."""

    benchmark: str
    out: str
    preset: str = "embedded"
    config_file: str | None = None
    """TOML file with tables of a preset, which override it."""
    split: str | None = None
    queries: QueryPolicy | None = None
    """Query policy. None: that of the benchmark's papers."""
    seed: int = 0
    """Seed of the draw under the policy `random`."""
    limit: int | None = None
    size: ScoredSize = "preset"
    """Side in pixels to which images and masks are squashed. `preset`: the preset's tile side (840 for
    Think2Seg-RS). `native`: their own size.
    """
    size_mismatch: SizePolicy = "refuse"
    sentence: Sentence = "sent"
    prompts_from: ModelSource = "preset"
    masks_from: ModelSource = "preset"
    parser: ParserName = "robust"
    """How replies are read. With `think2seg`, a query with a malformed reply is never asked again."""
    truth: TruthOptions = field(default_factory=TruthOptions)
    """How prompts and masks from the truth are made."""
    prompt_parts: PromptParts = "all"
    """What of each prompt reaches the segmenter."""
    tables: Mapping[str, Any] | None = None
    """Tables in place of those of preset and config file; `preset` is then only a name."""
    answers: str | None = None
    """Folder for answers of language models, which evaluations that ask the same share. None: none is."""
    margins: BoxMargins | None = None
    """How the sides of boxes are moved. None: as the preset says."""
    boundary_share: float = DIAGONAL_SHARE
    scoring: Scoring = field(default_factory=Scoring)
    runner: Runner = "ray"
    retry_failed: bool = False
    """Repeat parts with failed queries (`missing_parts`)."""


@dataclass(frozen=True, kw_only=True)
class PlannedEvaluation:
    """A checked request, before anything is written."""

    request: EvaluationRequest
    preset: Preset
    benchmark: Benchmark
    context: EvaluationContext
    parameters: dict[str, Any]
    """Everything that can change a record."""
    models: tuple[PinnedModel, ...] = ()
    """Those that come from the hub."""
    squashed: tuple[str, ...]
    """Ids of samples whose mask differed in size from the image."""

    @property
    def n_samples(self) -> int:
        return sum(len(image.samples) for image in self.context.images)


def plan_evaluation(request: EvaluationRequest, *, say: Callable[[str], None]) -> PlannedEvaluation:
    """Check everything and choose the queries. Writes nothing and loads no model. Raises InputError.

    The fingerprint covers queries, masks and the files that the preset names. So a resumed evaluation never
    mixes two truths, models or prompts. `say` gets lines of progress.
    """
    require_lasting(request.out, "--out")
    preset = build_preset(request.tables or preset_tables(request.preset, request.config_file))
    _check_second_looks(request, preset)
    if request.parser == "think2seg":
        preset = _without_retry(preset)
    if request.margins is not None and request.prompts_from == "preset":
        preset = replace(preset, prompter=replace(preset.prompter, refine_boxes=request.margins))
    preset, models = pin_evaluation(
        preset,
        Path(request.out) / EVALUATION_JSON,
        (request.prompts_from, request.masks_from),
        request.runner,
    )
    _check_models(request, preset)
    options = ReadOptions(split=request.split, tile_px=preset.tiles.px, sentence=request.sentence)
    benchmark = open_benchmark(request.benchmark, options)
    policy = request.queries or benchmark.queries
    images = choose_samples(benchmark, policy, seed=request.seed, limit=request.limit)
    squashed = check_sizes(images, request.size_mismatch)
    side_px = (
        {"native": None, "preset": preset.tiles.px}[request.size]
        if isinstance(request.size, str)
        else request.size
    )
    truth = request.truth if request.margins is None else replace(request.truth, margins=request.margins)
    parameters = {
        "benchmark": {"name": benchmark.name, "split": benchmark.split, **benchmark.identity},
        "questions": policy,
        "seed": request.seed if policy == "random" else None,
        "limit": request.limit,
        "content": {
            "questions": queries_hash(images),
            "masks": masks_hash(images, benchmark.name, say=say),
        },
        "side_px": side_px,
        "prompts_from": request.prompts_from,
        "masks_from": request.masks_from,
        **(truth.result_parameters() if request.prompts_from == "truth" else {}),
        **({"prompt_parts": request.prompt_parts} if request.prompt_parts != "all" else {}),
        "boundary_share": request.boundary_share,
        "images_per_part": IMAGES_PER_PART,
        **_prompter_parameters(request, preset),
        **_segmenter_parameters(request, preset),
        **_verifier_parameters(preset),
    }
    context = EvaluationContext(
        images=images,
        prompter=preset.prompter,
        segmenter=preset.segmenter,
        prompts_from=request.prompts_from,
        masks_from=request.masks_from,
        side_px=side_px,
        boundary_share=request.boundary_share,
        parser=request.parser,
        truth=truth,
        prompt_parts=request.prompt_parts,
        answers_dir=_answers_dir(request, parameters),
        verifier=preset.verifier,
        out_dir=str(Path(request.out).absolute()),
        fingerprint=fingerprint(parameters),
    )
    return PlannedEvaluation(
        request=request,
        preset=preset,
        benchmark=benchmark,
        context=context,
        parameters=parameters,
        models=models,
        squashed=tuple(squashed),
    )


def _answers_dir(request: EvaluationRequest, parameters: Mapping[str, Any]) -> str | None:
    """Name the folder of all answers that are determined as these are. None: answers are not kept."""
    if request.answers is None or request.prompts_from == "truth" or "prompter" not in parameters:
        return None
    asked = ("benchmark", "questions", "seed", "limit", "content", "side_px", "images_per_part")
    determined = {name: parameters[name] for name in (*asked, "parser", "prompter")}
    return str((Path(request.answers) / fingerprint(determined)[:16]).absolute())


def _without_retry(preset: Preset) -> Preset:
    """Change the preset to ask every query once, as the released code does."""
    return replace(preset, prompter=replace(preset.prompter, vllm=replace(preset.prompter.vllm, retry=0)))


def _prompter_parameters(request: EvaluationRequest, preset: Preset) -> dict[str, object]:
    """List what determines the answers, as in a run, and how replies are read. Empty when the truth answers.

    Raises InputError.
    """
    if request.prompts_from == "truth" or preset.prompter.kind == "whole":
        return {}
    prompter = preset.prompter
    model = path_identity(resolve_model(prompter.model))
    return {
        "parser": request.parser,
        "prompter": {**prompter.result_parameters(), "model": model, **profile_parameters(prompter)},
    }


def _segmenter_parameters(request: EvaluationRequest, preset: Preset) -> dict[str, object]:
    """List what determines the masks, as in a run. Empty when the truth gives them."""
    if request.masks_from == "truth":
        return {}
    return {"segmenter": pinned_parameters(preset.segmenter)}


def _verifier_parameters(preset: Preset) -> dict[str, object]:
    """List what determines the verifier's decisions, as in a run. Empty when it is off."""
    if not preset.verifier.on:
        return {}
    decision = look_decision(preset.prompter, "verifier")
    return {
        "verifier": preset.verifier.result_parameters()
        | ({} if decision is None else {"decision": asdict(decision)})
    }


def _check_second_looks(request: EvaluationRequest, preset: Preset) -> None:
    """Refuse a gate, and a verifier that would only look at the truth. Raises InputError."""
    if preset.gate.on:
        what = "a benchmark is asked without a gate, which decides about the tiles of a raster"
        remedy = 'set mode = "off" under [gate] in --config; jobs/calibrate_gate.py measures a gate'
        raise InputError(what, came=f"mode {preset.gate.mode!r}", remedy=remedy)
    if preset.verifier.on and "truth" in (request.prompts_from, request.masks_from):
        true = "masks" if request.masks_from == "truth" else "prompts"
        raise InputError(
            "a verifier looks at masks of a preset's own answers; with those of the truth there is nothing "
            "to verify",
            came=f"mode {preset.verifier.mode!r} and {true} from the truth",
            remedy='set mode = "off" under [verifier] in --config, or drop --prompts and --models',
        )


def _check_models(request: EvaluationRequest, preset: Preset) -> None:
    """Check prompter, segmenter and verifier without loading a model. Raises InputError."""
    if request.masks_from == "truth" and request.prompts_from != "truth":
        raise InputError("masks from the truth need prompts from the truth", remedy="use --models truth")
    if (
        request.prompts_from == "truth"
        and request.masks_from == "preset"
        and preset.segmenter.dual is not None
    ):
        what = "two routes look for the phrase of a prompt, and prompts from the truth have none"
        remedy = "leave [segmenter.dual] out, or let a prompter answer"
        raise InputError(what, came="[segmenter.dual] and prompts from the truth", remedy=remedy)
    if request.truth != TruthOptions() and request.prompts_from != "truth":
        what = "points after the truth, and mistakes in it, need the truth"
        points = request.truth.points
        came = "--noise" if points == "fixed" else f"--truth-points {points}"
        raise InputError(what, came=came, remedy="add --prompts truth")
    if request.prompts_from == "truth" and request.margins is not None and not request.truth.noise.in_prompts:
        what = "refined boxes are a language model's, or those of a truth with mistakes"
        remedy = "drop --refine-boxes, add --noise, or let the preset's prompter answer"
        raise InputError(what, came="--refine-boxes and prompts from the truth", remedy=remedy)
    if request.prompts_from == "truth" and request.parser != "robust":
        what = "a parser reads a language model's replies"
        remedy = "drop --parser, or let the preset's prompter answer"
        raise InputError(what, came=f"parser {request.parser!r} and prompts from the truth", remedy=remedy)
    if request.prompts_from == "preset":
        if preset.prompter.kind not in ("vllm", "whole", "grounding-dino"):
            what = "a benchmark needs a prompter that looks at images"
            remedy = "use --prompts truth, or a preset with a language model"
            raise InputError(what, came=f"kind {preset.prompter.kind!r}", remedy=remedy)
        _check_asked(request, preset)
        check_prompter(preset.prompter, NO_GRID)
        check_second_looks(preset.gate, preset.verifier, preset.prompter)
        check_engines(preset, request.runner)
    if request.masks_from == "preset":
        if preset.segmenter.kind == "oracle" or (
            preset.segmenter.kind == "mask-model" and request.prompts_from == "truth"
        ):
            what = "a benchmark needs a segmenter that looks at images, and draws the prompts that there are"
            remedy = "use --models truth, or a preset with a SAM"
            raise InputError(what, came=f"kind {preset.segmenter.kind!r}", remedy=remedy)
        check_segmenter(preset.segmenter, NO_GRID)


def _check_asked(request: EvaluationRequest, preset: Preset) -> None:
    """Refuse what is for a language model's replies and prompts, where none answers. Raises InputError."""
    kind = preset.prompter.kind
    no_text = kind != "vllm" and (request.parser != "robust" or request.margins is not None)
    if no_text or (kind == "whole" and request.prompt_parts != "all"):
        raise InputError(
            "--parser, --refine-boxes and parts of prompts are for a language model's replies",
            came="a mask model" if kind == "whole" else f"a prompter of kind {kind!r}",
            remedy="leave them out",
        )


def claim(planned: PlannedEvaluation) -> None:
    """Take the output directory and write evaluation.json.

    Raises RunMismatchError, which names the parameters that differ, when the directory holds another
    evaluation. Raises InputError when it holds anything else.
    """
    out = Path(planned.request.out)
    document = out / EVALUATION_JSON
    require_folder(out)
    if document.is_file():
        _require_same(document, planned)
    elif out.is_dir() and (
        foreign := sorted(entry.name for entry in out.iterdir() if not entry.name.endswith(".tmp"))
    ):
        what = f"--out must be empty or hold this evaluation ({EVALUATION_JSON}): {out}"
        raise InputError(
            what, came=f"other entries, e.g. {', '.join(foreign[:3])}", remedy="give a new directory"
        )
    with writing_to(out):
        (out / "parts").mkdir(parents=True, exist_ok=True)
        remove_leftovers(out / "parts")
        content = {
            "fingerprint": planned.context.fingerprint,
            "parameters": canonical(planned.parameters),
            "preset": planned.request.preset,
            "models": model_ids(planned),
            **({"hub": asked_revisions(planned.models)} if planned.models else {}),
            "versions": collect_versions(),
        }
        write_bytes_atomic(document, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _require_same(document: Path, planned: PlannedEvaluation) -> None:
    try:
        before = json.loads(document.read_text())
        known = before["fingerprint"]
        parameters = before["parameters"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{document} must be the document of an evaluation", came=repr(error), remedy="give another --out"
        ) from error
    if known != planned.context.fingerprint:
        raise RunMismatchError(
            f"{document.parent} holds another evaluation",
            came=describe_difference(parameters, planned.parameters)
            or "one of another version of the program",
            remedy="give another --out, or set these parameters back to resume that one",
        )


def missing_parts(context: EvaluationContext, *, retry_failed: bool = False) -> tuple[list[int], list[str]]:
    """List the parts to do, with notes why: those without a usable record.

    With `retry_failed` also those with a query to ask again. Their old record stays until the part is
    rewritten as a whole.
    """
    left = []
    notes = []
    for part in range(context.n_parts):
        path = context.part_path(part)
        if not path.is_file():
            left.append(part)
            continue
        try:
            records = read_part(path, context.fingerprint)
        except RecordError as error:
            notes.append(f"{error}; it is done again")
            left.append(part)
            continue
        again = _ask_again(context, part, records) if retry_failed else 0
        if again:
            notes.append(f"{path} has {again} failed {'queries' if again > 1 else 'query'} and is done again")
            left.append(part)
    return left, notes


def _ask_again(context: EvaluationContext, part: int, records: Sequence[SampleRecord]) -> int:
    """Count the queries of a part that failed without an answer.

    A malformed reply is an answer and is scored: asking until it can be read would be another protocol. A
    query that may not be put to a model would fail again, so it does not count either.
    """
    samples = [sample for number in context.numbers_of(part) for sample in context.images[number].samples]
    pairs = zip(samples, records, strict=True)
    return sum(
        1
        for sample, record in pairs
        if record.failed and record.reason is not Reason.MALFORMED and not sample.refusal
    )


def model_ids(planned: PlannedEvaluation) -> dict[str, str]:
    """List role -> name and content hash of what answers."""
    request = planned.request
    parameters = planned.parameters
    names = {
        "prompter": Path(planned.preset.prompter.model).name,
        "segmenter": planned.preset.segmenter.model_id,
    }
    source = {"prompter": request.prompts_from, "segmenter": request.masks_from}
    key = {"prompter": "model", "segmenter": "checkpoint"}
    named = {
        role: MODEL_ID
        if source[role] == "truth"
        else f"{names[role]}@{short_identity(parameters[role][key[role]])}"
        for role in names
        if source[role] == "truth" or role in parameters
    }
    return {"prompter": planned.preset.prompter.kind, **named}
