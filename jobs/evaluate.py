"""Score a finished run against a procedural world's exact truth.

python jobs/evaluate.py --run demo/run --truth demo/world
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pipeline.errors import TerraqueryError

EPILOG = """what the columns mean:
  precision, recall   instances at IoU >= 0.5
  giou                mean mask IoU over tile cores; nothing there and nothing predicted counts 1, a false alarm 0
  giou_present        the same over tiles that hold the class
  ciou                intersection over union of all pixels together
  rejection           share of truly empty tiles answered "nothing here"
  false_rejection     share of tiles that hold the class answered so

example:
  python jobs/make_world.py --seed 11 --size 4096 --out world
  python jobs/segment_region.py --source world/scene.tif --aoi world/aoi.geojson --queries-from world/queries.json --first 3 --out run
  python jobs/evaluate.py --run run --truth world --json scores.json"""


def main(argv: list[str] | None = None) -> int:
    """Score and print; returns the exit code."""
    top = argparse.ArgumentParser(
        prog="evaluate.py", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--run", required=True, type=Path, metavar="DIR", help="run directory of jobs/segment_region.py")
    top.add_argument("--truth", required=True, type=Path, metavar="DIR", help="world directory of jobs/make_world.py")
    top.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    args = top.parse_args(argv)
    try:
        from pipeline.evaluate.truth import read_truth, score_run, score_table
        from pipeline.write.run_json import read_run_json

        info = read_run_json(args.run / "run.json")
        scores = score_run(args.run, read_truth(args.truth), info.lattice, info.queries)
        print(score_table(scores))
        if args.json:
            args.json.write_text(json.dumps([score.figures() for score in scores], indent=2) + "\n")
    except TerraqueryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
