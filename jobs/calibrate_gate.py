"""Choose thresholds for the optional gate and verifier, by what they keep and cost on a known world.

python jobs/calibrate_gate.py --world worlds/seven --preset embedded --out calibration/seven
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.errors import InputError
from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import add_preset_options, add_runner_option, job_parser

if TYPE_CHECKING:
    from pipeline.evaluate.calibrate.calibration import CalibrationRequest

EPILOG = """what the optional gate and verifier do
  The gate looks before the prompter does and answers one question in one token: is it there? It looks at
  every tile (--gate tile), or once at a whole block in lower resolution (--gate parent). Tiles that it
  rejects are never asked about. That saves time where most land is empty, and loses what the gate overlooks.
  The verifier looks at the crop around every mask and discards unlikely masks. It costs time and removes
  false alarms.
  Both are off by default. Whether they pay depends on model, imagery and query. This job measures it.

what is written to --out
  calibration.md       what was measured, a proposed threshold per wanted recall, and the curves as tables
  calibration.png      the curves drawn: recall over cost for both kinds of gate, and for the verifier the
                       right masks it keeps over the wrong ones
  calibration.json     the same as numbers
  tile/, parent/       the two runs behind them; the same command resumes them

how to read it
  recall               share of the pairs (tile, query) that the gate lets through, among those whose tile
                       core holds the class. Pairs of one picture share what the gate saw, so the interval
                       takes them together
  of what is found     the same among pairs in which the pipeline without a gate finds something: what a
                       gate really takes away. A run with a gate examines a random 1 % of what was rejected
                       all the same, and estimates this figure (run.json: gate)
  cost                 seconds with it over seconds without it, timed here on a few blocks (median, smallest,
                       largest). A gate pays below 1. A verifier only costs: it looks at every mask, whatever
                       the threshold
  threshold            the largest one up to which the lower end of the interval reaches the wanted recall.
                       Where there is none, the page says how many pairs it would take; draw a larger world

then
  python jobs/segment_region.py ... --gate parent --gate-threshold P
  or in a --config file:  [gate] mode = "tile"  threshold = 0.02     [verifier] mode = "crop"  threshold = 0.2

examples:
  python jobs/make_world.py --seed 31 --size 4096 --out worlds/w31
  python jobs/calibrate_gate.py --world worlds/w31 --out calibration/w31
  python jobs/calibrate_gate.py --world worlds/w31 --first 3 --runner local --out calibration/quick

Exit codes: 0 complete, 2 bad input (no model was loaded), 3 some tiles failed, 1 anything else."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("calibrate_gate.py", __doc__, EPILOG)
    top.add_argument(
        "--world", required=True, metavar="DIR", help="world with known truth: a folder of jobs/make_world.py"
    )
    top.add_argument(
        "--out", required=True, metavar="DIR", help="where curves and runs go; the same command resumes"
    )
    add_preset_options(top, "models and tiling")
    top.add_argument(
        "--models",
        metavar="oracle:FILE",
        help="answers from a label raster, as in jobs/segment_region.py: their curve is known, so the job "
        "can be checked",
    )
    top.add_argument(
        "--first", type=int, metavar="N", help="ask only the first N queries of the world's queries.json"
    )
    add_runner_option(top)
    return top


def request_of(args: argparse.Namespace) -> CalibrationRequest:
    """The command line as a `CalibrationRequest`. Raises InputError; opens no imagery."""
    from pipeline.evaluate.calibrate.calibration import CalibrationRequest
    from pipeline.run import config as cfg

    if args.first is not None and args.first < 1:
        raise InputError(
            "--first must be at least 1", came=str(args.first), remedy="leave it out for all queries"
        )
    tables = cfg.preset_tables(args.preset, args.config)
    if args.models:
        tables["prompter"] = {"kind": "oracle", "model": args.models}
        tables["segmenter"] = {"kind": "oracle", "checkpoint": args.models}
    return CalibrationRequest(
        world=args.world,
        out=args.out,
        preset_name=args.preset,
        preset=cfg.build_preset(tables),
        n_queries=args.first,
        runner=args.runner,
    )


def main(argv: list[str] | None = None) -> int:
    """Measure, draw and print; returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        from pipeline.evaluate.calibrate.calibration import calibrate
        from pipeline.files.lasting_path import require_lasting

        require_lasting(str(args.out), "--out")
        return calibrate(request_of(args))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
