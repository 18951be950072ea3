"""Before any model is loaded: everything that can be wrong with a request is found here, cheaply.

1. `plan_request` reads the AOI and headers of rasters (`find_imagery`) and checkpoints, and plans the tiles
   (`plan_run`).
2. `fingerprint_parameters` joins the parameters with what pins the content behind them.
3. `claim` fits one stretch per scene, takes the output directory and writes plan.parquet and run.json.
   `rehearsal` is its dry run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.files.fingerprint import fingerprint
from pipeline.files.lasting_path import require_lasting
from pipeline.files.provenance import path_identity
from pipeline.files.run_times import moment
from pipeline.geo.planet import require_proj
from pipeline.grid.aoi import Aoi
from pipeline.grid.estimate import Estimate, estimate
from pipeline.grid.scene_times import overlap_note
from pipeline.grid.tiles import Plan
from pipeline.load.prepare_scenes import SceneSource, of_catalog, prepare_scenes
from pipeline.load.unjudged import PlannedArea
from pipeline.prompt.build_prompter import (
    PrompterOptions,
    check_prompter,
    check_queries_fit,
    check_second_looks,
    look_decision,
)
from pipeline.prompt.profile import load_profile
from pipeline.prompt.prompter_checkpoint import resolve_model
from pipeline.run.block_inputs import aim_of, inputs_of_plan, shared_fingerprint
from pipeline.run.budget import SpendingOptions
from pipeline.run.choose_runner import ChosenRunner, choose_runner
from pipeline.run.config import (
    Preset,
    RunConfig,
    Runner,
    RunnerChoice,
    require_areas,
    result_parameters,
)
from pipeline.run.earlier_start import EarlierStart, earlier_start, require_same_pins
from pipeline.run.examples.marks import check_examples
from pipeline.run.imagery_text import scene_notes
from pipeline.run.infer.steps import RunContext
from pipeline.run.models.asked_models import check_asked_by_query, told_by_models
from pipeline.run.models.hub_pins import PinnedModel, asked_revisions
from pipeline.run.models.model_checks import CheckedModels, check_models, commit_models
from pipeline.run.plan_imagery import FoundImagery, area_text, plan_found, read_area, search_imagery
from pipeline.run.scene_pins import named_scene, pins_of
from pipeline.segment.build_segmenter import check_segmenter, pinned_parameters
from pipeline.segment.kept_embeddings import check_cache
from pipeline.world.oracle import parse_oracle
from pipeline.write.on_body import ground_note
from pipeline.write.plan_table import write_plan
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import begin
from pipeline.write.run_json import RunInfo, collect_versions
from pipeline.write.scene_table import SceneRow, write_scenes


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A configured run and how to go about it."""

    config: RunConfig
    out: str
    runner: RunnerChoice = "auto"
    dry_run: bool = False
    retry_failed: bool = False
    new_run: bool = False
    update: bool = False
    """Go on with the run that is there, although its area or its scenes have changed."""
    max_failed_share: float = 0.0
    """Share of the planned tiles that may fail in a run that counts as done."""
    spending: SpendingOptions = field(default_factory=SpendingOptions)
    """What an hour costs, and what the run may."""
    measured_by: str | None = None
    """A run that tells a dry run how long this one would take."""
    models: tuple[PinnedModel, ...] = ()
    """Models that come from the hub, at the commits that `config` has (`with_commits`)."""


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A checked request: what would be done, before anything is written."""

    request: RunRequest
    plan: Plan
    aoi: Aoi | None
    estimate: Estimate
    parameters: Mapping[str, Any]
    runner: ChosenRunner
    overlap_note: str | None = None
    """Which scene wins where several dates show one place; None: no place has several."""
    notes: tuple[str, ...] = ()
    """What else a user should know of the inputs."""
    found: tuple[SceneRow, ...] = ()
    """Every scene and item found, for scenes.parquet."""
    searches: tuple[Mapping[str, Any], ...] = ()
    """What was asked of catalogues."""
    models: CheckedModels = field(default_factory=CheckedModels)
    """What is known of the models before they are loaded."""
    before: RunInfo | None = None
    """run.json of the finished run to which queries are added (pipeline.run.added). None: none are."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.parameters)


def plan_request(request: RunRequest) -> PlannedRun:
    """Check every input and plan the run; writes nothing. Raises InputError or SourceError."""
    return plan_run(with_commits(request), find_imagery(request))


def with_commits(request: RunRequest) -> RunRequest:
    """Hold the commits of models of the hub in a request, those of an earlier start where there was one.
    Raises InputError.
    """
    preset, models = commit_models(request.config.preset, None if request.new_run else RunDir(request.out))
    return replace(request, config=replace(request.config, preset=preset), models=models)


def find_imagery(request: RunRequest) -> FoundImagery:
    """Read the AOI and find the scenes. Raises InputError or SourceError."""
    require_proj()
    require_lasting(request.out, "--out", in_store=True)
    RunDir(request.out).has_run()  # a store that cannot be reached is told before anything is searched
    return search_imagery(request.config, read_area(request.config))


def plan_run(request: RunRequest, found: FoundImagery) -> PlannedRun:
    """Plan a run over scenes that were found. Raises InputError or SourceError."""
    config = request.config
    aoi = found.aoi
    run_dir = RunDir(request.out)
    earlier = None if request.new_run else earlier_start(run_dir)
    imagery = plan_found(config, found, earlier, update=request.update)
    plan = imagery.plan
    require_areas(
        config.min_area_m2,
        plan.grid,
        remedy="use min_area_px under [stitch] in --config, or a --crs whose areas are known",
    )
    notes = (*imagery.notes, *check_prompter(config.prompter, plan.grid))
    notes = (*notes, *check_examples(config, plan.grid))
    check_queries_fit(config.prompter, config.queries)
    check_second_looks(config.gate, config.verifier, config.prompter)
    runner = choose_runner(request.runner, plan.n_tiles)
    check_engines(config.preset, runner.name)
    models = check_models(config.preset, request.models, runner, dry_run=request.dry_run)
    check_segmenter(config.segmenter, plan.grid)
    parameters = fingerprint_parameters(config, plan, aoi)
    if earlier is not None and earlier.fingerprint == fingerprint(parameters):
        require_same_pins(run_dir, earlier, plan.scenes)
    return PlannedRun(
        request=request,
        plan=plan,
        aoi=aoi,
        estimate=estimate(plan, len(config.queries)),
        parameters=parameters,
        runner=runner,
        overlap_note=_overlap_note(plan, config),
        notes=notes,
        found=imagery.rows,
        searches=imagery.searches,
        models=models,
    )


def _overlap_note(plan: Plan, config: RunConfig) -> str | None:
    """What `overlap_note` says of the scenes that show something of the area."""
    shown = [number for number, only in enumerate(plan.only_in_halos) if not only]
    outlines = plan.outlines
    return overlap_note(
        [plan.scenes[number] for number in shown],
        [outlines[number] for number in shown],
        order=str(config.mosaic),
    )


def fingerprint_parameters(config: RunConfig, plan: Plan, aoi: Aoi | None) -> dict[str, Any]:
    """Collect what pins the result: the parameters, and the content of the files that they name."""
    parameters = result_parameters(config)
    parameters["area"] = area_text(aoi)
    # A list: the order of scenes is their priority, and the keys of an object have none in a fingerprint.
    parameters["scenes"] = [named_scene(scene) for scene in plan.scenes]
    if any(of_catalog(scene) for scene in plan.scenes) and (items := item_parameters(config)):
        parameters["items"] = items
    if any(scene.quality is not None for scene in plan.scenes):
        parameters["clouds"] = {"max_cloud_share": config.tiles.max_cloud_share}
    parameters["grid"] = {
        **parameters["grid"],
        "transform": list(plan.grid.transform),
        "shape": [plan.grid.height, plan.grid.width],
    }
    prompter = config.prompter
    segmenter = config.segmenter
    if prompter.kind not in ("grid", "whole"):
        parameters["prompter"]["model"] = path_identity(local_path(resolve_model(prompter.model)))
    parameters["prompter"] |= profile_parameters(prompter)
    parameters["segmenter"] = pinned_parameters(segmenter)
    for role, kind, model in (
        ("prompter", prompter.kind, prompter.model),
        ("segmenter", segmenter.kind, segmenter.checkpoint),
    ):
        if kind == "oracle":
            spec = parse_oracle(model)
            parameters[role] |= {"noise": spec.noise, "seed": spec.seed}
    if config.preset.examples.on:
        parameters["examples"]["marks"] = path_identity(config.preset.examples.marks)
    if config.gate.on and (decision := look_decision(prompter, "gate")) is not None:
        parameters["gate"]["decision"] = asdict(decision)
    if config.verifier.on and (decision := look_decision(prompter, "verifier")) is not None:
        parameters["verifier"]["decision"] = asdict(decision)
    return parameters


def item_parameters(config: RunConfig) -> dict[str, Any]:
    """Collect how items become scenes, where a user has said it."""
    source = config.source
    found = {"assets": config.catalogs.assets, "mask": source.mask, "radiometry": source.radiometry}
    return {key: value for key, value in found.items() if value not in (None, "auto")}


def profile_parameters(prompter: PrompterOptions) -> dict[str, Any]:
    """Collect what the profile of a vllm prompter says, so that an edited profile makes another run. Empty:
    the prompter has none.

    What it says to gate and verifier is left out: it is pinned with them, where they are on. Raises
    InputError.
    """
    if prompter.kind != "vllm":
        return {}
    return {"profile": load_profile(prompter.vllm.profile).result_parameters()}


def check_phrases(preset: Preset) -> None:
    """Check that a segmenter of two routes gets boxes with phrases. Raises InputError."""
    if preset.segmenter.dual is None:
        return
    what = "the two routes under [segmenter.dual] need a box and a phrase in every prompt"
    remedy = "use a profile that asks for both, such as geoseg, or leave [segmenter.dual] out"
    if preset.prompter.kind != "vllm":
        raise InputError(what, came=f"a prompter of kind {preset.prompter.kind!r}", remedy=remedy)
    profile = load_profile(preset.prompter.vllm.profile)
    if not profile.parser.label_keys:
        raise InputError(what, came=f"profile {profile.name!r}, whose replies hold no phrase", remedy=remedy)


def check_engines(preset: Preset, runner: Runner) -> None:
    """Check that models fit each other: two engines on one GPU are told how to share it, two routes get
    phrases, a mask model gets queries, and a cache keeps what is encoded. Raises InputError.
    """
    check_asked_by_query(preset)
    check_phrases(preset)
    check_cache(
        preset.cache,
        kind=preset.segmenter.kind,
        crops=bool(preset.segmenter.crop_share),
        routes=preset.segmenter.dual is not None,
    )
    own = preset.verifier.on and preset.prompter.kind == "vllm" and runner == "ray"
    if own and preset.resources.segmenter.gpus > 0 and preset.verifier.gpu_memory_utilization is None:
        raise InputError(
            "the verifier loads an engine of its own beside the segmenter, and must be told its share "
            "of the GPU's memory",
            came="none",
            remedy="set gpu_memory_utilization under [verifier], and lower the prompter's so that all fit",
        )


def local_path(model: str) -> str:
    """Take the file out of `oracle:labels.tif?noise=mild`. Anything else stays as it is."""
    return model.removeprefix("oracle:").partition("?")[0] if model.startswith("oracle:") else model


@dataclass(frozen=True, kw_only=True)
class ClaimedRun:
    """A run that has its output directory."""

    context: RunContext
    info: RunInfo
    """run.json as this start has it."""


def claim(planned: PlannedRun, *, say: Callable[[str], None] | None = None) -> ClaimedRun:
    """Take the output directory and write plan.parquet and run.json. Raises RunMismatchError for another
    run's directory.

    An earlier run is deleted (`new_run`) once nothing can go wrong with the request any more. `say` tells
    what it waits for.
    """
    request = planned.request
    plan = planned.plan
    run_dir = RunDir(request.out)
    sources = stretched_scenes(planned, run_dir)
    run_dir.claim(planned.parameters, new_run=request.new_run, update=request.update, say=say)
    earlier = None if request.new_run else earlier_start(run_dir)
    require_same_pins(run_dir, earlier, plan.scenes)
    context = run_context(planned, sources)
    info = begin(
        run_dir,
        start_info(planned, sources, earlier),
        new_run=request.new_run,
        update=request.update,
        aim=aim_of(planned.fingerprint, inputs_of_plan(planned.parameters, plan)),
    )
    if request.new_run:
        run_dir.clear()
    write_plans(run_dir, planned)
    return ClaimedRun(context=context, info=info)


def run_context(planned: PlannedRun, sources: tuple[SceneSource, ...]) -> RunContext:
    """Make what the steps of a run know, from its plan and its scenes."""
    request = planned.request
    return RunContext(
        config=request.config,
        plan=planned.plan,
        scene_sources=sources,
        run_dir=str(RunDir(request.out).path),
        fingerprint=planned.fingerprint,
        keys=inputs_of_plan(planned.parameters, planned.plan),
        model_ids=model_ids(planned.parameters, request.config),
    )


def write_plans(run_dir: RunDir, planned: PlannedRun) -> None:
    """Write plan.parquet and scenes.parquet."""
    plan = planned.plan
    ids = [scene.scene_id for scene in plan.scenes]
    scenes = list(zip(ids, plan.scene_windows, strict=True))
    write_plan(run_dir.plan, plan.lattice, plan.inside, scenes)
    write_scenes(run_dir.scenes, planned.found)


def stretched_scenes(planned: PlannedRun, run_dir: RunDir) -> tuple[SceneSource, ...]:
    """Fit a stretch per scene. Nothing is read before the output directory is known to be free for this
    run; raises RunMismatchError where it is another's.
    """
    request = planned.request
    plan = planned.plan
    run_dir.check(planned.parameters, new_run=request.new_run, update=request.update)
    return prepare_scenes(
        plan.scenes,
        request.config.load,
        offsets=plan.offsets,
        windows=plan.scene_windows,
        area=PlannedArea(lattice=plan.lattice, inside=plan.inside),
    )


def model_ids(parameters: Mapping[str, Any], config: RunConfig) -> dict[str, str]:
    """Name what answers, and pin its content: role -> text."""
    kind = config.prompter.kind
    segmenter = f"{config.segmenter.model_id}@{short_identity(parameters['segmenter']['checkpoint'])}"
    if kind == "whole":
        return {"prompter": "whole", "segmenter": segmenter}
    named = (
        f"{Path(local_path(config.prompter.model)).name}@{short_identity(parameters['prompter']['model'])}"
    )
    return {
        "prompter": f"{kind}:{config.prompter.spacing_text if kind == 'grid' else named}",
        "segmenter": segmenter,
    }


def short_identity(identity: str) -> str:
    """Shorten a content hash to what tells checkpoints apart. Other identities stay as they are."""
    return identity[: len("sha256:") + 12] if identity.startswith("sha256:") else identity


def start_info(
    planned: PlannedRun, sources: Sequence[SceneSource], earlier: EarlierStart | None = None
) -> RunInfo:
    """Make run.json as it stands when a run starts. `earlier`: what an earlier start of it knows."""
    request = planned.request
    scenes = tuple(source.scene for source in sources)
    unread = {scene.scene_id for scene in scenes if scene.failure}
    preset: Preset = request.config.preset
    return RunInfo(
        run_id=planned.fingerprint[:16],
        fingerprint=planned.fingerprint,
        status="running",
        parameters=planned.parameters,
        queries=request.config.queries,
        lattice=planned.plan.lattice,
        scenes=scenes,
        records_share=shared_fingerprint(planned.parameters),
        pins={**pins_of(scenes), **(earlier.pins if earlier else {})},
        unread=tuple(sorted(unread | (earlier.unread if earlier else frozenset()))),
        halo_scenes=tuple(
            scene.scene_id
            for scene, only in zip(planned.plan.scenes, planned.plan.only_in_halos, strict=True)
            if only
        ),
        searches=planned.searches,
        settings={
            "runner": planned.runner.name,
            "preset": request.config.preset_name,
            "mode": planned.plan.mode,
            "mosaic": str(request.config.mosaic),
            "resources": asdict(preset.resources),
            "limits": asdict(preset.limits),
            "open_files": preset.load.open_files,
            **({"hub": asked_revisions(request.models)} if request.models else {}),
            **told_by_models(preset),
        },
        models={"prompter": asdict(preset.prompter), "segmenter": asdict(preset.segmenter)},
        stretches={source.scene.scene_id: source.to_dict() for source in sources},
        versions=collect_versions(),
        counters={
            "tiles_planned": int(planned.plan.inside.size),
            "tiles_outside": planned.plan.n_tiles_outside,
        },
        warnings=(
            *(text for text in (preset.notice, planned.overlap_note, ground_note(planned.plan.grid)) if text),
            *planned.notes,
            *scene_notes(sources),
        ),
        aoi_wkb="" if planned.plan.aoi_grid is None else planned.plan.aoi_grid.wkb_hex,
        model_ids=model_ids(planned.parameters, request.config),
        started=moment(),
    )
