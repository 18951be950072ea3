"""What a calibration asks the main job for, and the document that it makes of two runs: counted by hand.

The world has a tank of 10 x 10 px in the first of 2 x 4 tiles, in two blocks side by side, and no pool. The
records of both runs are written here; only the last test has models, which are oracles.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hub_server import serving_hub, use_hub
from label_worlds import write_label_world
from look_runs import FIRST_TILE, fragment, run_info, write_records

from pipeline.errors import InputError
from pipeline.evaluate.calibrate import calibration
from pipeline.evaluate.calibrate.calibration import (
    CalibrationRequest,
    build_document,
    calibrate,
    time_models,
)
from pipeline.evaluate.calibrate.costs import MeasuredCosts, Spread
from pipeline.evaluate.finished_run.world_truth import read_truth
from pipeline.run.config import build_preset, preset_tables
from pipeline.run.prepare import RunRequest
from pipeline.schema.tile_answers import Prompt, Reason, TileStatus
from pipeline.schema.tiling import TileSpec
from pipeline.write.run_json import write_run_json

COSTS = MeasuredCosts(
    repeats=1,
    look_s={"tile": Spread.of([0.05, 0.1, 0.2]), "parent": Spread.of([0.01])},
    prompter_s=Spread.of([0.5]),
    segmenter_s=Spread.of([0.1]),
    verifier_s=Spread.of([0.2]),
    verifier_cost=Spread.of([1.25, 1.5, 2.0]),
    masks_per_pair=0.125,
)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A labelled world, as jobs/make_world.py leaves one."""
    labels = np.zeros((64, 128), dtype=np.int64)
    labels[10:20, 10:20] = 1
    folder = tmp_path / "seven"
    ids = write_label_world(folder, labels).ids
    frame = gpd.GeoDataFrame(
        {"instance_id": [int(ids.max())], "class": ["tank"]}, geometry=[shapely.Point(0, 0)], crs=32633
    )
    frame.to_parquet(folder / "truth.parquet")
    queries = [
        {"query": "tanks", "class": "tank", "kind": "explicit"},
        {"query": "pools", "class": "pool", "kind": "absent"},
    ]
    (folder / "queries.json").write_text(json.dumps(queries))
    return folder


@pytest.fixture
def wanted(world: Path, tmp_path: Path) -> CalibrationRequest:
    """A calibration of the embedded preset with oracles for models."""
    tables = preset_tables("embedded")
    oracle = f"oracle:{world / 'labels.tif'}"
    tables["prompter"] = {"kind": "oracle", "model": oracle}
    tables["segmenter"] = {"kind": "oracle", "checkpoint": oracle}
    return CalibrationRequest(
        world=str(world),
        out=str(tmp_path / "out"),
        preset_name="embedded",
        preset=build_preset(tables),
        runner="local",
    )


def tile_look(tile: TileSpec, index: int) -> dict[str, Any]:
    """The gate is sure of the tank (0.9) and takes one empty tile for pools (0.5).

    Two masks answer the query about tanks: one beside the tank, which the verifier doubts, and the tank.
    """
    if (tile.tile_id, index) != (FIRST_TILE, 0):
        return {"gate_p": 0.5 if (tile.tile_row, tile.tile_col, index) == (1, 3, 1) else 0.02}
    labels = np.zeros((36, 36), dtype=np.uint16)
    labels[0:5, 0:5] = 1
    labels[10:20, 10:20] = 2
    fragments = tuple(fragment(tile, place, size_px=size) for place, size in enumerate((25, 100)))
    return {
        "gate_p": 0.9,
        "status": TileStatus.FOUND,
        "reason": Reason.NONE,
        "labels": labels,
        "fragments": fragments,
        "prompts": tuple(Prompt(box_xyxy=(0.0, 0.0, 5.0, 5.0), label=name) for name in "ab"),
        "verified": (0.3, 0.8),
    }


def parent_look(tile: TileSpec, index: int) -> dict[str, Any]:
    """One probability per block and query: 0.6 for tanks in the block that has one, else 0.01."""
    return {"gate_p": 0.6 if tile.tile_col < 2 and index == 0 else 0.01, "reason": Reason.GATE}


def write_run(folder: Path, mode: str, answer: Callable[[TileSpec, int], dict[str, Any]]) -> None:
    """Write a finished run: run.json and the records of both blocks."""
    write_run_json(write_records(folder, answer).run_json, run_info(mode))


@pytest.fixture
def runs(tmp_path: Path) -> None:
    write_run(tmp_path / "out" / "tile", "tile", tile_look)
    write_run(tmp_path / "out" / "parent", "parent", parent_look)


def at(curve: list[dict[str, Any]], threshold: float) -> dict[str, Any]:
    return next(row for row in curve if row["threshold"] == threshold)


@pytest.mark.usefixtures("runs")
def test_the_document_of_two_runs_by_hand(world: Path, wanted: CalibrationRequest) -> None:
    document = build_document(wanted, read_truth(world), COSTS)
    assert (document["world"], document["preset"], document["prompter"]) == (
        "seven",
        "embedded",
        "oracle@tile",
    )
    assert document["queries"] == ["tanks", "pools"]
    assert document["counts"] == {
        "pairs": 16,
        "present": 1,
        "absent": 15,
        "found": 1,
        "masks": 2,
        "right": 1,
    }
    tile = at(document["gate"]["tile"], 0.3)
    assert (tile["recall"], tile["recall_of_found"], tile["n"]) == (1.0, 1.0, 1)
    assert tile["passed_empty"] == pytest.approx(1 / 15, abs=1e-4)
    assert (tile["asked"], tile["cost"]) == (2 / 16, 0.1 / 0.5 + 2 / 16)
    assert tile["cost_rare"] == pytest.approx(0.1 / 0.5 + 0.99 / 15 + 0.01, abs=1e-4)
    assert at(document["gate"]["tile"], 0.95)["recall"] == 0.0
    json.dumps(document, allow_nan=False)


@pytest.mark.usefixtures("runs")
def test_parent_looks_are_judged_by_what_the_run_of_tile_looks_found(
    world: Path, wanted: CalibrationRequest
) -> None:
    """A run of parent looks asks no prompter, so it finds nothing itself.

    Its gate lets four pairs of 16 pass: tanks in the four tiles of the block that shows one. No pair of these
    is empty land.
    """
    parent = at(build_document(wanted, read_truth(world), COSTS)["gate"]["parent"], 0.3)
    assert (parent["recall"], parent["recall_of_found"], parent["passed_empty"]) == (1.0, 1.0, 0.0)
    assert (parent["asked"], parent["cost"]) == (0.25, 0.01 / 0.5 + 0.25)
    assert parent["cost_rare"] == pytest.approx(0.01 / 0.5 + 0.01, abs=1e-4)


@pytest.mark.usefixtures("runs")
def test_the_verifiers_curve_is_of_its_masks_and_its_median_cost(
    world: Path, wanted: CalibrationRequest
) -> None:
    curve = build_document(wanted, read_truth(world), COSTS)["verifier"]
    doubtful, strict = at(curve, 0.2), at(curve, 0.5)
    assert (doubtful["recall"], doubtful["kept_wrong"], doubtful["precision"]) == (1.0, 1.0, 0.5)
    assert (strict["recall"], strict["kept_wrong"], strict["precision"]) == (1.0, 0.0, 1.0)
    assert {row["cost"] for row in curve} == {1.5}


def test_without_a_mask_the_verifier_has_no_curve(
    world: Path, tmp_path: Path, wanted: CalibrationRequest
) -> None:
    for mode in ("tile", "parent"):
        write_run(tmp_path / "out" / mode, mode, parent_look)
    document = build_document(wanted, read_truth(world), COSTS)
    assert document["verifier"] == []
    assert (document["counts"]["masks"], document["counts"]["found"]) == (0, 0)


@pytest.mark.usefixtures("runs")
def test_two_runs_are_asked_for_and_three_files_are_written(
    wanted: CalibrationRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threshold 0 rejects nothing and 1 everything; some tiles of the second run fail, which code 3 says."""
    pytest.importorskip("matplotlib")
    asked: list[RunRequest] = []

    def run(request: RunRequest, *, say: Callable[[str], None]) -> int:
        asked.append(request)
        return 3 * (len(asked) - 1)

    monkeypatch.setattr(calibration, "run_region", run)
    monkeypatch.setattr(calibration, "time_models", lambda request, truth: COSTS)
    said: list[str] = []
    assert calibrate(replace(wanted, n_queries=1), say=said.append) == 3
    tile, parent = (request.config for request in asked)
    assert [Path(request.out).name for request in asked] == ["tile", "parent"]
    assert {request.runner for request in asked} == {"local"}
    assert tile.queries == parent.queries == ("tanks",)
    assert (tile.gate.mode, tile.gate.threshold, tile.gate.audit_share) == ("tile", 0.0, 0.0)
    assert (parent.gate.mode, parent.gate.threshold, parent.gate.audit_share) == ("parent", 1.0, 0.0)
    assert (tile.verifier.mode, tile.verifier.threshold, parent.verifier.mode) == ("crop", 0.0, "off")
    assert tile.source.hrefs == (f"{wanted.world}/scene.tif",)
    out = tmp_path / "out"
    assert json.loads((out / "calibration.json").read_text())["counts"]["pairs"] == 16
    assert (out / "calibration.md").read_text() in said
    assert (out / "calibration.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_is_no_world_is_refused_before_anything_runs(
    wanted: CalibrationRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(calibration, "run_region", lambda *request, **_: asked.append(request))
    with pytest.raises(InputError, match=r"make_world\.py"):
        calibrate(replace(wanted, world=str(tmp_path / "none")))
    assert not asked


def test_every_model_is_timed_on_the_world(world: Path, wanted: CalibrationRequest) -> None:
    """The world is one tile of the preset, and the oracle answers both queries with the one tank it knows."""
    costs = time_models(wanted, read_truth(world))
    assert (costs.repeats, costs.masks_per_pair) == (1, 1.0)
    assert set(costs.look_s) == {"tile", "parent"}
    assert min(costs.prompter_s.low, costs.segmenter_s.low, costs.look_s["tile"].low) > 0
    assert costs.verifier_s is not None
    assert costs.verifier_cost.low > 1
    assert not (world.parent / "out").exists(), "timing writes nothing"


def test_commits_of_models_of_the_hub_are_kept_for_both_runs_and_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = "facebook/sam2.1-hiera-tiny"
    tables = preset_tables("embedded") | {"segmenter": {"kind": "sam2", "checkpoint": segmenter}}
    request = CalibrationRequest(
        world="w",
        out=str(tmp_path / "out"),
        preset_name="embedded",
        preset=build_preset(tables),
        runner="local",
    )
    with serving_hub() as hub:
        first = hub.add(segmenter, {"sam2.1_hiera_tiny.pt": bytes(4000)})
        use_hub(monkeypatch, hub, tmp_path / "cache")
        assert calibration.pinned_preset(request).segmenter.revision == first
        hub.add(segmenter, {"sam2.1_hiera_tiny.pt": bytes(5000)})
        assert calibration.pinned_preset(request).segmenter.revision == first
    asked = {"id": segmenter, "asked": None, "commit": first}
    assert calibration.hub_of(tmp_path / "out") == {"segmenter": asked}
    assert calibration.hub_of(tmp_path / "other") == {}
