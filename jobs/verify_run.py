"""Check a finished run from end to end: records, ledger, objects, rasters, catalogue entry.

python jobs/verify_run.py /data/tanks
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import job_parser
from pipeline.run.progress_line import ProgressLine

if TYPE_CHECKING:
    from pipeline.run.verify.verify_run import Verdict

DAMAGED = 4
"""Exit code of a run in which something is wrong."""

EXAMPLES = """examples:
  # is the result of last night whole, and does it say the same everywhere?
  python jobs/verify_run.py /data/tanks

  # before a run is copied to an archive, in a script
  python jobs/verify_run.py /data/tanks --quiet || exit 1

Nothing in the run is changed. Damaged block records heal when the run's own command is started again; damaged
results are made anew from the records by jobs/restitch_region.py.

While an update (--update) is under way or was interrupted, the result before it is checked, and how far the
update is is told.

Exit codes: 0 sound, 2 no run directory, 4 something is wrong or could not be checked, or an update has not
ended, 1 anything else."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("verify_run.py", __doc__, EXAMPLES)
    top.add_argument("run", metavar="DIR", help="the --out directory of a run")
    top.add_argument("--quiet", action="store_true", help="print what is wrong, and nothing else")
    return top


def print_verdict(verdict: Verdict, *, quiet: bool) -> None:
    """Print one line per check, and what is wrong under it."""
    from pipeline.run.verify.verify_run import CHECKS

    for name, meaning in CHECKS.items():
        count = verdict.counts.get(name, 0)
        if name in verdict.not_made:
            print(f"NOT CHECKED  {name}: {verdict.not_made[name]}")
        elif count:
            print(f"WRONG        {name}: {count} finding{'s' if count > 1 else ''} ({meaning})")
        elif not quiet:
            print(f"ok           {name}: {meaning}")
        shown = [finding for finding in verdict.findings if finding.check == name]
        for finding in shown:
            print(f"    {finding.place}: {finding.text}")
        if count > len(shown):
            print(f"    and {count - len(shown)} more")
    if verdict.update:
        print(f"NOT ENDED    {verdict.update}")
    if not quiet:
        print(_last_line(verdict))


def _last_line(verdict: Verdict) -> str:
    if verdict.intact:
        return "the result that counts is sound" if verdict.update else "the run is sound"
    return "the run is NOT sound"


def main(argv: list[str] | None = None) -> int:
    """Check, print, and return the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        from pipeline.run.verify.verify_run import verify

        verdict = verify(args.run, progress=None if args.quiet else ProgressLine(passing=True))
        print_verdict(verdict, quiet=args.quiet)
        return 0 if verdict.sound else DAMAGED

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
