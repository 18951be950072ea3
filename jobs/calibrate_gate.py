"""Choose the thresholds of gate and verifier: their recall against their cost, on a world whose truth is
known.

python jobs/calibrate_gate.py --world worlds/seven --preset embedded --out calibration/seven
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.errors import InputError, TerraqueryError

EPILOG = """what they are
  A gate looks before the prompter: one token, "is it there?", per tile (--gate tile) or once for a whole block at a lower resolution
  (--gate parent). What it rejects is never asked, so it saves time where most land is empty, and it loses what it overlooks.
  A verifier looks at the crop around every mask and rejects masks. It costs time and removes false alarms.
  Both are off by default: whether they pay depends on checkpoint, imagery and query. This job measures it.

what is written to --out
  calibration.md       what was measured, a proposed threshold per wanted recall, and the curves as tables
  calibration.png      recall over cost of both looks, and right against wrong masks that the verifier keeps, with its cost
  calibration.json     the same as numbers
  tile/, parent/       the two runs behind them; the same command resumes them

how to read it
  recall               of the (tile, query) pairs whose core holds the class, the share that the gate lets through. Its interval takes
                       the pairs of one picture together: they share what the gate saw
  of what is found     the same for the pairs in which the ungated pipeline found something: what a gate really takes away. In a run
                       with a gate, a random 1 % of what was rejected is examined all the same and estimates this figure (run.json: gate)
  cost                 seconds with over seconds without, measured here on a few blocks (median, smallest, largest); above 1 a gate does
                       not pay. A verifier only costs: it looks at every mask, whatever the threshold
  threshold            proposed where the lower end of the interval reaches the wanted recall, at it and at every smaller one above 0;
                       where none does, the page says how many pairs would be needed. Draw a larger world for more of them

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
    top = argparse.ArgumentParser(
        prog="calibrate_gate.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "--world", required=True, metavar="DIR", help="labelled world: a folder written by jobs/make_world.py"
    )
    top.add_argument(
        "--out", required=True, metavar="DIR", help="where curves and runs go; the same command resumes"
    )
    top.add_argument("--preset", default="embedded", help="models and tiling (default: %(default)s)")
    top.add_argument("--config", metavar="FILE", help="TOML with the same tables as a preset, laid over it")
    top.add_argument(
        "--models",
        metavar="oracle:FILE",
        help="oracle models instead: the job checks itself on a known curve",
    )
    top.add_argument(
        "--first", type=int, metavar="N", help="only the first N queries of the world's queries.json"
    )
    top.add_argument("--runner", choices=("ray", "local"), default="ray", help="as of jobs/segment_region.py")
    return top


def request_of(args: argparse.Namespace) -> Any:
    """The command line as a `CalibrationRequest`. Raises InputError; opens no imagery."""
    from pipeline.evaluate.calibrate.calibration import CalibrationRequest
    from pipeline.run import config as cfg

    if args.first is not None and args.first < 1:
        raise InputError(
            "--first must be at least 1", came=str(args.first), remedy="leave it out for all queries"
        )
    tables = cfg.preset_tables(args.preset)
    if args.config:
        tables = cfg.merge_tables(tables, cfg.read_toml(Path(args.config), "--config"))
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
    try:
        from pipeline.evaluate.calibrate.calibration import calibrate

        return calibrate(request_of(args))
    except TerraqueryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
