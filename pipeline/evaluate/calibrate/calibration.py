"""Calibrate gate and verifier on a labelled world: run them, time them and draw recall against cost.

1. `calibrate` runs the world with tile looks and the verifier at threshold 0: every probability is recorded,
   and nothing is rejected. A second run takes only the parent looks, at threshold 1: no prompter is asked.
2. `time_models` times the models in this process (`costs`).
3. `build_document` computes the curves from block records, truth and seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluate.benchmark.evaluation_models import commits_before
from pipeline.evaluate.calibrate.calibration_page import calibration_markdown, draw_calibration
from pipeline.evaluate.calibrate.costs import MeasuredCosts, TimedModels, measure_costs
from pipeline.evaluate.calibrate.curves import gate_curve, verifier_curve
from pipeline.evaluate.calibrate.looks_and_truth import found_pairs, read_masks, read_pairs
from pipeline.evaluate.finished_run.world_truth import Truth, read_truth
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.grid.source import SourceOptions
from pipeline.load.prepare_scenes import prepare_scenes
from pipeline.load.reader import CogReader
from pipeline.prompt.build_prompter import build_gate, build_prompter, build_verifier
from pipeline.prompt.looks.gate import GateMode, GateOptions
from pipeline.prompt.looks.verifier import VerifierOptions
from pipeline.run.choose_runner import cluster_named
from pipeline.run.config import AreaOptions, GridChoice, Preset, RunConfig, Runner, check_queries
from pipeline.run.flow import run_region
from pipeline.run.models.hub_pins import asked_revisions, pin_models, require_models
from pipeline.run.prepare import RunRequest, plan_request
from pipeline.segment.build_segmenter import build_segmenter
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import read_run_json

MODELS_JSON = "models.json"
"""File with the commits of models of the hub."""


@dataclass(frozen=True, kw_only=True)
class CalibrationRequest:
    """What the command line asks for."""

    world: str
    """Folder that jobs/make_world.py wrote."""
    out: str
    preset_name: str
    preset: Preset
    n_queries: int | None = None
    """Number of queries, the first of the world. None: all."""
    runner: Runner = "ray"


def calibrate(request: CalibrationRequest, *, say: Callable[[str], None] = print) -> int:
    """Run, measure and draw. Returns the exit code: 0, or 3 when tiles failed.

    Raises TerraqueryError, and InputError before anything is loaded.
    """
    truth = read_truth(Path(request.world))
    _require_matplotlib()
    out = Path(request.out)
    request = replace(request, preset=pinned_preset(request))
    codes = []
    for look in ("tile", "parent"):
        say(f"looks: {look}")
        codes.append(run_region(_run_request(request, truth, look), say=say))
    say("measuring seconds of looks, answers and masks")
    document = build_document(request, truth, time_models(request, truth))
    write_bytes_atomic(
        out / "calibration.json", (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()
    )
    page = calibration_markdown(document)
    write_bytes_atomic(out / "calibration.md", page.encode())
    draw_calibration(document, out / "calibration.png")
    say(page)
    say(f"calibration.json, calibration.md and calibration.png are in {out}")
    return max(codes)


def pinned_preset(request: CalibrationRequest) -> Preset:
    """Put the commits of models of the hub into the preset, and keep them for when the job is started again.

    Both runs and the timing then load the same. Raises InputError for a model that cannot be had.
    """
    kept = Path(request.out) / MODELS_JSON
    preset, models = pin_models(request.preset, commits_before(kept))
    if models:
        require_models(models, elsewhere=request.runner == "ray" and cluster_named())
        content = {"hub": asked_revisions(models)}
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(kept, (json.dumps(content, indent=2) + "\n").encode())
    return preset


def hub_of(out: Path) -> dict[str, Any]:
    """Read what was asked of the hub, and which commits count. Empty: nothing was."""
    try:
        found: dict[str, Any] = json.loads((out / MODELS_JSON).read_bytes())["hub"]
    except FileNotFoundError:
        return {}
    return found


def build_document(request: CalibrationRequest, truth: Truth, costs: MeasuredCosts) -> dict[str, Any]:
    """Build the content of calibration.json: the curves of both runs, from their block records."""
    dirs: dict[GateMode, RunDir] = {
        "tile": RunDir(Path(request.out) / "tile"),
        "parent": RunDir(Path(request.out) / "parent"),
    }
    infos = {look: read_run_json(run_dir.run_json) for look, run_dir in dirs.items()}
    found = found_pairs(dirs["tile"], infos["tile"])
    pairs = {look: read_pairs(dirs[look], infos[look], truth, found=found) for look in dirs}
    masks = read_masks(dirs["tile"], infos["tile"], truth)
    tile = pairs["tile"]
    return {
        "world": Path(request.world).name,
        "preset": request.preset_name,
        **({"hub": asked} if (asked := hub_of(Path(request.out))) else {}),
        "prompter": infos["tile"].model_ids["prompter"],
        "queries": list(infos["tile"].queries),
        "counts": {
            "pairs": len(tile),
            **{name: int(getattr(tile, name).sum()) for name in ("present", "absent", "found")},
            "masks": int(masks.p.size),
            "right": int(masks.right.sum()),
        },
        "costs": costs.document(),
        "gate": {look: gate_curve(pairs[look], costs.of_gate(look)) for look in dirs},
        "verifier": verifier_curve(masks, costs.verifier_cost.median) if masks.p.size else [],
    }


def time_models(request: CalibrationRequest, truth: Truth) -> MeasuredCosts:
    """Load every model once and time it on blocks of the world. Raises InputError, ModelError."""
    wanted = _run_request(request, truth, "tile")
    config = wanted.config
    plan = plan_request(wanted).plan
    sources = prepare_scenes(plan.scenes, config.load, offsets=plan.offsets, windows=plan.scene_windows)
    grid = plan.lattice.grid
    prompter = build_prompter(config.prompter, grid)
    try:
        gate = build_gate(config.gate, config.prompter, prompter, grid)
        verifier = build_verifier(config.verifier, config.prompter, grid, prompter)
        if gate is None or verifier is None:
            raise TypeError("a calibration runs with gate and verifier on")
        segmenter = build_segmenter(config.segmenter, plan.lattice)
        models = TimedModels(
            prompter=prompter, gate=gate, segmenter=segmenter, verifier=verifier, queries=config.queries
        )
        with closing(CogReader(sources, grid, options=config.load)) as reader:
            return measure_costs(models, reader, list(plan.blocks()), plan.lattice)
    finally:
        prompter.close()


def _run_request(request: CalibrationRequest, truth: Truth, look: GateMode) -> RunRequest:
    queries = tuple(item["query"] for item in truth.queries)[: request.n_queries]
    whole = look == "tile"
    gate = GateOptions(mode=look, threshold=0.0 if whole else 1.0, audit_share=0.0)
    verifier = replace(request.preset.verifier, mode="crop", threshold=0.0) if whole else VerifierOptions()
    config = RunConfig(
        queries=check_queries(queries),
        area=AreaOptions(whole_scene=True),
        source=SourceOptions(hrefs=(str(Path(request.world) / "scene.tif"),)),
        grid=GridChoice(),
        preset_name=request.preset_name,
        preset=replace(request.preset, gate=gate, verifier=verifier),
    )
    return RunRequest(config=config, out=str(Path(request.out) / look), runner=request.runner)


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            "a calibration draws a picture and needs matplotlib",
            came=str(error),
            remedy="install the extra `train`",
        ) from error
