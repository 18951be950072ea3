"""How good is it: a preset on a benchmark by the papers' protocols, or a finished run against a world's exact truth or your polygons.

python jobs/evaluate.py --benchmark world:7 --preset embedded
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, TerraqueryError

EPILOG = """benchmarks:
  world:SEED[:SIZE]    tiles of a procedural world, drawn in memory; SIZE pixels a side (default 2048)
  earthreason:PATH     <root>/{train,val,test}/{images,labels,QAs}
  rrsis-d:PATH         <root>/rrsisd/{refs(unc).p,instances.json}, <root>/images/rrsisd/JPEGImages
  risbench:PATH        <root>/{img_rgb,mask}, <root>/output_phrase_{train,val,test}.txt
  refsegrs:PATH        <root>/{images,masks}, <root>/output_phrase_{train,val,test}.txt
  geoseg-bench:PATH    <root>/RS_ReasonSeg_Benchmark/{images,masks}, <root>/annotations/<Domain>.json
  lasers:PATH          <root>/train/{images,annotations/train_ann.json}

conventions (what an answer about something that is not there scores; all four are in the table, one has intervals):
  paper                Think2Seg-RS equations 4 to 6: nothing there and nothing predicted scores 1, an unreadable reply 0
  think2seg            its released code: only an explicit [] scores 1; empty targets stay out of cIoU; P@t: >=, among samples with a mask
  segearth-r1          its released code: an empty mask on an empty target scores 1, whatever was said
  vision-reasoner      its released code: an empty target always scores 0

parsers (how a reply becomes prompts):
  robust               keeps what can be used: good items beside bad ones, boxes clipped to the image; a malformed reply is asked for
                       again as often as the preset says (once)
  think2seg            its released code, for its published figures: one bad item refuses the reply, nothing is clipped, put in order or
                       dropped for where it lies, and nothing is asked for again

verifier (off by default; jobs/calibrate_gate.py proposes a threshold):
  --config FILE        with the table [verifier], mode = "crop", threshold = 0.9: masks below it are taken away before they are scored,
                       as in a run, and an answer that keeps none counts as a rejection; a benchmark has no gate

examples:
  # the embedded models on 24 queries about world 7: the table, results.json, samples.parquet, samples.html with masks drawn
  python jobs/evaluate.py --benchmark world:7 --preset embedded --limit 24 --out eval/world

  # Think2Seg-RS on EarthReason by its own protocol: one random query per image, read and scored at 840 x 840 as its code does
  python jobs/evaluate.py --benchmark earthreason:/data/EarthReason --split test --preset think2seg-3b \\
      --questions random --parser think2seg --convention think2seg --out eval/earthreason

  # how far could any prompter get with this segmenter? boxes and points from the true masks, masks from SAM2
  python jobs/evaluate.py --benchmark rrsis-d:/data/RRSIS-D --size-mismatch squash --prompts truth --out eval/ceiling

  # how good was a finished run? By polygons that you have, in any CRS: they answer the run's first query
  python jobs/evaluate.py --run out/town --truth buildings.geojson --truth-query 0 --json out/town/scores.json

The same benchmark on the same --out resumes: committed parts are not done again; with another --convention they are only scored again.
--retry-failed does those again that hold a query which failed for a reason that may pass (memory, time, a process that died, a
file that could not be read). A malformed reply is an answer that was scored, and is not asked for once more.
Exit codes: 0 complete, 2 bad input (no model was loaded), 3 some queries have no answer (they count as 0), 1 anything else.

of a finished run (--run, --truth), per query; only imagery in the AOI that the run looked at counts, objects by their part there. By a
world failed tiles count too, as answered by nothing; by polygons they do not, and the class is the file's name:
  precision, recall    instances at IoU >= 0.5
  giou, giou_present   mean mask IoU over tile cores (nothing there and nothing predicted counts 1, a failed tile 0); over those that
                       hold the class
  ciou                 intersection over union of all pixels together
  rejection            share of truly empty tiles answered "nothing here"
  false_rejection      share of tiles that hold the class answered so
  false_alarms         instances that begin in a truly empty tile and touch no true object of the class
  empty_km2            ground area of truly empty tiles that were answered; per_100_km2 = false alarms per 100 km2 of it"""

RUN_FLAGS = ("run", "truth", "truth_query", "json")
"""The flags of the mode for finished runs; all others belong to a benchmark."""

OUT_FLAGS = (
    *("split", "preset", "config", "questions", "seed", "sentence", "limit"),
    *("prompts", "models", "parser", "size", "boundary_tolerance"),
)
"""What the default of --out is named after, where it is not the default itself; --convention only counts the same answers otherwise."""


def parser() -> argparse.ArgumentParser:
    """The command line: one of two modes."""
    top = argparse.ArgumentParser(
        prog="evaluate.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = top.add_argument_group("what to ask")
    what.add_argument("--benchmark", metavar="NAME:PLACE", help="see below")
    what.add_argument("--split", metavar="NAME", help="of a public data set (default: test, or the only one)")
    what.add_argument(
        "--questions",
        choices=("first", "all", "random"),
        help="wordings per target (default: the data set's own protocol)",
    )
    what.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of random queries (default: %(default)s)"
    )
    what.add_argument(
        "--sentence",
        choices=("sent", "sent+dot", "raw"),
        default="sent",
        help="text of an RRSIS-D expression that is asked",
    )
    what.add_argument("--limit", type=int, metavar="N", help="only N queries, spread evenly over the split")
    models = top.add_argument_group("models")
    models.add_argument(
        "--preset",
        default="embedded",
        help="prompter and segmenter that belong together (default: %(default)s)",
    )
    models.add_argument(
        "--config", metavar="FILE", help="TOML with the same tables as a preset, laid over it"
    )
    models.add_argument(
        "--prompts",
        choices=("preset", "truth"),
        help="truth: boxes and points of the true masks, no language model",
    )
    models.add_argument(
        "--models",
        choices=("preset", "truth"),
        default="preset",
        help="truth: prompts and masks; gIoU must then be 100 %%",
    )
    protocol = top.add_argument_group("protocol")
    names = ("paper", "think2seg", "segearth-r1", "vision-reasoner")
    protocol.add_argument(
        "--convention", choices=names, default="paper", help="how the open cases score (default: %(default)s)"
    )
    parser_help = "how replies are read (default: %(default)s)"
    protocol.add_argument("--parser", choices=("robust", "think2seg"), default="robust", help=parser_help)
    size_help = "side that image and mask are squashed to: preset (its tile side, default), native (not at all), or a number of px"
    protocol.add_argument("--size", default="preset", metavar="PX", help=size_help)
    mismatch = "mask of another size than its image: refuse (default) or squash (stretch it over the image)"
    protocol.add_argument("--size-mismatch", choices=("refuse", "squash"), default="refuse", help=mismatch)
    tolerance = "of GeoSeg's BF, as a share of the image diagonal (default: 0.0075)"
    protocol.add_argument("--boundary-tolerance", type=float, metavar="SHARE", help=tolerance)
    running = top.add_argument_group("running")
    out_help = "directory of the evaluation; the same command resumes it (default: evaluations/, named after what is asked of what)"
    running.add_argument("--out", metavar="DIR", help=out_help)
    running.add_argument(
        "--runner",
        choices=("ray", "local"),
        default="ray",
        help="ray: actors (joins RAY_ADDRESS if set); local: this process",
    )
    retry_help = "do parts again that hold a query which failed for a reason that may pass"
    running.add_argument("--retry-failed", action="store_true", help=retry_help)
    run = top.add_argument_group("instead of a benchmark: a finished run against the truth")
    run.add_argument("--run", type=Path, metavar="DIR", help="run directory of jobs/segment_region.py")
    truth_help = "world directory of jobs/make_world.py, or polygons (GeoJSON, GeoParquet, GeoPackage) of what was asked for"
    run.add_argument("--truth", type=Path, metavar="PLACE", help=truth_help)
    run.add_argument(
        "--truth-query", metavar="N|TEXT", help="query that the polygons answer (default: the only one)"
    )
    run.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    return top


def request_of(args: argparse.Namespace) -> Any:
    """The command line as an `EvaluationRequest`. Raises InputError; opens nothing."""
    from pipeline.evaluate.benchmark.prepare_benchmark import EvaluationRequest
    from pipeline.evaluate.benchmark.results import Scoring
    from pipeline.evaluate.figures.boundary import DIAGONAL_SHARE

    given = [f"--{name.replace('_', '-')}" for name in RUN_FLAGS if getattr(args, name) is not None]
    if given:
        raise InputError(
            "--benchmark cannot be combined with the mode for finished runs",
            came=given[0],
            remedy="drop one of them",
        )
    tolerance = DIAGONAL_SHARE if args.boundary_tolerance is None else args.boundary_tolerance
    if not 0 <= tolerance <= 1:
        raise InputError(
            "--boundary-tolerance is a share of the diagonal from 0 to 1",
            came=str(tolerance),
            remedy="for example 0.0075",
        )
    return EvaluationRequest(
        benchmark=args.benchmark,
        out=args.out or default_out(args),
        preset=args.preset,
        config_file=args.config,
        split=args.split,
        queries=args.questions,
        seed=args.seed,
        limit=args.limit,
        size=_size(args.size),
        size_mismatch=args.size_mismatch,
        sentence=args.sentence,
        prompts_from="truth" if args.models == "truth" else args.prompts or "preset",
        masks_from=args.models,
        parser=args.parser,
        boundary_share=tolerance,
        scoring=Scoring(convention=args.convention),
        runner=args.runner,
        retry_failed=args.retry_failed,
    )


def default_out(args: argparse.Namespace) -> str:
    """`evaluations/world-7-embedded-limit-24`: benchmark, last folder of its place or seed, split, preset, and what else was chosen."""
    name, _, place = args.benchmark.partition(":")
    words = [name, place.replace(":", "-") if name == "world" else Path(place).resolve().name]
    top = parser()
    for flag in OUT_FLAGS:
        value = getattr(args, flag)
        if flag in ("split", "preset"):
            words += [value] if value else []
        elif value != top.get_default(flag):
            words += [flag, Path(value).stem if flag == "config" else str(value)]
    return str(Path("evaluations") / re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-."))


def _size(text: str) -> Any:
    if text in ("preset", "native"):
        return text
    if not text.isdecimal() or not 16 <= int(text) <= 4096:
        raise InputError(
            "--size must be preset, native or 16 to 4096 px", came=repr(text), remedy="for example --size 840"
        )
    return int(text)


def given_flags(argv: Sequence[str] | None) -> set[str]:
    """Names of the flags that the command line holds, also of those that it sets to their default."""
    top = parser()
    unset = object()
    blank = argparse.Namespace(
        **dict.fromkeys(vars(top.parse_args([])), unset)
    )  # argparse keeps what is there already
    return {name for name, value in vars(top.parse_args(argv, blank)).items() if value is not unset}


def check_run_flags(args: argparse.Namespace, given: set[str]) -> None:
    """What can be wrong with the mode for finished runs before anything is scored. Raises InputError."""
    if foreign := sorted(f"--{name.replace('_', '-')}" for name in given.difference(RUN_FLAGS)):
        what = "--run scores what a run has left, and takes no flag that says how a benchmark is asked"
        raise InputError(
            what, came=", ".join(foreign), remedy=f"drop {'it' if len(foreign) == 1 else 'them'}"
        )
    if args.truth.is_dir() and args.truth_query is not None:
        came = f"--truth-query {args.truth_query} and a folder"
        raise InputError(
            "--truth-query belongs to polygons; a world answers every query",
            came=came,
            remedy="drop --truth-query",
        )
    if args.json is not None and (args.json.is_dir() or not args.json.parent.is_dir()):
        came = (
            f"{args.json}, which is a folder"
            if args.json.is_dir()
            else f"{args.json}, and there is no folder {args.json.parent}"
        )
        raise InputError(
            "--json must be a file in a folder that is there",
            came=came,
            remedy="make the folder, or name another file",
        )


def score_finished_run(args: argparse.Namespace) -> int:
    """The mode for finished runs: a folder is a world, a file holds polygons."""
    from pipeline.evaluate.finished_run.score_polygons import score_polygons, truth_lines
    from pipeline.evaluate.finished_run.score_run import score_run
    from pipeline.evaluate.finished_run.score_tiles import score_table
    from pipeline.evaluate.finished_run.world_truth import read_truth
    from pipeline.files.atomic_file import write_bytes_atomic
    from pipeline.write.run_json import read_run_json

    info = read_run_json(args.run / "run.json")
    if args.truth.is_dir():
        scores = score_run(args.run, read_truth(args.truth), info)
        figures = [score.figures() for score in scores]
    else:
        score, summary = score_polygons(args.run, args.truth, info, args.truth_query)
        scores = [score]
        figures = [{**score.figures(), "truth": summary}]
        print(truth_lines(summary))
    print(score_table(scores))
    if args.json:
        try:
            write_bytes_atomic(args.json, (json.dumps(figures, indent=2) + "\n").encode())
        except OSError as error:
            raise InputError(
                "--json must be writable", came=str(error), remedy="name a file in another folder"
            ) from error
    return 0


def main(argv: list[str] | None = None) -> int:
    """Evaluate or score, and print; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        if args.benchmark is not None:
            request = request_of(args)
            from pipeline.evaluate.benchmark.run_benchmark import (
                run_evaluation,  # imported only once the command line is known to be well formed
            )

            return run_evaluation(request)
        if args.run is None or args.truth is None:
            raise InputError(
                "name what to evaluate", remedy="give --benchmark NAME:PLACE, or --run DIR --truth PLACE"
            )
        check_run_flags(args, given_flags(argv))
        return score_finished_run(args)
    except TerraqueryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    signal.signal(
        signal.SIGTERM, lambda number, _: sys.exit(128 + number)
    )  # unwinds, so that the engine's processes end with this one
    sys.exit(main())
