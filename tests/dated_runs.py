"""Two small finished runs of one area at two dates, their comparison, and what is truly there.

Both scenes are drawn from true objects; oracles answer from other rasters, so that the comparison makes
mistakes: it misses changes, and makes some up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from job_files import load_job
from label_worlds import write_label_world
from numpy.typing import NDArray

SIDE = 192
"""Pixels of a scene's side, of 0.5 m."""

STEP = 16
"""One object in every square of this many pixels may be there."""


@dataclass(frozen=True)
class DatedWorlds:
    """What was run, and the truth."""

    runs: tuple[Path, Path]
    changes: Path
    """Folder of the comparison."""
    truth: NDArray[np.str_]
    """(SIDE, SIDE): neither, lost, gained or both."""


def make_dated_runs(folder: Path, *, seed: int = 5) -> DatedWorlds:
    """Draw scenes and answers, and run the jobs on them in this process."""
    rng = np.random.default_rng(seed)
    true = np.zeros((2, SIDE, SIDE), dtype=np.int64)
    found = np.zeros_like(true)
    for row in range(0, SIDE, STEP):
        for col in range(0, SIDE, STEP):
            height, width = rng.integers(6, 11, 2).tolist()
            here = (slice(row + 2, row + 2 + height), slice(col + 2, col + 2 + width))
            for date, there in enumerate(rng.random(2) < 0.3):
                true[date][here] = (1 + row * SIDE + col) * there
                found[date][here] = (1 + row * SIDE + col) * (there if rng.random() < 0.8 else not there)
    runs = []
    for date in range(2):
        world = write_label_world(folder / f"world{date}", true[date])
        answers = write_label_world(folder / f"answers{date}", found[date])
        run = folder / f"run{date}"
        words = ["--source", str(world.scene), "--whole-scene", "--query", "roofs", "--runner", "local"]
        words += ["--models", f"oracle:{answers.labels}", "--out", str(run)]
        words += ["--tile", "80", "--halo", "8", "--block", "4"]
        assert load_job("segment_region").main(words) == 0
        runs.append(run)
    changes = folder / "changes"
    assert load_job("compare_runs").main([*map(str, runs), "--out", str(changes), "--quiet"]) == 0
    before, after = true > 0
    names = np.array(["neither", "lost", "gained", "both"])
    return DatedWorlds(runs=(runs[0], runs[1]), changes=changes, truth=names[before + 2 * after.astype(int)])
