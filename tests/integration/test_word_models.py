"""Whole runs of models that read the query themselves, of the real classes with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from label_worlds import write_raster
from prompt.tiny_grounding import write_grounding
from segment.dual_route.tiny_phrases import write_sam3

RunJob = Callable[..., int]

SAM3 = """
tiles = {{ px = 64, halo_px = 8, block_tiles = 2 }}
mask_model = {{ kind = "sam3-text", checkpoint = "{model}", threshold = {least}, device = "cpu" }}
"""
GROUNDED = """
tiles = {{ px = 64, halo_px = 8, block_tiles = 2 }}

[prompter]
kind = "grounding-dino"
model = "{model}"
grounding = {{ box_threshold = {least}, device = "cpu" }}
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("table", "write"), [(SAM3, write_sam3), (GROUNDED, write_grounding)], ids=["sam3", "grounded sam"]
)
def test_a_run_finds_something_or_nothing_as_its_threshold_says(
    run_job: RunJob, tmp_path: Path, table: str, write: Callable[[Path], Path]
) -> None:
    scene = tmp_path / "scene.tif"
    write_raster(scene, np.random.default_rng(2).integers(20, 250, (3, 80, 70), dtype=np.uint8))
    model = write(tmp_path / "model")
    statuses = {}
    for least in (0.0, 1.0):
        config = tmp_path / f"{least}.toml"
        config.write_text(table.format(model=model, least=least))
        out = tmp_path / f"run{least}"
        words = ["--config", config, "--source", scene, "--whole-scene", "--query", "storage tanks"]
        assert run_job(*words, "--out", out, "--runner", "local") == 0
        ledger = pq.read_table(out / "coverage.parquet").to_pylist()
        statuses[least] = {(row["status"], row["reason"]) for row in ledger}
        parameters = json.loads((out / "run.json").read_text())["parameters"]
        assert "sha256:" in json.dumps([parameters["prompter"], parameters["segmenter"]])
    assert ("found", "") in statuses[0.0]
    assert statuses[1.0] == {("empty", "prompter")}
