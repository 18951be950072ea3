"""Ask questions of a region: imagery in, polygons with a coverage ledger out.

ray job submit --working-dir . -- python jobs/segment_region.py --source /data/scene.tif \\
    --aoi aoi.geojson --query "tanks" --out /data/tanks
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.options import plain_numbers
from pipeline.run.added.add_flags import add_query_option, added_request
from pipeline.run.box_flags import add_box_option, with_refined_boxes
from pipeline.run.everything_flags import (
    add_crop_option,
    add_everything_options,
    check_everything,
    crop_share,
    examples_table,
    grid_of_points,
    name_of_everything,
)
from pipeline.run.imagery_flags import (
    add_imagery_options,
    catalog_options,
    source_options,
    with_falling_sort,
)
from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import (
    add_auto_runner_option,
    add_cache_options,
    add_limits_of_spending,
    add_merge_mode_options,
    add_preset_options,
    add_price_option,
    add_tiling_options,
    cache_table,
    job_parser,
)
from pipeline.run.shape_flags import add_shape_option, check_shape
from pipeline.run.stop_signals import set_grace

EXAMPLES = """examples:
  # one query about one orthophoto, on this machine
  python jobs/segment_region.py --source ortho.tif --whole-scene --query "storage tanks" --out out/tanks

  # two queries about an area of interest on a cluster; they share the reading and encoding of every image
  ray job submit --working-dir . -- python jobs/segment_region.py \\
      --aoi aoi.geojson --source "/data/tiles/*.tif" --preset think2seg-3b --out /data/region \\
      --query "facilities that should be monitored for leaks" --query "fields ready for harvest"

  # a region whose imagery arrives scene by scene: the first command has room for all of it on its grid
  python jobs/segment_region.py --grid-area region.geojson --aoi part.geojson --source "/data/june/*.tif" \\
      --query "storage tanks" --out out/region
  python jobs/segment_region.py --update --aoi region.geojson --source "/data/june/*.tif" \\
      --source "/data/july/*.tif" --query "storage tanks" --out out/region

  # a further query for a finished run: only it is asked, the results of the others stay. With --cache in
  # both commands its masks are drawn from the encodings of the first
  python jobs/segment_region.py --out out/region --add-query "swimming pools" --cache /data/encodings

  # known locations in, shapes out, on a CPU: no language model is loaded, MobileSAM draws (make mobile-sam)
  python jobs/segment_region.py --source ortho.tif --whole-scene --prompts buildings.geojson \\
      --preset mobile-sam --out out/buildings

  # every object that MobileSAM sees, without a word or a place
  python jobs/segment_region.py --source ortho.tif --whole-scene --everything --preset mobile-sam \\
      --out out/everything

  # a model that gives masks itself, such as LISA, in its own Python environment. lisa.toml has
  #   [mask_model]
  #   kind = "process"
  #   adapter = "lisa"                    # or pixellm, psalm, segearth-r1, segearth-r2, or a file of yours
  #   python = "/opt/lisa/bin/python"
  #   repo = "/opt/LISA"
  #   options = { checkpoint = "/models/LISA-7B-v1" }
  python jobs/segment_region.py --source ortho.tif --whole-scene --config lisa.toml \\
      --query "the roof that could carry solar panels" --out out/lisa

  # the newest imagery of a STAC catalogue with few clouds; older scenes fill what it leaves
  python jobs/segment_region.py --source "stac:https://earth-search.aws.element84.com/v1#sentinel-2-l2a" \\
      --aoi aoi.geojson --datetime 2025-06-01/2025-08-31 --max-cloud 20 --mosaic newest \\
      --query "irrigated fields" --preset think2seg-3b --out out/fields

Long commands may lie in a file: --args-file FILE has one option with its values per line, as on a command
line, and # for comments.

The same command on the same --out resumes: blocks that are committed are not done again. Ctrl-C, SIGTERM and
`ray job stop` finish the blocks at work, give the directory back and end; a second one ends at once. Under
`ray job submit` give --out and imagery as absolute paths: the job runs in a copy of the working
directory, which Ray deletes. What libraries print goes to run.log in --out.

--out may be s3://bucket/prefix. Results then lie where the last table says, and `outputs` of run.json. They
are opened in place, with the store that comes with this project:

  import geopandas, obstore.fsspec, obstore.store, xarray, zarr.storage; obstore.fsspec.register("s3")
  objects = geopandas.read_parquet("s3://bucket/prefix/snapshots/ID/instances")
  shards = obstore.store.from_url("s3://bucket/prefix/snapshots/ID/masks.zarr")
  rasters = xarray.open_zarr(zarr.storage.ObjectStore(shards, read_only=True), chunks={})

With --update the same --out goes on with a larger area, further scenes or other dates. Only the blocks that
these touch are done again, objects elsewhere keep their ids, and readers see the earlier result until the new
one is whole. The grid stays as it was: begin with --grid-area where the area or the imagery is going to grow.
So it is over several zones (scenes of several CRSs); give --grid-area again where a zone may be added.

With --add-query a finished run is asked more. The command names --out and the new queries; all else comes
from the run, and its imagery and models must be what they were. Each block is read again and asked the new
queries alone, so it costs what they cost. Records, objects, ids and rasters of the earlier queries stay as
they are, byte for byte; queries never compete for pixels. Readers see the earlier result until the new one is
whole. The same command goes on after an interruption, and until it has ended no other command changes the
run. Afterwards it is a run of all its queries: --update and jobs/restitch_region.py take it as such, and its
own command has to name them all. With --cache, in the first command and in this one, no tile is encoded
twice. --max-cost and --max-hours count an addition anew.

Tiles that take too long, or that kill the process that works on them, are set aside with their reason, and
their neighbours are done; so are the tiles of a host that does not answer. Where tile after tile fails for
one reason the run stops. [limits] in --config sets all of it, with these defaults of a preset: tile_s = 900
and block_s = 3600 (seconds that a step may take), source_failures = 5 and source_pause_s = 60 (when a source
is given up, and how long), first_failures = 32 and failures_in_row = 256 (when a run stops). One process
(--runner local) cannot survive its own death: start the same command again, and it finds the culprit (where
--out is a bucket: on the same machine, which keeps the notes of what was at work).

With --max-cost and --max-hours a run begins no block once all of its starts together have spent so much.
Blocks at hand are committed, and what they take comes on top; a run whose blocks are all committed is
published. An --update with another area or other scenes counts anew. cost.json says what was spent.

Exit codes: 0 complete, 2 bad input (nothing was started), 3 more tiles failed than --max-failed-share (the
rest is committed; see coverage.parquet), 4 stopped because tile after tile failed (resumable),
5 another driver is at work in --out (wait for it), 6 stopped at --max-cost or --max-hours (resumable with a
higher one; nothing was published), 130 interrupted (Ctrl-C), 143 terminated (SIGTERM), 1 anything else."""


def parser() -> argparse.ArgumentParser:
    """The command line, grouped as a user thinks of it."""
    top = job_parser("segment_region.py", __doc__, EXAMPLES, prepare=_as_argparse_takes_it)
    _add_inputs(top)
    add_imagery_options(top)
    _add_grid(top)
    _add_models(top)
    add_everything_options(top)
    _add_result(top)
    _add_running(top)
    return top


def _as_argparse_takes_it(words: list[str]) -> list[str]:
    """The words, where argparse would take a value for an option."""
    return plain_numbers(with_falling_sort(words), lists={"--bbox": 4})


def _add_inputs(top: argparse.ArgumentParser) -> None:
    where = top.add_argument_group("where to look (exactly one)").add_mutually_exclusive_group()
    where.add_argument("--aoi", metavar="FILE", help="area of interest: GeoJSON, GeoParquet, GPKG or KML")
    where.add_argument(
        "--bbox",
        nargs=4,
        type=float,
        metavar=("W", "S", "E", "N"),
        help="area of interest in degrees lon/lat; W > E crosses the antimeridian",
    )
    where.add_argument("--whole-scene", action="store_true", help="everything the sources cover")
    where.add_argument(
        "--place",
        metavar="NAME",
        help="an area of --gazetteer by its name, with more words of its row where several have it: "
        '"Springfield, Illinois"; capitals and accents do not matter',
    )
    named = top.add_argument_group("names of places")
    named.add_argument(
        "--gazetteer",
        metavar="FILE",
        help="your file of named areas for --place, such as districts or parks: GeoPackage, GeoParquet or "
        "GeoJSON; no service is asked",
    )
    what = top.add_argument_group("what to ask")
    what.add_argument(
        "--query",
        action="append",
        default=[],
        metavar="TEXT",
        help="a query or a name; repeat for several",
    )
    what.add_argument(
        "--queries-from", metavar="FILE", help='JSON list of {"query": ...}, as written by jobs/make_world.py'
    )
    add_query_option(what)
    what.add_argument("--first", type=int, metavar="N", help="of --queries-from, only the first N")


def _add_grid(top: argparse.ArgumentParser) -> None:
    grid = top.add_argument_group("run grid").add_mutually_exclusive_group()
    grid.add_argument(
        "--grid-area",
        metavar="FILE",
        help="lay the grid of a new run over this region, read like --aoi, so that --update has room for a "
        "larger area and for further scenes; the area of interest chooses tiles in it. Default: as far as "
        "scenes show the area of interest",
    )
    grid.add_argument(
        "--grid-of",
        metavar="RUN",
        help="take over the grid of another run (its --out), so that e.g. another date has the same tiles, "
        "pixels and ids; tile sizes must be the same",
    )


def _add_models(top: argparse.ArgumentParser) -> None:
    models = top.add_argument_group("models")
    add_preset_options(models, "models and tiling that belong together")
    models.add_argument(
        "--models",
        metavar="oracle:FILE",
        help="answers from a label raster: oracle:labels.tif[?noise=mild|strong]; where sources have several "
        "CRSs, one for each: oracle:labels_{zone}.tif, with {zone} for the names that --dry-run prints",
    )
    models.add_argument(
        "--prompts",
        metavar="FILE",
        help="known locations (polygons, boxes, points) instead of a language model; every instance names "
        "its feature's id and attributes",
    )
    models.add_argument(
        "--prompt-box-m",
        type=float,
        metavar="M",
        help="points of --prompts mean things of about M metres: each gets a box of that side around it",
    )
    add_shape_option(models)
    add_box_option(models)
    add_crop_option(models)
    models.add_argument(
        "--gate",
        choices=("off", "tile", "parent"),
        help="optional cheap look that skips tiles before the prompter sees them: off (default), one look "
        "per tile, or one per block (parent); jobs/calibrate_gate.py measures what it costs",
    )
    models.add_argument(
        "--gate-threshold", type=float, metavar="P", help="skip tiles whose probability is below P"
    )


def _add_result(top: argparse.ArgumentParser) -> None:
    add_tiling_options(top.add_argument_group("tiling"))
    result = top.add_argument_group("result")
    result.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="run directory, a folder or s3://bucket/prefix; the same command resumes it",
    )
    add_merge_mode_options(result, default="instances")
    result.add_argument("--min-area-m2", type=float, default=0.0, metavar="A", help="drop smaller instances")


def _add_running(top: argparse.ArgumentParser) -> None:
    running = top.add_argument_group("running")
    add_auto_runner_option(running, "the plan")
    running.add_argument(
        "--dry-run",
        action="store_true",
        help="plan, estimate, write plan.parquet if --out holds no run, load no model",
    )
    running.add_argument(
        "--measured-by",
        metavar="RUN",
        help="with --dry-run: estimate time and money by this run of the same models and tiles (its --out); "
        "without it, by earlier starts of the run in --out",
    )
    running.add_argument(
        "--explain-tile",
        nargs=2,
        type=int,
        metavar=("R", "C"),
        help="only say what the tile in row R and column C is made of: its scenes in order, and what each "
        "fills; of the run in --out if there is one, and then no other option is needed",
    )
    running.add_argument(
        "--zone",
        metavar="NAME",
        help="where sources have several CRSs, the zone in which --explain-tile counts rows and columns, as "
        "the column zone of plan.parquet and coverage.parquet names it",
    )
    running.add_argument(
        "--grace",
        type=float,
        metavar="S",
        help="seconds that the blocks at work have to be finished after Ctrl-C or SIGTERM (default: 20; in a "
        "submitted job half of what `ray job stop` waits)",
    )
    running.add_argument("--retry-failed", action="store_true", help="do blocks with failed tiles again")
    running.add_argument(
        "--update",
        action="store_true",
        help="go on with the run in --out although the area, the scenes or their dates have changed: only "
        "blocks that they touch are done again, on the grid that the run has, and ids elsewhere stay. "
        "Without a run in --out it begins one",
    )
    running.add_argument(
        "--max-failed-share",
        type=float,
        default=0.0,
        metavar="S",
        help="share of the tiles, 0 to 1, that may fail in a run that ends with exit code 0 (default: 0)",
    )
    add_cache_options(running)
    add_price_option(running)
    add_limits_of_spending(running)
    running.add_argument(
        "--new-run", action="store_true", help="delete an earlier run in --out first (never another file)"
    )


def queries_of(args: argparse.Namespace) -> tuple[str, ...]:
    """The queries of the command line and of --queries-from. With --prompts alone, its file name is one."""
    queries = list(args.query)
    if args.queries_from:
        try:
            items = json.loads(Path(args.queries_from).read_text())
            queries += [item["query"] for item in items][: args.first]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                '--queries-from must be a JSON list of {"query": ...}',
                came=f"{args.queries_from}: {error!r}",
                remedy="correct the file",
            ) from error
    if args.everything:
        return name_of_everything(queries)
    if not queries and args.prompts:
        queries = [Path(args.prompts).stem]
    return tuple(queries)


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Command-line values as preset tables."""
    tiles = {
        "px": args.tile,
        "halo_px": args.halo,
        "block_tiles": args.block,
        "max_cloud_share": _share(args.max_cloud_tile),
    }
    tables: dict[str, Any] = {"tiles": {key: value for key, value in tiles.items() if value is not None}}
    if args.models and args.prompts:
        raise InputError("--models and --prompts exclude each other", remedy="drop one of them")
    if args.models:
        labels = _absolute_oracle(args.models)
        tables["prompter"] = {"kind": "oracle", "model": labels}
        tables["segmenter"] = {"kind": "oracle", "checkpoint": labels}
        tables["notice"] = ""
    if args.prompts:
        tables["prompter"] = {"kind": "vector", "model": _absolute(args.prompts)}
    if args.prompt_box_m is not None:
        if not args.prompts:
            raise InputError("--prompt-box-m is for the points of --prompts", remedy="pass --prompts FILE")
        tables["prompter"]["point_box_m"] = args.prompt_box_m
    if args.prompt_shape is not None:
        if not args.prompts:
            raise InputError("--prompt-shape is for the outlines of --prompts", remedy="pass --prompts FILE")
        tables["prompter"]["prompt_shape"] = args.prompt_shape
    check_everything(args)
    if (share := crop_share(args)) is not None:
        tables["segmenter"] = {"crop_share": share}
    if cache := cache_table(args.cache, args.cache_gb):
        tables["cache"] = cache
    if (examples := examples_table(args)) is not None:
        tables["examples"] = examples
    gate = {
        key: value
        for key, value in {"mode": args.gate, "threshold": args.gate_threshold}.items()
        if value is not None
    }
    load = {"nodata": args.nodata, "collar": args.collar, "scale": _scale(args.scale)}
    tables["load"] = {key: value for key, value in load.items() if value is not None}
    return with_refined_boxes({**tables, "gate": gate}, args.refine_boxes)


def _scale(text: str | None) -> list[float] | None:
    """`0,3000` as two numbers. Raises InputError; their order is checked with the other options."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            "--scale must be two numbers lo,hi", came=repr(text), remedy="e.g. --scale 0,3000"
        ) from None


def _share(percent: float | None) -> float | None:
    """Per cent as a share. Raises InputError for what is none."""
    if percent is None:
        return None
    if not 0 <= percent <= 100:
        raise InputError(
            "--max-cloud-tile must be per cent, from 0 to 100", came=f"{percent:g}", remedy="80 is usual"
        )
    return percent / 100


def _failed_share(share: float) -> float:
    """The share as it was given. Raises InputError for what is none."""
    if not 0 <= share <= 1:
        raise InputError(
            "--max-failed-share must be a share, from 0 to 1",
            came=f"{share:g}",
            remedy="give e.g. 0.01 for one tile in a hundred",
        )
    return share


def _update(args: argparse.Namespace) -> bool:
    """Whether the run in --out is to go on with another area or other scenes. Raises InputError."""
    if args.update and args.new_run:
        raise InputError("--update goes on with a run that --new-run deletes", remedy="drop one of them")
    return bool(args.update)


def _measured_by(args: argparse.Namespace) -> str | None:
    """The run that a dry run is estimated by. Raises InputError where there is no dry run."""
    if args.measured_by is not None and not args.dry_run:
        raise InputError(
            "--measured-by says what --dry-run estimates by",
            came=f"--measured-by {args.measured_by} alone",
            remedy="add --dry-run, or drop it",
        )
    return str(args.measured_by) if args.measured_by is not None else None


def _absolute(path: str) -> str:
    """A local path as workers find it, whose working directory is another one; URLs as they are."""
    return path if "://" in path else str(Path(path).absolute())


def _absolute_oracle(text: str) -> str:
    """`oracle:labels.tif?noise=mild` with an absolute path. Other text stays, and is refused later."""
    path, mark, noise = text.removeprefix("oracle:").partition("?")
    return f"oracle:{_absolute(path)}{mark}{noise}" if text.startswith("oracle:") and path else text


def request_of(args: argparse.Namespace) -> Any:
    """The command line as a `RunRequest`. Raises InputError; opens no imagery."""
    from pipeline.grid.mosaic_order import mosaic_order
    from pipeline.run import config as cfg
    from pipeline.run.budget import SpendingOptions
    from pipeline.run.prepare import RunRequest

    if not args.source:
        raise InputError(
            "a run needs imagery",
            remedy="add --source scene.tif (path, glob, http(s):// or s3://) or stac:URL#collection",
        )
    tables = cfg.preset_tables(args.preset, args.config)
    for name, value in overrides(args).items():
        tables = (
            cfg.merge_tables(tables, {name: value})
            if name in ("tiles", "gate", "load", "examples")
            or (name == "segmenter" and args.crop_prompts is not None)
            else {**tables, name: value}
        )
    if args.everything:
        tables["prompter"] = grid_of_points(args, cfg.build_preset(tables).tiles.px)
    preset = cfg.build_preset(tables)
    check_shape(preset.prompter, args.merge_mode)
    config = cfg.RunConfig(
        queries=cfg.check_queries(queries_of(args)),
        area=cfg.AreaOptions(
            aoi=args.aoi,
            bbox=tuple(args.bbox) if args.bbox else None,
            whole_scene=args.whole_scene,
            place=args.place,
            gazetteer=args.gazetteer,
        ),
        source=source_options(args),
        grid=cfg.GridChoice(
            crs=args.crs,
            resolution=args.resolution,
            gsd_m=cfg.check_gsd(args.gsd, args.resolution),
            area=args.grid_area,
            of_run=args.grid_of,
        ),
        preset_name=args.preset,
        preset=preset,
        merge_mode=args.merge_mode,
        min_area_m2=cfg.check_min_area(args.min_area_m2),
        catalogs=catalog_options(args),
        mosaic=mosaic_order(args.mosaic),
    )
    return RunRequest(
        config=config,
        out=args.out,
        runner=args.runner,
        dry_run=args.dry_run,
        retry_failed=args.retry_failed,
        new_run=args.new_run,
        update=_update(args),
        measured_by=_measured_by(args),
        max_failed_share=_failed_share(args.max_failed_share),
        spending=SpendingOptions(
            price_per_hour=args.price_per_hour, max_cost=args.max_cost, max_hours=args.max_hours
        ),
    )


def explain(args: argparse.Namespace) -> int:
    """Print what one tile is made of: of the run in --out, or of the one that the command line would plan."""
    from pipeline.run.explain_tile import explain_plan, explain_run
    from pipeline.write.run_document import finished_run

    place = (args.explain_tile[0], args.explain_tile[1])
    run_dir = finished_run(args.out)
    if run_dir.run_json.is_file():
        told = explain_run(run_dir, place, zone=args.zone)
    else:
        told = explain_plan(request_of(args).config, place, zone=args.zone)
    print(told.text)
    return 0 if told.readable else 3


def heed_grace(grace_s: float | None) -> None:
    """Be as patient after a signal as --grace says. Raises InputError."""
    if grace_s is None:
        return
    if not 0 <= grace_s < math.inf:
        raise InputError(
            "--grace must be seconds, from 0 up", came=f"{grace_s:g}", remedy="a spot notice leaves about 100"
        )
    set_grace(grace_s)


def main(argv: list[str] | None = None) -> int:
    """Parse, plan, run, publish. Returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        # imported only once the command line is known to be well formed
        if args.explain_tile is not None:
            return explain(args)
        if args.zone is not None:
            raise InputError(
                "--zone says where --explain-tile looks",
                came=f"--zone {args.zone} alone",
                remedy="add --explain-tile R C, or drop it: a run always does all zones",
            )
        heed_grace(args.grace)
        if args.add_query:
            from pipeline.run.added.add_flow import add_queries

            return add_queries(added_request(args, parser().parse_args(["--out", args.out])))
        from pipeline.run.flow import run_region

        return run_region(request_of(args))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
