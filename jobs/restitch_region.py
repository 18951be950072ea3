"""Merge again: phase two alone on the block records of a finished run. No model is loaded.

ray job submit --working-dir . -- python jobs/restitch_region.py --run /data/tanks \\
    --out /data/tanks-strict --tau 0.7
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pipeline.errors import InputError, RecordError
from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import (
    add_auto_runner_option,
    add_merge_mode_options,
    add_tiling_options,
    job_parser,
)

EXAMPLES = """examples:
  # merge again in place, with the run's own thresholds (after an interruption, or with a newer version):
  # the same bytes
  python jobs/restitch_region.py --run out/tanks

  # stricter matching across tile edges, into a directory of its own; compare the two with geopandas
  python jobs/restitch_region.py --run out/tanks --out out/tanks-strict --tau 0.7

  # drop specks and publish connected areas instead of objects
  python jobs/restitch_region.py --run out/fields --out out/fields-areas --semantic --min-area-m2 500

  # show objects that only a neighbouring tile saw; take fused neighbours apart (counts: run.json, qa)
  python jobs/restitch_region.py --run out/roofs --out out/roofs-rescued --rescue-share 0.9 --audit

  # a region of millions of objects on a cluster, with smaller tasks
  ray job submit --working-dir . -- python jobs/restitch_region.py --run /data/roofs \\
      --out /data/roofs-2 --tau 0.4 --super-tile 16

how to choose --tau: run.json of every run holds qa.<query>.match_scores, the histogram of how well
neighbouring tiles agreed (20 bins of 0..1). It usually has two humps; a good threshold lies in the valley
between them. Below it, neighbours fuse; above it, objects fall apart at tile edges.

Tile size, halo and block size belong to the records and cannot be changed here. Exit codes: 0 complete,
2 bad input (a missing, damaged or foreign record among them; nothing was published), 3 some tiles had
failed in the run, 5 another driver is at work there (wait for it), 1 anything else."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("restitch_region.py", __doc__, EXAMPLES)
    top.add_argument("--run", required=True, metavar="DIR", help="run directory of segment_region.py")
    top.add_argument(
        "--out", metavar="DIR", help="where results go (default: the run itself; needed for other thresholds)"
    )
    _add_rules(top)
    _add_running(top)
    return top


def _add_rules(top: argparse.ArgumentParser) -> None:
    rules = top.add_argument_group("thresholds (default: those of the run)")
    rules.add_argument(
        "--tau",
        type=float,
        metavar="S",
        help="pieces on both sides of a tile edge match from this mean overlap on, 0..1",
    )
    rules.add_argument("--min-overlap-px", type=int, metavar="N", help="common pixels that a match needs")
    paint = rules.add_mutually_exclusive_group()
    paint.add_argument(
        "--complete-first",
        dest="complete_first",
        action="store_true",
        default=None,
        help="whole objects as one tile saw them",
    )
    paint.add_argument(
        "--cores-only",
        dest="complete_first",
        action="store_false",
        help="every tile paints its own core, nothing else",
    )
    rules.add_argument(
        "--keep-share",
        type=float,
        metavar="S",
        help="what a tile found gives way to a whole view that covers at least this share of it (0 = always)",
    )
    rules.add_argument(
        "--trusted-margin-px",
        type=int,
        metavar="N",
        help="whole views that keep this distance from their tile's border differ by score alone",
    )
    rules.add_argument(
        "--rescue-share",
        type=float,
        metavar="S",
        help="show whole objects that only a neighbour saw if this share of them is free",
    )
    audit = rules.add_mutually_exclusive_group()
    audit.add_argument(
        "--audit",
        dest="audit",
        action="store_true",
        default=None,
        help="part objects in which one tile saw two whole, touching ones",
    )
    audit.add_argument("--no-audit", dest="audit", action="store_false", help="keep every match")
    rules.add_argument("--min-area-px", type=int, metavar="N", help="drop instances with fewer pixels")
    rules.add_argument("--min-area-m2", type=float, metavar="A", help="drop smaller instances")
    rules.add_argument(
        "--split-tiles", type=int, metavar="N", help="an object of more tiles becomes several rows (part_no)"
    )
    rules.add_argument(
        "--part-tiles", type=int, metavar="N", help="side of the squares that cut such an object, in tiles"
    )
    add_merge_mode_options(rules, default=None)


def _add_running(top: argparse.ArgumentParser) -> None:
    running = top.add_argument_group("running")
    add_auto_runner_option(running, "the run")
    running.add_argument(
        "--super-tile",
        type=int,
        metavar="S",
        help="tiles a side that one seam task takes (default: 32); never changes results",
    )
    tiling = top.add_argument_group("tiling (cannot change; given, it is checked against the records)")
    add_tiling_options(tiling)


def request_of(args: argparse.Namespace) -> Any:
    """The command line as a `RestitchRequest`. Raises InputError; opens nothing."""
    from pipeline.files.lasting_path import require_lasting
    from pipeline.run.config import check_min_area
    from pipeline.run.restitch import RestitchRequest

    require_lasting(args.run, "--run", in_store=True)
    if args.out is not None:
        require_lasting(args.out, "--out", in_store=True)
    matching = (
        "tau",
        "min_overlap_px",
        "complete_first",
        "keep_share",
        "trusted_margin_px",
        "rescue_share",
        "audit",
    )
    names = (*matching, "min_area_px", "split_tiles", "part_tiles")
    tiling = {"tile_px": args.tile, "halo_px": args.halo, "block_tiles": args.block}
    return RestitchRequest(
        run=args.run,
        out=args.out,
        runner=args.runner,
        super_tile=args.super_tile,
        thresholds={name: getattr(args, name) for name in names if getattr(args, name) is not None},
        merge_mode=args.merge_mode,
        min_area_m2=None if args.min_area_m2 is None else check_min_area(args.min_area_m2),
        tiling={name: value for name, value in tiling.items() if value is not None},
    )


def main(argv: list[str] | None = None) -> int:
    """Parse, check, merge, publish. Returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        # imported only once the command line is known to be well formed
        from pipeline.run.flow import restitch_region

        try:
            return restitch_region(request_of(args))
        except RecordError as error:  # the records are this job's input
            raise InputError(str(error)) from error

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
