"""Compare two runs of one region: what appeared, vanished, grew, shrank or moved, and what cannot be said.

python jobs/compare_runs.py runs/may runs/june --out changes/may-june

Give the run of the first date and that of the second, which asked the same query. Their pixels must lie on
each other: run the second date over the same --aoi, with --grid-of and the first run. What is written:

  changes.html            numbers and a map, what could not be compared first
  changes.parquet         one row per object: what became of it, ids, scores and areas at both dates
  changes.tif             0 = no object, 1 = at both dates, 2 = lost, 3 = gained, 255 = not judged at both
  registration.parquet    per square of 2048 pixels: how far the second date is shifted against the first
  summary.json            the same numbers for programs

What an object can be:

  appeared, vanished      there at one date, and nothing of it at the other
  grown, shrunk           its size changed by more than --growth
  moved                   of alike size, but the overlap is below --same-iou; or found again within --moved-m
  split, merged           half of it lies in an object of the other date that is another one's
  unchanged               none of these
  not comparable          one date did not judge it (clouds, failed tiles, outside), or the second date is
                          shifted there by more than --most-shift-px

Sizes and overlaps count pixels that were judged at both dates. Shifts are estimated from the objects of both
runs: a region where all of them moved alike looks shifted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import job_parser

EXAMPLES = """examples:
  # two dates of one region; the second run takes over the pixels of the first
  python jobs/segment_region.py --source may.tif --aoi bay.geojson --query ships --out runs/may
  python jobs/segment_region.py --source june.tif --aoi bay.geojson --query ships --grid-of runs/may \\
      --out runs/june
  python jobs/compare_runs.py runs/may runs/june --out changes/may-june

  # follow ships that moved by up to 200 m
  python jobs/compare_runs.py runs/may runs/june --out changes/ships --moved-m 200

exit codes: 0 done, 2 bad input (nothing was written), 1 anything else."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("compare_runs.py", __doc__, EXAMPLES)
    top.add_argument("before", metavar="BEFORE", help="run directory of the first date")
    top.add_argument("after", metavar="AFTER", help="run directory of the second date")
    top.add_argument("--out", metavar="DIR", required=True, help="folder for the files; made when missing")
    top.add_argument(
        "--query", metavar="TEXT", help="which query, word for word (default: the only common one)"
    )
    top.add_argument("--overwrite", action="store_true", help="replace files of an earlier comparison")
    top.add_argument("--quiet", action="store_true", help="no progress, only the numbers")
    rules = top.add_argument_group("when an object counts as changed")
    rules.add_argument(
        "--growth", type=float, metavar="S", help="share its size may change by (default: 0.25)"
    )
    rules.add_argument(
        "--same-iou", type=float, metavar="S", help="overlap of what did not move (default: 0.5)"
    )
    rules.add_argument(
        "--moved-m", type=float, metavar="M", help="look for what moved away so far (default: 0)"
    )
    rules.add_argument(
        "--least-common", type=float, metavar="S", help="share judged at the other date (default: 0.9)"
    )
    rules.add_argument(
        "--most-shift-px", type=float, metavar="PX", help="shift up to which dates are compared (default: 2)"
    )
    rules.add_argument(
        "--search-px", type=int, default=16, metavar="PX", help="longest shift looked for (default: 16)"
    )
    return top


def main(argv: list[str] | None = None) -> int:
    """Parse, check, compare. Returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        # imported only once the command line is known to be well formed
        from pipeline.compare.change_page import not_compared
        from pipeline.compare.compare import CompareRequest, compare
        from pipeline.compare.run_pair import pair_of
        from pipeline.files.lasting_path import require_lasting
        from pipeline.files.raster_access import SMALL_CACHE_MB, set_process_defaults
        from pipeline.run.progress_line import ProgressLine

        require_lasting(args.out, "--out")
        set_process_defaults(SMALL_CACHE_MB)
        request = CompareRequest(
            pair=pair_of(args.before, args.after, args.query),
            out=Path(args.out),
            rules=_rules(args),
            search_px=args.search_px,
            overwrite=args.overwrite,
        )
        summary = compare(request, progress=_silent if args.quiet else ProgressLine())
        for line in not_compared(summary):
            print(line)
        print(_table(summary))
        print(f"{request.out / 'changes.html'}")
        return 0

    return exit_code(work)


def _rules(args: argparse.Namespace) -> Any:
    from pipeline.compare.match import MatchRules

    given = {
        "growth": args.growth,
        "same_iou": args.same_iou,
        "most_way_m": args.moved_m,
        "least_common": args.least_common,
        "most_shift_px": args.most_shift_px,
    }
    return MatchRules(**{name: value for name, value in given.items() if value is not None})


def _table(summary: dict[str, Any]) -> str:
    lines = [f"{'':16}{'objects':>10}{'m2 before':>14}{'m2 after':>14}"]
    for change, entry in summary["changes"].items():
        areas = [
            "" if entry[f"{side}_m2"] is None else f"{entry[f'{side}_m2']:,.1f}"
            for side in ("before", "after")
        ]
        lines.append(f"{change:16}{entry['objects']:>10,}{areas[0]:>14}{areas[1]:>14}")
    return "\n".join(lines)


def _silent(step: str, share: float) -> None:
    """No progress."""


if __name__ == "__main__":
    sys.exit(run_job(main))
