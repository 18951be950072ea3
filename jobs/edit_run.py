"""Keep what you corrected of a run: objects accepted, rejected, redrawn or added in a GIS.

python jobs/edit_run.py runs/bay --edits corrected.geojson --reviewer "A. Reviewer"

1. Export the run (jobs/export_results.py RUN --gpkg) and open the layer `instances` in QGIS.
2. Add a text column `edit`, and write in it, where you have something to say:
     accept    this object is right
     reject    this is none: leave it out
     redraw    the feature's shape, as you drew it, is the right one
     add       a new feature: an object that was missed (with its `query`, if the run has several)
     undo      what was kept of this object counts no more (reject does it for an added one)
3. Save these features (all, or the marked ones) as one layer, and give the file to this job.

The marks go to RUN/edits.parquet, with your name and the time. The run's own files stay as they are, and a
new start of the run keeps the edits. jobs/export_results.py RUN --gpkg --edits applies them: each edit finds
its object by the outline that it had, whatever its id is now. The same file gives marks to segment_region.py:
--examples RUN/edits.parquet.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import job_parser

EXAMPLES = """examples:
  # mark objects in QGIS, keep the marks, and export the corrected result
  python jobs/export_results.py runs/bay --gpkg --out bay
  python jobs/edit_run.py runs/bay --edits bay/marked.gpkg --reviewer "A. Reviewer"
  python jobs/export_results.py runs/bay --gpkg --edits --out bay/corrected

exit codes: 0 done, 2 bad input (nothing was written), 1 anything else."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("edit_run.py", __doc__, EXAMPLES)
    top.add_argument("run", metavar="RUN", help="run directory")
    top.add_argument(
        "--edits", metavar="FILE", type=Path, required=True, help="file with the marked features"
    )
    top.add_argument("--reviewer", metavar="NAME", default="", help="who marked them")
    return top


def main(argv: list[str] | None = None) -> int:
    """Parse, check, keep. Returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        # imported only once the command line is known to be well formed
        from collections import Counter

        from pipeline.write.edit_layer import edits_path, keep_edits, read_marks
        from pipeline.write.export.export_run import table_grid_of
        from pipeline.write.run_document import existing_run
        from pipeline.write.zoned.zoned_json import read_any_run

        run_dir = existing_run(args.run, what="an edit")
        info = read_any_run(run_dir.run_json)
        grid = table_grid_of(info)
        marks = read_marks(args.edits, run_dir, grid, info.queries, run_id=info.run_id)
        kept = keep_edits(
            run_dir, marks, grid=grid, run_id=info.run_id, reviewer=args.reviewer, source=args.edits.name
        )
        told = ", ".join(f"{n} {action}" for action, n in sorted(Counter(m.action for m in marks).items()))
        print(f"{edits_path(run_dir)}  {told}; {kept.num_rows} edits in all")
        print(f"apply them: python jobs/export_results.py {args.run} --gpkg --edits")
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
