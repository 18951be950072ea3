"""What each threshold of our own merge is worth under noise, as means over several seam worlds.

    python tests/benchmarks/seams/levers.py [--side 4096] [--seeds 11 12 13 14 15 16]

None of them is the world of run.py. Each is cut as there, with mild and strong noise, and merged once per
row of `VARIANTS`. `score.py` defines the figures. "no merge" paints every core with its own ids: false merges
beyond its number are ours.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent / "adapters")]

import shipped_merge  # noqa: E402 - after the paths above
from benchmarks.seams import views  # noqa: E402
from benchmarks.seams.adapters.exchange import TileMasks  # noqa: E402
from benchmarks.seams.score import Pixels, pixels_of, score  # noqa: E402
from benchmarks.seams.world import SeamWorld, seam_world  # noqa: E402

from pipeline.stitch.stitch_options import MAX_TRUSTED_PX  # noqa: E402
from pipeline.world.oracle import NoiseName  # noqa: E402

LEVELS: tuple[NoiseName, ...] = ("mild", "strong")

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "no merge": {"tau": 1.01, "complete_first": False},
    "defaults": {},
    "distance before score": {"trusted_margin_px": MAX_TRUSTED_PX},
    "score alone": {"trusted_margin_px": 0},
    "trusted_margin_px = 16": {"trusted_margin_px": 16},
    "keep_share = 0": {"keep_share": 0.0},
    "keep_share = 0.5": {"keep_share": 0.5},
    "tau = 0.4": {"tau": 0.4},
    "rescue_share = 0.7": {"rescue_share": 0.7},
    "rescue_share = 0.9": {"rescue_share": 0.9},
    "audit": {"audit": True},
}
"""Name -> fields of `StitchOptions` that differ from the defaults."""

COLUMNS = ("outputs", "found", "over a seam", "split", "false merges", "missed", "quality")


def main() -> int:
    """All worlds, then one table per level."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--side", type=int, default=4096)
    top.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13, 14, 15, 16])
    args = top.parse_args()
    rows: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    for seed in args.seeds:
        world = seam_world(args.side, seed)
        lattice = views.lattice_over(world, 1024, 64)
        crossing = views.crossing(world, lattice)
        with tempfile.TemporaryDirectory() as scratch:
            truth = Path(scratch) / "labels.tif"
            views.write_truth(truth, world)
            for level in LEVELS:
                masks = views.tile_masks(world, truth, lattice, level)
                for name, changes in VARIANTS.items():
                    rows.setdefault((level, name), []).append(
                        figures(world, merged(world, masks, changes), crossing)
                    )
        print(
            f"# world {seed}: {world.n} objects, {int(crossing.sum())} over a seam",
            file=sys.stderr,
            flush=True,
        )
    for level in LEVELS:
        print(f"\n**{level.capitalize()} noise**, means of {len(args.seeds)} worlds\n")
        print(f"| ours with | {' | '.join(COLUMNS)} |\n| --- |{' ---: |' * len(COLUMNS)}")
        for name in VARIANTS:
            print(line(name, np.mean(rows[level, name], axis=0)))
    return 0


def merged(world: SeamWorld, masks: TileMasks, changes: Mapping[str, Any]) -> Pixels:
    """What our merge makes of the masks with some options changed."""
    outputs = shipped_merge.export(shipped_merge.merge(shipped_merge.prepare(masks, dict(changes))))
    return pixels_of(outputs, world.labels.shape)


def figures(world: SeamWorld, pixels: Pixels, crossing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The values of COLUMNS; shares of the objects for the second and third."""
    got = score(world.labels, pixels)
    over = got.found[crossing].mean()
    return np.array(
        [got.outputs, got.found.mean(), over, got.splits, got.false_merges, got.missed, got.quality]
    )


def line(name: str, values: NDArray[np.float64]) -> str:
    """One row of the table."""
    outputs, found, over, split, false_merges, missed, quality = values.tolist()
    shares = [f"{100 * found:.1f} %", f"{100 * over:.1f} %"]
    cells = [
        f"{outputs:.1f}",
        *shares,
        f"{split:.1f}",
        f"{false_merges:.1f}",
        f"{missed:.1f}",
        f"{quality:.4f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
