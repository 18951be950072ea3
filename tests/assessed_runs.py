"""A small finished run whose mistakes are known: some true objects were missed, some answers are wrong.

The scene is drawn from the true objects, and an oracle answers from another raster: most of the true ones,
some of them too small to be right, and a few that are not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from job_files import load_job
from label_worlds import canonical, write_label_world
from numpy.typing import NDArray
from reviewed_worlds import KnownTruth, known_truth

SIDE = 320
"""Pixels of the scene's side, of 0.5 m."""

STEP = 20
"""One object in every square of this many pixels may be there."""


@dataclass(frozen=True)
class AssessedRun:
    run: Path
    truth: KnownTruth
    scene: Path


def make_assessed_run(folder: Path, *, seed: int = 3, queries: tuple[str, ...] = ("roofs",)) -> AssessedRun:
    """Draw the scene and the answers, and run the job on them in this process."""
    rng = np.random.default_rng(seed)
    true = np.zeros((SIDE, SIDE), dtype=np.int64)
    found = np.zeros_like(true)
    for row in range(0, SIDE, STEP):
        for col in range(0, SIDE // 2, STEP):  # nothing in the eastern half
            _draw(true, found, row + 4, col + 4, rng)
    world = write_label_world(folder / "world", true)
    answers = write_label_world(folder / "answers", found)
    words = ["--source", str(world.scene), "--whole-scene"]
    for query in queries:
        words += ["--query", query]
    words += ["--models", f"oracle:{answers.labels}", "--out", str(folder / "run"), "--runner", "local"]
    words += ["--tile", "80", "--halo", "8", "--block", "2"]
    assert load_job("segment_region").main(words) == 0
    published = zarr.open_group(str(folder / "run" / "masks.zarr"), mode="r")["instance_id"][0]
    truth = known_truth(canonical(true), np.asarray(published).astype(np.int64))
    return AssessedRun(run=folder / "run", truth=truth, scene=world.scene)


def _draw(
    true: NDArray[np.int64], found: NDArray[np.int64], row: int, col: int, rng: np.random.Generator
) -> None:
    """Perhaps an object, and perhaps an answer, in one square."""
    side = int(rng.integers(6, 13))
    fate = rng.random()
    here = (slice(row, row + side), slice(col, col + side))
    number = 1 + row * SIDE + col
    if fate < 0.55:
        true[here] = number
    if 0.12 < fate < 0.5 or fate > 0.94:
        found[here] = number
    if 0.5 < fate < 0.55:
        found[row : row + 3, col : col + 3] = number
