"""One sound run, and copies of it in which something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from job_files import load_job
from label_worlds import blobs, write_label_world

from pipeline.run.verify.verify_run import verify


def make_sound_run(folder: Path) -> Path:
    """Run two queries over 5 x 4 tiles in blocks of 2 x 2, with noisy oracle models. Returns the run."""
    world = write_label_world(folder, blobs(np.random.default_rng(21), 200, 190, grain=13))
    words = ["--source", world.scene, "--whole-scene", "--query", "anything", "--query", "everything"]
    models = ["--models", f"oracle:{world.labels}?noise=strong", "--runner", "local"]
    cut = ["--tile", 64, "--halo", 8, "--block", 2, "--out", folder / "out"]
    code = load_job("segment_region").main([str(word) for word in (*words, *models, *cut)])
    assert code == 0
    return folder / "out"


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON document in place."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def edit_table(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change the rows of a Parquet file in place; its schema stays."""
    table = pq.read_table(path, partitioning=None)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def findings_of(run: Path) -> dict[str, list[str]]:
    """Check a run; check -> `place: text` of what is wrong."""
    verdict = verify(run)
    found: dict[str, list[str]] = {}
    for finding in verdict.findings:
        found.setdefault(finding.check, []).append(f"{finding.place}: {finding.text}")
    return found
