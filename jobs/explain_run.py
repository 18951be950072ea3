"""Explain a run: where its time went, what failed and what to do, and what it cost.

python jobs/explain_run.py /data/tanks
"""

from __future__ import annotations

import argparse
import sys

from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import add_price_option, job_parser

EXAMPLES = """examples:
  # why was last night so slow, and which tiles failed? the cluster may be long gone
  python jobs/explain_run.py s3://my-bucket/runs/tanks

  # what did it cost, with machines of 3.20 an hour all together?
  python jobs/explain_run.py /data/tanks --price-per-hour 3.20

It reads logs/ of the run, which every start writes: one line of JSON per event, with block, tile and worker.
A start that was killed is told up to its last event. A worker is busy while it is at a block.

Exit codes: 0 explained, 2 no run directory or no logs in it, 1 anything else."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("explain_run.py", __doc__, EXAMPLES)
    top.add_argument("run", metavar="DIR", help="the --out directory of a run, or s3://bucket/prefix")
    add_price_option(top)
    return top


def main(argv: list[str] | None = None) -> int:
    """Explain the run, and return the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        from pipeline.run.events.explain_run import explain_run

        print(explain_run(args.run, price_per_hour=args.price_per_hour))
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
