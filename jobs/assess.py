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

  # how much changed between two dates: a sample of a comparison, each point looked at on both dates
  # (n never, 1 first date only, 2 second only, 3 both)
  python jobs/assess.py plan changes/may-june --out review-changes
  python jobs/assess.py estimate review-changes --labels ~/Downloads/labels-ba9876543210.json

Labels are yes, no or unsure for objects and points; no, missed (with n_missed, else 1) or unsure for squares;
neither, lost, gained, both or unsure for points of a comparison.

estimate also learns how often objects of a score are right, where some are and some are not.
RUN/confidence.parquet has it for every object, to be joined to instances/ by query_index and instance_id;
score there stays what the model said, and jobs/export_results.py writes both.

jobs/answer.py RUN --report FILE makes a page of it: map, figures with intervals, reliability, cost.

What is judged is the ground that the run looked at. jobs/answer.py says what it did not look at.

Exit codes: 0 done, 2 bad input (nothing was written), 1 anything else."""


_UNITS = {
    "objects": ("published objects", 100),
    "cells": ("squares of ground", 100),
    "points": ("points", 150),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("assess.py", __doc__, EXAMPLES)
    commands = top.add_subparsers(dest="command", required=True, metavar="plan | estimate")
    plan = commands.add_parser("plan", help="draw a sample of a run and make its review page")
    text = "run directory of segment_region.py, s3://bucket/prefix, or a folder of compare_runs.py"
    plan.add_argument("run", metavar="RUN|CHANGES", help=text)
    plan.add_argument("--out", required=True, metavar="DIR", help="folder for sample and page")
    plan.add_argument(
        "--query",
        action="append",
        default=[],
        metavar="TEXT",
        help="only this query of the run, word for word; may be repeated (default: all)",
    )
    for name, (what, number) in _UNITS.items():
        more = ", of a comparison 250" if name == "points" else ""
        told = f"{what} to draw per query (default: {number}{more})"
        plan.add_argument(f"--{name}", type=int, metavar="N", help=told)
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
        "--run",
        metavar="RUN",
        help="run or comparison, where it lies elsewhere now (default: as plan was told)",
    )
    estimate.add_argument("--json", action="store_true", help="print assessment.json instead of words")
    return top


def _plan(args: argparse.Namespace) -> int:
    from pipeline.assess.change.plan_changes import is_comparison
    from pipeline.assess.plan_text import plan_text
    from pipeline.files.lasting_path import require_lasting
    from pipeline.files.raster_access import SMALL_CACHE_MB, set_process_defaults

    require_lasting(args.run, "RUN", in_store=True)
    require_lasting(args.out, "--out")
    set_process_defaults(SMALL_CACHE_MB)
    planned = _drawn_of_changes(args) if is_comparison(args.run) else _drawn_of_run(args)
    print(plan_text(planned))
    return 0


def _drawn_of_run(args: argparse.Namespace) -> Any:
    from pipeline.assess.plan_run import PlanRequest, plan_assessment

    request = PlanRequest(
        run=args.run,
        out=Path(args.out),
        queries=tuple(args.query),
        wanted=_wanted(args),
        cell_px=_cell_px(args),
        seed=args.seed,
        overwrite=args.overwrite,
    )
    return plan_assessment(request, say=(lambda _: None) if args.quiet else _say)


def _drawn_of_changes(args: argparse.Namespace) -> Any:
    from pipeline.assess.change.plan_changes import ChangePlanRequest, plan_changes
    from pipeline.errors import InputError

    wrong = [name for name in ("objects", "cells", "query", "cell_px") if getattr(args, name)]
    if wrong:
        raise InputError(
            "the sample of a comparison has points alone, of the one query that was compared",
            came=f"--{wrong[0].replace('_', '-')}",
            remedy="leave it out; --points says how many",
        )
    _wanted(args)
    given = {} if args.points is None else {"points": args.points}
    request = ChangePlanRequest(
        comparison=Path(args.run), out=Path(args.out), seed=args.seed, overwrite=args.overwrite, **given
    )
    return plan_changes(request, say=(lambda _: None) if args.quiet else _say)


def _wanted(args: argparse.Namespace) -> Any:
    from pipeline.assess.draw_units import Wanted
    from pipeline.errors import InputError

    for name in (*_UNITS, "seed"):
        if (getattr(args, name) or 0) < 0:
            raise InputError(
                f"--{name} must be 0 or more", came=str(getattr(args, name)), remedy="give a whole number"
            )
    given = {name: getattr(args, name) for name in _UNITS}
    return Wanted(**{name: _UNITS[name][1] if n is None else n for name, n in given.items()})


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
    from pipeline.assess.assessment_text import assessment_text, change_text
    from pipeline.assess.change.change_estimates import estimate_changes
    from pipeline.assess.estimate_run import estimate_assessment
    from pipeline.assess.sample_design import read_design
    from pipeline.files.public_text import public_json

    design, table = read_design(Path(args.folder))
    if design.asks_of_changes:
        assessment = estimate_changes(design, table, Path(args.labels), comparison=args.run)
        text = change_text(assessment)
    else:
        assessment = estimate_assessment(Path(args.folder), Path(args.labels), run=args.run)
        text = assessment_text(assessment)
    print(public_json(assessment) if args.json else text)
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
