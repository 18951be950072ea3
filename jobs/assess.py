"""Say how good a finished run is, with an interval: a random sample, a review by a person, an estimate.

python jobs/assess.py plan /data/tanks --out review
python jobs/assess.py estimate review --labels labels.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import job_parser

EXAMPLES = """examples:
  # draw a sample, at most 350 units per query, and make the page on which you answer: review/review.html
  python jobs/assess.py plan out/tanks --out review

  # open review/review.html in a browser: y yes, n no, m missed, u unsure, b back, s save. Or fill in the
  # columns label and n_missed of review/sample.csv. Then:
  python jobs/assess.py estimate review --labels ~/Downloads/labels-0123456789ab.json

What is drawn, per query: objects (are they right?), squares of ground (what was missed?), points (is an
object here?). They give precision; recall and count; and area. Strata are bands of the score, what became of
a tile, and whether an object lies at a tile's edge. From each of them 8 units are drawn at least, as far as
it has so many. The same --seed draws the same units.

Labels are yes, no or unsure for objects and points; no, missed (with n_missed, else 1) or unsure for squares.

estimate also learns how often objects of a score are right, where some are and some are not.
RUN/confidence.parquet has it for every object, to be joined to instances/ by query_index and instance_id;
score there stays what the model said, and jobs/export_results.py writes both.

What is judged is the ground that the run looked at. jobs/answer.py says what it did not look at.

Exit codes: 0 done, 2 bad input (nothing was written), 1 anything else."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("assess.py", __doc__, EXAMPLES)
    commands = top.add_subparsers(dest="command", required=True, metavar="plan | estimate")
    plan = commands.add_parser("plan", help="draw a sample of a run and make its review page")
    plan.add_argument("run", metavar="RUN", help="run directory of segment_region.py, or s3://bucket/prefix")
    plan.add_argument("--out", required=True, metavar="DIR", help="folder for sample and page")
    plan.add_argument(
        "--query",
        action="append",
        default=[],
        metavar="TEXT",
        help="only this query of the run, word for word; may be repeated (default: all)",
    )
    for name, what, number in (
        ("objects", "published objects", 100),
        ("cells", "squares of ground", 100),
        ("points", "points", 150),
    ):
        told = f"{what} to draw per query (default: {number})"
        plan.add_argument(f"--{name}", type=int, default=number, metavar="N", help=told)
    plan.add_argument("--seed", type=int, default=0, metavar="N", help="chooses the sample (default: 0)")
    plan.add_argument(
        "--cell-px",
        type=int,
        metavar="N",
        help="longest side of a square, in pixels (default: 192, or more where objects are large)",
    )
    plan.add_argument("--overwrite", action="store_true", help="replace an earlier sample in DIR")
    plan.add_argument("--quiet", action="store_true", help="no progress")
    estimate = commands.add_parser("estimate", help="precision, recall, count and area, with intervals")
    estimate.add_argument("folder", metavar="DIR", help="the --out folder of plan")
    estimate.add_argument(
        "--labels", required=True, metavar="FILE", help="what the review page saved, or sample.csv filled in"
    )
    estimate.add_argument(
        "--run", metavar="RUN", help="the run, where it lies elsewhere now (default: as plan was told)"
    )
    estimate.add_argument("--json", action="store_true", help="print assessment.json instead of words")
    return top


def _plan(args: argparse.Namespace) -> int:
    from pipeline.assess.plan_run import PlanRequest, plan_assessment
    from pipeline.assess.plan_text import plan_text
    from pipeline.files.lasting_path import require_lasting
    from pipeline.files.raster_access import SMALL_CACHE_MB, set_process_defaults

    require_lasting(args.run, "RUN", in_store=True)
    require_lasting(args.out, "--out")
    set_process_defaults(SMALL_CACHE_MB)
    planned = plan_assessment(
        PlanRequest(
            run=args.run,
            out=Path(args.out),
            queries=tuple(args.query),
            wanted=_wanted(args),
            cell_px=_cell_px(args),
            seed=args.seed,
            overwrite=args.overwrite,
        ),
        say=(lambda _: None) if args.quiet else _say,
    )
    print(plan_text(planned))
    return 0


def _wanted(args: argparse.Namespace) -> Any:
    from pipeline.assess.draw_units import Wanted
    from pipeline.errors import InputError

    for name in ("objects", "cells", "points", "seed"):
        if getattr(args, name) < 0:
            raise InputError(
                f"--{name} must be 0 or more", came=str(getattr(args, name)), remedy="give a whole number"
            )
    return Wanted(objects=args.objects, cells=args.cells, points=args.points)


def _cell_px(args: argparse.Namespace) -> int | None:
    from pipeline.errors import InputError

    if args.cell_px is not None and not 16 <= args.cell_px <= 4096:
        raise InputError(
            "--cell-px must be 16 to 4096",
            came=str(args.cell_px),
            remedy="give what fits a screen: 100 to 400",
        )
    return None if args.cell_px is None else int(args.cell_px)


def _estimate(args: argparse.Namespace) -> int:
    from pipeline.assess.assessment_text import assessment_text
    from pipeline.assess.estimate_run import estimate_assessment
    from pipeline.files.public_text import public_json

    assessment = estimate_assessment(Path(args.folder), Path(args.labels), run=args.run)
    print(public_json(assessment) if args.json else assessment_text(assessment))
    return 0


def _say(text: str) -> None:
    from pipeline.files.public_text import public_text

    sys.stderr.write(f"{public_text(text)}\n")


def main(argv: list[str] | None = None) -> int:
    """Parse, do what the command says, and return the exit code."""
    args = parser().parse_args(argv)
    return exit_code(lambda: _plan(args) if args.command == "plan" else _estimate(args))


if __name__ == "__main__":
    sys.exit(run_job(main))
