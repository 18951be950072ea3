"""Draw a procedural scene with exact ground truth.

Writes into --out:

  scene.tif       Cloud-Optimized GeoTIFF, 8-bit RGB, 0.5 m pixels, EPSG:32633
  labels.tif      same lattice, uint32: 0 = background, otherwise the instance id
  truth.parquet   GeoParquet: instance_id, class, geometry (one polygon per instance)
  aoi.geojson     the scene's outline in lon/lat, for --aoi of segment_region.py
  queries.json    what to ask: queries with their class and kind (explicit, implicit, absent); the first three
                  make a demonstration
  world.json      how the scene was made; written last, when the scene is complete

An instance is one 4-connected piece of one object inside the scene. Its id is 1 + its smallest pixel index
(row * size + column). One seed always gives the same land, so two of its scenes agree wherever they overlap.
Each seed leaves out one or two classes, so queries about these have no answer.

After an interruption run the same command again: it starts anew and removes what was left (.making-*).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.files.lasting_path import require_lasting
from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import job_parser
from pipeline.run.progress_line import ProgressLine
from pipeline.world.edits import Edits
from pipeline.world.landscape import World
from pipeline.world.scene import SceneSummary, scene_window, write_world

EXAMPLES = """examples:
  python jobs/make_world.py --seed 7 --size 4096 --out worlds/seven
  python jobs/make_world.py --seed 7 --size 2048 --origin-row -1024 --origin-col 8192 --out worlds/north-east
  python jobs/make_world.py --seed 7 --size 2048 --date 1 --out worlds/may
  python jobs/make_world.py --seed 7 --size 2048 --date 2 --out worlds/june
  python jobs/segment_region.py --source worlds/seven/scene.tif --aoi worlds/seven/aoi.geojson \\
      --query "storage tanks" --out runs/seven
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line of the job; argparse exits with code 2 on bad usage."""
    parser = job_parser("make_world.py", __doc__, EXAMPLES)
    need = parser.add_argument_group("required")
    need.add_argument(
        "--seed",
        type=int,
        required=True,
        metavar="S",
        help="which world: any integer from 0; decides land, look and light",
    )
    need.add_argument(
        "--size",
        type=int,
        required=True,
        metavar="N",
        help="pixels a side, 64 to 16384 (4096 takes about half a minute)",
    )
    need.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the files; made when missing"
    )
    where = parser.add_argument_group("where in the world")
    where.add_argument(
        "--origin-row",
        type=int,
        default=0,
        metavar="R",
        help="world row of the top edge (may be negative; default 0)",
    )
    where.add_argument(
        "--origin-col",
        type=int,
        default=0,
        metavar="C",
        help="world column of the left edge (may be negative; default 0)",
    )
    dates = parser.add_argument_group("two dates of one world, for compare_runs.py")
    dates.add_argument(
        "--date", type=int, choices=(1, 2), metavar="D", help="draw date 1 or 2 of a world that changes"
    )
    dates.add_argument(
        "--changed",
        type=float,
        default=0.3,
        metavar="S",
        help="share of the objects that differ: a quarter each is there at date 1 only, at date 2 only, "
        "has grown, has moved (default 0.3)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="allow a folder with other files; only the files above are replaced",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    return parser.parse_args(argv)


def describe(summary: SceneSummary) -> str:
    """Say for a person what was written."""
    side = f"{summary.window.width} x {summary.window.height}"
    counts = ", ".join(f"{count} {name}" for name, count in summary.counts.items()) or "no objects"
    absent = ", ".join(summary.absent) or "nothing"
    made = f"{side} pixels, {summary.n_instances} instances ({counts})"
    return f"{summary.out}: {made}; this world has no {absent}"


def main(argv: list[str] | None = None) -> int:
    """Run the job; returns the exit code."""
    args = parse_args(argv)

    def work() -> int:
        require_lasting(str(args.out), "--out")
        window = scene_window(args.size, origin_row=args.origin_row, origin_col=args.origin_col)
        edits = None if args.date is None else Edits(date=args.date, share=args.changed)
        world = World.from_seed(args.seed, edits=edits)
        progress = {} if args.quiet else {"progress": ProgressLine()}
        summary = write_world(world, window, args.out, overwrite=args.overwrite, **progress)
        if not args.quiet:
            print(describe(summary))
        return 0

    return exit_code(work, name="make_world")


if __name__ == "__main__":
    sys.exit(run_job(main))
