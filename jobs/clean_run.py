"""Remove old snapshots of a run, records that nobody needs, and what killed publications left behind.

python jobs/clean_run.py /data/tanks --keep 1
"""

from __future__ import annotations

import argparse
import sys

from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import job_parser

EXAMPLES = """examples:
  # what is there, and what would go? nothing is removed
  python jobs/clean_run.py /data/tanks --dry-run

  # keep the result that counts and the one before it; the run may lie in a bucket
  python jobs/clean_run.py s3://my-bucket/runs/tanks --keep 1

  # nobody reads this run: remove everything but the result that counts
  python jobs/clean_run.py /data/tanks --keep 0 --min-age-hours 0

Every publication of a run is a snapshot of its own, in snapshots/; run.json names the one that counts. Block
records go when the area was made smaller (--update), and neither the plan nor a snapshot that stays has their
block. All others stay, so any result that stays can be made again by jobs/restitch_region.py.

Exit codes: 0 done, 2 no run directory, 5 a driver is at work there (wait for it), 1 anything else."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("clean_run.py", __doc__, EXAMPLES)
    top.add_argument("run", metavar="DIR", help="the --out directory of a run, or s3://bucket/prefix")
    top.add_argument(
        "--keep", type=_count, default=2, metavar="N", help="earlier snapshots that stay (default: 2)"
    )
    top.add_argument(
        "--min-age-hours",
        type=float,
        default=24.0,
        metavar="H",
        help="nothing younger goes: somebody may be reading it (default: 24)",
    )
    top.add_argument("--dry-run", action="store_true", help="print what would go, and remove nothing")
    return top


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {text}")
    return number


def main(argv: list[str] | None = None) -> int:
    """Clean the run and its zones; returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        from pipeline.run.clean_run import clean, names_of_kept, plan_cleaning, run_dirs
        from pipeline.run.old_records import plan_records

        min_age_s = 3600.0 * args.min_age_hours
        for run_dir in run_dirs(args.run):
            print(run_dir.path)
            plan = plan_cleaning(run_dir, keep=args.keep, min_age_s=min_age_s)
            for snapshot in plan:
                fate = snapshot.stays or ("would go" if args.dry_run else "goes")
                size = f"{snapshot.n_files:,} files, {snapshot.n_bytes / 1e6:,.1f} MB"
                print(f"  {snapshot.name}  {size}: {fate}")
            records = plan_records(run_dir, kept=names_of_kept(plan), min_age_s=min_age_s)
            if records.names:
                print(f"  {records.text()}: {records.stays or ('would go' if args.dry_run else 'they go')}")
            elif records.stays:
                print(f"  all block records stay: {records.stays}")
            if not args.dry_run:
                clean(run_dir, keep=args.keep, min_age_s=min_age_s, say=lambda text: print(f"  {text}"))
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
