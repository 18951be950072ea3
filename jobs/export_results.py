"""Export a finished run for QGIS and other GIS: rasters as Cloud-Optimized GeoTIFFs, tables as a GeoPackage.

A run's own files are Zarr and GeoParquet. GDAL below 3.13 cannot open the rasters (sharded Zarr v3), and some
programs cannot read the tables. This job writes the same results in formats that every GIS reads:

  --cog    q0-storage-tanks-mask.tif     1 = object, 0 = looked at and nothing there, 255 = not judged
           q0-storage-tanks-ids.tif      instance_id of each object, 0 = no object
           q0-storage-tanks-score.tif    score of each object times 254, 255 = no object
           three per query, with overviews, nodata, and colour tables for mask and score
  --gpkg   results.gpkg                  layers `instances` (one feature per object) and `coverage` (what
           became of every tile and query, with the square kilometres that were searched). A run with a
           reviewed sample (jobs/assess.py) has a column `confidence`: how often such an object is right
  --pmtiles  instances.pmtiles           vector tiles for a map in a browser (layer `instances`, Web Mercator)

Pixels and shapes are those of the run, in its CRS, unless you ask for others:

  --min-score S         leaves out objects with a lower score, in rasters and tables
  --fill-holes-m2 A     fills holes of an object up to A square metres. A hole with another object in it, or
                        with ground that was not judged, stays
  --drop-specks-m2 A    drops loose parts of an object up to A square metres, unless it has no others
  --simplify-m M        drops vertices of outlines where it moves them by about M metres. Half to two pixels
                        turn steps into slopes
  --right-angles S      gives an object an outline with right angles and few corners, where one overlaps it by
                        S (0.8 suits buildings). Where it touches a neighbour, their edge is that of the
                        pixels. Round objects, and all others, keep the outlines of their pixels
  --oriented            adds length, width and heading of every object, and the rectangles as a layer
  --edits               applies what jobs/edit_run.py keeps: rejected objects are left out, redrawn and added
                        ones have their new outlines; a column `edited` says so

Objects that did not overlap do not overlap afterwards (but drawn ones may), and neighbours keep their edges.
Rasters and area_px, area_m2 stay those of the pixels. A run of several zones has rasters per zone
(EPSG_32633-q0-storage-tanks-mask.tif) and tables of all zones. Memory does not grow with the run. Files
appear under their names when all are whole, and the run's own files are only read.
"""

from __future__ import annotations

import argparse
import sys

from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import job_parser

EXAMPLES = """examples:
  # everything, into out/tanks/export
  python jobs/export_results.py out/tanks --cog --gpkg

  # rasters of one query of several, into a folder of their own
  python jobs/export_results.py out/town --cog --query "swimming pools" --out /data/pools

  # buildings with right angles
  python jobs/export_results.py out/roofs --gpkg --fill-holes-m2 20 --drop-specks-m2 20 --right-angles 0.8

  # smooth outlines for a map, without doubtful objects and loose pixels
  python jobs/export_results.py out/tanks --gpkg --min-score 0.5 --fill-holes-m2 20 --drop-specks-m2 20 \\
      --simplify-m 1

exit codes: 0 done, 2 bad input (nothing was written), 1 anything else."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("export_results.py", __doc__, EXAMPLES)
    top.add_argument(
        "run", metavar="RUN_DIR", help="run directory of segment_region.py or restitch_region.py"
    )
    what = top.add_argument_group("what to write (at least one)")
    what.add_argument("--cog", action="store_true", help="mask, ids and score of each query as GeoTIFFs")
    what.add_argument("--gpkg", action="store_true", help="instances and coverage as one GeoPackage")
    what.add_argument(
        "--pmtiles",
        action="store_true",
        help="instances as vector tiles in one PMTiles file; the map of a report draws it, too",
    )
    top.add_argument(
        "--query",
        action="append",
        default=[],
        metavar="TEXT",
        help="only this query of the run, word for word; may be repeated (default: all)",
    )
    shapes = top.add_argument_group("which objects, and how they look (default: the run's own pixels)")
    shapes.add_argument(
        "--min-score", type=float, default=0.0, metavar="S", help="leave out objects with a lower score, 0..1"
    )
    sizes = {"fill-holes-m2": "A", "drop-specks-m2": "A", "simplify-m": "M"}
    helps = (
        "fill holes up to this size",
        "drop loose parts up to this size",
        "fewer vertices, moved by this",
    )
    for (name, unit), text in zip(sizes.items(), helps, strict=True):
        shapes.add_argument(f"--{name}", type=float, default=0.0, metavar=unit, help=text)
    shapes.add_argument(
        "--right-angles", type=float, default=0.0, metavar="S", help="right angles where they fit by S, 0..1"
    )
    shapes.add_argument("--oriented", action="store_true", help="length, width, heading and rectangles")
    shapes.add_argument("--edits", action="store_true", help="apply the edits that the run has")
    top.add_argument("--out", metavar="DIR", help="folder for the files (default: RUN_DIR/export)")
    top.add_argument("--overwrite", action="store_true", help="replace files of an earlier export")
    top.add_argument("--quiet", action="store_true", help="no progress, only the names of the files")
    return top


def main(argv: list[str] | None = None) -> int:
    """Parse, check, export. Returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        # imported only once the command line is known to be well formed
        from pipeline.assess.estimate_run import confidence_curves
        from pipeline.files.lasting_path import require_lasting
        from pipeline.files.raster_access import SMALL_CACHE_MB, set_process_defaults
        from pipeline.run.clean_outlines import CleaningRequest, outline_cleaning
        from pipeline.run.progress_line import ProgressLine
        from pipeline.write.export.export_run import ExportRequest, export_run, plan_export

        require_lasting(args.run, "RUN_DIR", in_store=True)
        if args.out is not None:
            require_lasting(args.out, "--out")
        set_process_defaults(SMALL_CACHE_MB)
        shapes = CleaningRequest(
            fill_holes_m2=args.fill_holes_m2,
            drop_specks_m2=args.drop_specks_m2,
            simplify_m=args.simplify_m,
            right_angles=args.right_angles,
        )
        request = ExportRequest(
            run=args.run,
            cog=args.cog,
            gpkg=args.gpkg,
            pmtiles=args.pmtiles,
            queries=tuple(args.query),
            out=args.out,
            overwrite=args.overwrite,
            min_score=args.min_score,
            cleaned=shapes.asked,
            oriented=args.oriented,
            edits=args.edits,
        )
        plan = plan_export(request)
        cleaning = outline_cleaning(shapes, plan, say=print)
        if plan.edited is not None:
            done = ", ".join(f"{n} {word}" for word, n in plan.edited.counts().items() if n)
            print(f"edits: {done or 'none'}; {plan.edited.n_gone} about objects that are not there any more")
        failed = plan.info.counters.get("tiles_failed", 0)
        if failed:
            print(f"note: {failed} tiles of this run failed; nothing was judged there")
        curves = confidence_curves(plan.run_dir, plan.info)
        if curves and (args.gpkg or args.pmtiles):
            print("confidence: learnt from the reviewed sample of this run (jobs/assess.py)")
        confidence = {query: curve.of for query, curve in curves.items()}
        shown = _silent if args.quiet else ProgressLine()
        made = export_run(plan, progress=shown, cleaning=cleaning, confidence=confidence)
        for path in made:
            print(f"{path}  {path.stat().st_size / 1e3:,.0f} kB")
        for name in sorted(set(plan.names) - {path.name for path in made}):
            print(f"{name} is not made: no object is left for it")
        return 0

    return exit_code(work)


def _silent(step: str, share: float) -> None:
    """No progress."""


if __name__ == "__main__":
    sys.exit(run_job(main))
