"""The wiring of a calibration: a labelled world -> what gate and verifier say about it -> recall/cost curves.

1. The world is run through the main job with threshold 0 for the gate (look = tile) and the verifier: nothing is rejected, every
   probability is recorded. A second run takes the parent looks alone: with threshold 1 everything is rejected and no prompter is asked.
   Both are ordinary, resumable runs below --out.
2. `measure_costs` times looks and prompter in this process, on blocks that neither has seen, all questions together.
3. The curves are a pure function of the block records, the truth and these seconds.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config import AreaOptions, GridChoice, Preset, RunConfig, Runner, check_queries
from pipeline.errors import InputError
from pipeline.evaluate.gate_curves import Costs, gate_curve, verifier_curve
from pipeline.evaluate.gate_page import calibration_markdown, draw_calibration
from pipeline.evaluate.gate_truth import found_pairs, read_masks, read_pairs
from pipeline.evaluate.truth import Truth, read_truth
from pipeline.flow import run_region
from pipeline.grid.source import SourceOptions
from pipeline.load.prepare import prepare_scenes
from pipeline.load.reader import CogReader
from pipeline.prepare import RunRequest, plan_request
from pipeline.prompt.build import build_gate, build_prompter
from pipeline.prompt.gate import GateMode, GateOptions, parent_look, tile_look
from pipeline.prompt.verifier import VerifierOptions
from pipeline.write.atomic_file import write_bytes_atomic
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import read_run_json


@dataclass(frozen=True, kw_only=True)
class CalibrationRequest:
    """What the command line asks for."""

    world: str
    """Folder of jobs/make_world.py."""
    out: str
    preset_name: str
    preset: Preset
    n_queries: int | None = None
    """Only the first questions of the world; None: all."""
    runner: Runner = "ray"


@dataclass(frozen=True, kw_only=True)
class _Seconds:
    prompter: float
    look: dict[GateMode, float]


def calibrate(request: CalibrationRequest, *, say: Callable[[str], None] = print) -> int:
    """Run, measure, draw; returns 0, or 3 when tiles failed. Raises TerraqueryError; InputError before anything is loaded."""
    truth = read_truth(Path(request.world))
    _require_matplotlib()
    out = Path(request.out)
    codes = []
    for look in ("tile", "parent"):
        say(f"looks: {look}")
        codes.append(run_region(_run_request(request, truth, look), say=say))
    say("measuring seconds per look and per answer")
    seconds = measure_costs(request, truth)
    document = build_document(request, truth, seconds)
    write_bytes_atomic(out / "calibration.json", (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
    page = calibration_markdown(document)
    write_bytes_atomic(out / "calibration.md", page.encode())
    draw_calibration(document, out / "calibration.png")
    say(page)
    say(f"calibration.json, calibration.md and calibration.png are in {out}")
    return max(codes)


def build_document(request: CalibrationRequest, truth: Truth, seconds: _Seconds) -> dict[str, Any]:
    """The curves of both runs, from their block records."""
    dirs: dict[GateMode, RunDir] = {"tile": RunDir(Path(request.out) / "tile"), "parent": RunDir(Path(request.out) / "parent")}
    infos = {look: read_run_json(run_dir.run_json) for look, run_dir in dirs.items()}
    found = found_pairs(dirs["tile"], infos["tile"])
    pairs = {look: read_pairs(dirs[look], infos[look], truth, found=found) for look in dirs}
    masks = read_masks(dirs["tile"], infos["tile"], truth)
    costs = {look: Costs(look_s=seconds.look[look], prompter_s=seconds.prompter) for look in dirs}
    tile = pairs["tile"]
    return {
        "world": Path(request.world).name,
        "preset": request.preset_name,
        "prompter": infos["tile"].model_ids["prompter"],
        "queries": list(infos["tile"].queries),
        "counts": {
            "pairs": len(tile),
            **{name: int(getattr(tile, name).sum()) for name in ("present", "absent", "found")},
            "masks": int(masks.p.size),
            "right": int(masks.right.sum()),
        },
        "costs": {"prompter_s": seconds.prompter, "look_s": dict(seconds.look)},
        "gate": {look: gate_curve(pairs[look], costs[look]) for look in dirs},
        "verifier": verifier_curve(masks.p, masks.right) if masks.p.size else [],
    }


def measure_costs(request: CalibrationRequest, truth: Truth) -> _Seconds:
    """Seconds per (tile, question): a look of each kind, and the prompter, each on a block of its own, after a first one to warm up."""
    config = _run_request(request, truth, "tile").config
    plan = plan_request(_run_request(request, truth, "tile")).plan
    sources = prepare_scenes(plan.scenes, config.load, offsets=plan.offsets, windows=plan.scene_windows)
    grid, queries = plan.lattice.grid, config.queries
    reader = CogReader(sources, grid, options=config.load)
    blocks = sorted(plan.blocks(), key=lambda block: -len(block.tiles))  # full ones first: a parent look costs the same for fewer tiles
    looked, asked, warm = (reader.read(blocks[place]) for place in (0, min(1, len(blocks) - 1), -1))
    prompter = build_prompter(config.prompter, grid)
    gate = build_gate(config.gate, config.prompter, prompter, grid)
    if gate is None:
        raise TypeError("a calibration runs with its gate on")
    with asyncio.Runner() as loop:

        async def look_at_tiles(image: Any) -> None:
            await asyncio.gather(*(gate.look(tile_look(image.tile_image(tile)), queries) for tile in image.block.tiles))

        async def ask(image: Any) -> None:
            await asyncio.gather(*(prompter.prompt(image.tile_image(tile), queries) for tile in image.block.tiles))

        async def look_at_block(image: Any) -> None:
            await gate.look(parent_look(image, plan.lattice, image.block.tiles), queries)

        def timed(step: Callable[[Any], Any], image: Any) -> float:
            start = time.monotonic()
            loop.run(step(image))
            return (time.monotonic() - start) / (len(image.block.tiles) * len(queries))

        for step in (look_at_tiles, ask):
            timed(step, warm)
        seconds = _Seconds(prompter=timed(ask, asked), look={"tile": timed(look_at_tiles, looked), "parent": timed(look_at_block, looked)})
    prompter.close()
    reader.close()
    return seconds


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
            "a calibration draws a picture and needs matplotlib", came=str(error), remedy="install the extra `train`"
        ) from error
