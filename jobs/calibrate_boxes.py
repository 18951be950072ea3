"""Measure how a language model's boxes are wrong, by their frame or by their sides, and how to correct them.

python jobs/calibrate_boxes.py --benchmark world:31 --preset embedded --out calibration/boxes
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import add_preset_options, add_runner_option, job_parser

if TYPE_CHECKING:
    from pipeline.evaluate.benchmark.prepare_benchmark import EvaluationRequest

EPILOG = """what is measured
  frame      Replies are read again as pixels, thousandths and shares of the image. If another frame than the
             profile's finds clearly more true boxes, the profile is wrong, and no margins are proposed: in a
             wrong frame boxes are shifted and grown, and margins would only hide that.
  margins    For each side, how far the true box reaches beyond the predicted one, as a share of its width or
             height. GeoSeg publishes 0.2 for left and top and 0.1 for right and bottom.
  gain       Box IoU without margins, with GeoSeg's, and with those of the other half of the pictures.

what is written to --out
  boxes.json     the margins, for --refine-boxes, and every figure with its interval
  boxes.md       the same as tables
  evaluation/    the evaluation behind it, as jobs/evaluate.py writes it; the same command resumes it

then
  python jobs/segment_region.py ... --refine-boxes calibration/boxes/boxes.json
  python jobs/evaluate.py --benchmark world:32 --refine-boxes calibration/boxes/boxes.json --out eval/refined
  Judge the gain on another set than the one that was measured.

examples:
  python jobs/calibrate_boxes.py --benchmark world:31:4096 --out calibration/boxes
  # does a checkpoint keep to the frame of its profile? a few queries show it
  python jobs/calibrate_boxes.py --benchmark rrsis-d:/data/RRSIS-D --split val --limit 300 \\
      --preset think2seg-3b --out calibration/think2seg

Benchmarks are those of jobs/evaluate.py --help. Worlds know their objects one by one; of a mask alone, parts
that touch count as one object.
Exit codes: 0 complete, 2 bad input (no model was loaded), 3 some queries have no answer, 1 anything else."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("calibrate_boxes.py", __doc__, EPILOG)
    top.add_argument("--benchmark", required=True, metavar="NAME:PLACE", help="labelled set to ask")
    top.add_argument("--split", metavar="NAME", help="split of a public data set (default: its test split)")
    top.add_argument("--limit", type=int, metavar="N", help="ask only N queries, spread over the split")
    top.add_argument("--out", required=True, metavar="DIR", help="where results go; the same command resumes")
    add_preset_options(top, "models and tiling")
    add_runner_option(top)
    return top


def request_of(args: argparse.Namespace) -> EvaluationRequest:
    """The command line as the `EvaluationRequest` behind the calibration. Opens no file."""
    from pipeline.evaluate.benchmark.prepare_benchmark import EvaluationRequest

    return EvaluationRequest(
        benchmark=args.benchmark,
        split=args.split,
        limit=args.limit,
        out=args.out,
        preset=args.preset,
        config_file=args.config,
        runner=args.runner,
    )


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        from pipeline.evaluate.calibrate.box_calibration import calibrate_boxes

        return calibrate_boxes(request_of(args))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
