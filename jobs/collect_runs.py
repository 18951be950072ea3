"""List many runs in one STAC Collection, for a catalogue's browser, pystac or QGIS.

python jobs/collect_runs.py runs/2026-* --out catalogue

Writes collection.json, items/ID/ID.json for every run, and items.parquet, which holds all items as
stac-geoparquet: one file to search with DuckDB, GeoPandas or rustac. A run keeps its files where they are:
the items link to them. Links inside the catalogue are relative, and so are those to runs on this machine, so
that a folder that holds catalogue and runs can be moved or served as it is. Links to runs in a bucket are
addresses (s3://...).

Run it again after every new run, with --overwrite: it takes what runs say of themselves, and nothing else.
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
  # all nights of a region
  python jobs/collect_runs.py /data/bay/2026-* --out /data/bay/catalogue --id bay --title "Ships of the bay"

  # look at it
  python -c "import pystac; [print(i.id, i.datetime) for i in pystac.read_file('/data/bay/catalogue/collection.json').get_items()]"

  # which runs asked for ships, without opening a file per run
  duckdb -c "select id, datetime from 'catalogue/items.parquet' where list_contains(\\"terraquery:queries\\", 'ships')"

exit codes: 0 done, 2 bad input (nothing was written), 1 anything else."""  # noqa: E501 - a command is one line


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("collect_runs.py", __doc__, EXAMPLES)
    top.add_argument("runs", nargs="+", metavar="RUN", help="run directories, also in buckets")
    top.add_argument(
        "--out", metavar="DIR", required=True, help="folder for the catalogue; made when missing"
    )
    top.add_argument("--id", default="terraquery-runs", metavar="ID", help="id of the collection")
    top.add_argument("--title", metavar="TEXT", help="its title (default: the id)")
    top.add_argument("--description", metavar="TEXT", help="what it holds (default: how many runs)")
    top.add_argument("--overwrite", action="store_true", help="replace an earlier catalogue in --out")
    return top


def main(argv: list[str] | None = None) -> int:
    """Parse, check, collect. Returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        # imported only once the command line is known to be well formed
        from pipeline.files.lasting_path import require_lasting
        from pipeline.write.run_collection import CollectionRequest, write_collection

        for run in args.runs:
            require_lasting(run, "RUN", in_store=True)
        require_lasting(args.out, "--out")
        request = CollectionRequest(
            runs=tuple(args.runs),
            out=Path(args.out),
            collection_id=args.id,
            title=args.title or args.id,
            description=args.description or f"{len(args.runs)} runs of Terraquery",
            overwrite=args.overwrite,
        )
        path = write_collection(request)
        print(f"{path}  {len(args.runs)} runs")
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
