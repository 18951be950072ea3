"""Answer how many, how large, how dense: the numbers of a finished run, what was not looked at first.

python jobs/answer.py /data/tanks
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import job_parser

EXAMPLES = """examples:
  # a paragraph per query, and a table
  python jobs/answer.py out/tanks

  # by district, for a spreadsheet
  python jobs/answer.py out/tanks --by districts.geojson --csv > tanks.csv

  # the run's report with all that came after it: figures with intervals, how reliable confidences are, a map
  # that filters and sorts by them, and what the run cost
  python jobs/answer.py out/tanks --report tanks.html

An interval comes from a reviewed random sample (jobs/assess.py), and never from scores: a score says how sure
a model is of itself, and nothing of what it missed. Without a review the answer says that it has none.

Exit codes: 0 answered, 2 bad input, 1 anything else."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("answer.py", __doc__, EXAMPLES)
    top.add_argument("run", metavar="RUN", help="the --out directory of a run, or s3://bucket/prefix")
    top.add_argument(
        "--query",
        action="append",
        default=[],
        metavar="TEXT",
        help="only this query of the run, word for word; may be repeated (default: all)",
    )
    top.add_argument(
        "--by", metavar="FILE", help="polygons that part the answer: GeoJSON, GeoPackage, GeoParquet, ..."
    )
    top.add_argument(
        "--by-name", metavar="COLUMN", help="column of --by with their names (default: name, or else the id)"
    )
    top.add_argument(
        "--report",
        metavar="FILE",
        help="also write a page: the run's report with assessment, confidences and cost",
    )
    form = top.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print a table with commas")
    return top


def main(argv: list[str] | None = None) -> int:
    """Answer, and return the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        from pipeline.assess.answer_run import answer_run
        from pipeline.assess.answer_text import answer_csv, answer_document, answer_text
        from pipeline.assess.full_page import write_full_page
        from pipeline.errors import InputError
        from pipeline.files.public_text import public_json
        from pipeline.write.edit_layer import read_edits
        from pipeline.write.run_document import finished_run

        if args.by_name is not None and args.by is None:
            raise InputError("--by-name names a column of --by", came="no --by", remedy="add --by FILE")
        if args.report is not None:
            write_full_page(args.run, Path(args.report))
        answer = answer_run(
            args.run,
            queries=args.query,
            by=None if args.by is None else Path(args.by),
            by_name=args.by_name,
        )
        if args.json:
            print(public_json(answer_document(answer)))
        elif args.csv:
            print(answer_csv(answer))
        else:
            print(answer_text(answer))
            edits = read_edits(finished_run(args.run))
            if edits is not None and edits.num_rows:
                print(
                    f"The run has {edits.num_rows} edits (jobs/edit_run.py). These numbers are without them."
                )
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
