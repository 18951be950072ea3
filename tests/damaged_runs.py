"""One sound run, and copies of it in which something is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from job_files import load_job
from label_worlds import blobs, write_label_world
from zone_worlds import Frame, draw_world, local_to_lonlat

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


def make_zoned_run(folder: Path) -> Path:
    """Run one query over two scenes of two UTM zones that overlap at 78 W. Returns the run."""
    west = Frame("EPSG:26917", -78.0004, 36.62, 120, 120)
    east = Frame("EPSG:26918", -77.9996, 36.62, 120, 120)
    houses = [shapely.box(x, y, x + 9, y + 7) for x in range(-60, 60, 14) for y in range(-50, 50, 12)]
    world = draw_world(folder, (west, east), local_to_lonlat(houses, -78.0, 36.62))
    words = world.words(folder / "out", "--whole-scene", "--tile", 64, "--halo", 8, "--block", 2)
    code = load_job("segment_region").main([str(word) for word in words])
    assert code == 0
    return folder / "out"


def results_of(run: Path) -> Path:
    """The snapshot that counts of a copy of a run."""
    return run / str((run / "current").readlink())


def copy_of(run: Path, place: Path) -> Path:
    """A copy of a run, whose links lead to its own snapshot."""
    return Path(shutil.copytree(run, place, symlinks=True))


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
