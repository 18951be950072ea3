"""Measure how good the models are: a preset on a benchmark, or a finished run against the truth.

python jobs/evaluate.py --benchmark world:7 --preset embedded
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.run.box_flags import add_box_option
from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import add_preset_options, add_runner_option, job_parser
from pipeline.run.judge_flags import add_judge_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.evaluate.benchmark.prepare_benchmark import EvaluationRequest, ScoredSize
    from pipeline.evaluate.finished_run.layer_report import LayerRequest
    from pipeline.write.run_json import RunInfo

EPILOG = """benchmarks:
  world:SEED[:SIZE]    tiles of a procedural world, drawn in memory; SIZE pixels a side (default 2048)
  world-pairs              200 pairs of queries about worlds, "X with Y" and "X without Y", which exclude each
                           other: by how much do the two answers overlap?
  world-pairs:SEED[:SIZE]  the pairs of one world
  world-lines:SEED[:SIZE]  its runways and roads, and a river drawn through every tile: long targets
  earthreason:PATH     <root>/{train,val,test}/{images,labels,QAs}
  rrsis-d:PATH         <root>/rrsisd/{refs(unc).p,instances.json}, <root>/images/rrsisd/JPEGImages
  risbench:PATH        <root>/{img_rgb,mask}, <root>/output_phrase_{train,val,test}.txt
  refsegrs:PATH        <root>/{images,masks}, <root>/output_phrase_{train,val,test}.txt
  geoseg-bench:PATH    <root>/RS_ReasonSeg_Benchmark/{images,masks}, <root>/annotations/<Domain>.json
  lasers:PATH          <root>/train/{images,annotations/train_ann.json}

conventions (papers score differently when nothing is there; the table shows all four, one with intervals):
  paper                Think2Seg-RS equations 4 to 6: nothing there and nothing predicted scores 1;
                       an unreadable reply scores 0
  think2seg            its released code: only an explicit [] scores 1; cIoU leaves empty targets out;
                       P@t counts IoU >= t, among samples with a mask
  segearth-r1          its released code: an empty mask on an empty target scores 1, whatever was said
  vision-reasoner      its released code: an empty target always scores 0

parsers (how a reply becomes prompts):
  robust               keeps the good items and drops the bad ones; clips boxes to the image; asks again
                       after a malformed reply, as often as the preset says (once)
  think2seg            its released code, to reproduce published figures: one bad item refuses the whole
                       reply; nothing is clipped, reordered or dropped for its place, or asked again

optional gate and verifier:
  A benchmark runs without a gate. The verifier is off by default. It discards unlikely masks before they
  are scored, as in a run, and an answer that keeps no mask counts as a rejection. To turn it on, give a
  --config FILE with the table [verifier], mode = "crop", threshold = 0.9. jobs/calibrate_gate.py proposes
  a threshold.

judge:
  --judge shows a vision-language model each answer over the truth, with the query and without any score. It
  gives marks from 1 to 5, after GeoSeg; judges/MODEL-HASH/judge.md in --out has the means. A verdict that
  cannot be read is missing, and counted.

examples:
  # the embedded models on 24 queries about world 7;
  # writes the table, results.json, samples.parquet, and samples.html with the masks drawn
  python jobs/evaluate.py --benchmark world:7 --preset embedded --limit 24 --out eval/world

  # Think2Seg-RS on EarthReason by its own protocol: one random query per image,
  # read and scored at 840 x 840 as its code does
  python jobs/evaluate.py --benchmark earthreason:/data/EarthReason --split test --preset think2seg-3b \\
      --questions random --parser think2seg --convention think2seg --out eval/earthreason

  # how far could any prompter get with this segmenter? boxes and points from the true masks, masks from SAM2
  python jobs/evaluate.py --benchmark rrsis-d:/data/RRSIS-D --size-mismatch squash \\
      --prompts truth --out eval/ceiling

  # how good was a finished run? your own polygons, in any CRS, are the truth of its first query
  python jobs/evaluate.py --run out/town --truth buildings.geojson --truth-query 0 --json out/town/scores.json

  # beside a map: which of its buildings were found, missed or extra, and why, by district
  python jobs/evaluate.py --run out/town --truth buildings.geojson --objects out/beside --by districts.geojson

The same benchmark with the same --out resumes: finished parts are not done again. Another --convention only
scores them again. --retry-failed repeats parts with a query that failed for a passing reason: memory, time,
a process that died, a file that could not be read. A malformed reply is an answer. It was scored, and is
not asked again.
Exit codes: 0 complete, 2 bad input (no model was loaded), 3 some queries have no answer (they count as 0),
1 anything else.

figures of a finished run (--run, --truth), one row per query:
  precision, recall    instances at IoU >= 0.5
  giou, giou_present   mean mask IoU over tile cores: over all (nothing there and nothing predicted counts 1,
                       a failed tile 0), and over those that hold the class
  ciou                 intersection over union of all pixels together
  rejection            share of truly empty tiles that were answered "nothing here"
  false_rejection      share of tiles that hold the class and were answered so
  false_alarms         instances that begin in a truly empty tile and touch no true object of the class
  empty_km2            ground area of the truly empty tiles that were answered
  per_100_km2          false alarms per 100 km2 of it
  Only imagery in the AOI that the run looked at counts, and of an object only the part in there. Against a
  world, a failed tile counts as one without an answer; against polygons it does not count. The class of
  polygons is the name of their file."""

RUN_FLAGS = ("run", "truth", "truth_query", "json", "objects", "by", "by_name")
"""Flags of the mode for finished runs. All others belong to a benchmark."""

OUT_FLAGS = (
    *("split", "preset", "config", "questions", "seed", "sentence", "limit"),
    *("prompts", "truth_points", "noise", "prompt_parts", "models", "parser", "refine_boxes", "size"),
    "boundary_tolerance",
)
"""Flags that appear in the name of the default --out when they are changed. --convention is not among them:
it counts the same answers in another way.
"""


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line, which has two modes."""
    top = job_parser("evaluate.py", __doc__, EPILOG)
    _add_queries(top)
    _add_models(top)
    _add_protocol(top)
    add_judge_options(top.add_argument_group("judge"))
    _add_running(top)
    _add_finished_run(top)
    return top


def _add_queries(top: argparse.ArgumentParser) -> None:
    what = top.add_argument_group("what to ask")
    what.add_argument("--benchmark", metavar="NAME:PLACE", help="what to evaluate on; listed below")
    what.add_argument(
        "--split", metavar="NAME", help="split of a public data set (default: test, or its only one)"
    )
    what.add_argument(
        "--questions",
        choices=("first", "all", "random"),
        help="which wordings of a target to ask (default: what the data set's authors do)",
    )
    what.add_argument(
        "--seed", type=int, default=0, metavar="N", help="draws the random queries (default: %(default)s)"
    )
    what.add_argument(
        "--sentence",
        choices=("sent", "sent+dot", "raw"),
        default="sent",
        help="which text of an RRSIS-D expression to ask (default: %(default)s)",
    )
    what.add_argument("--limit", type=int, metavar="N", help="ask only N queries, spread over the split")


def _add_models(top: argparse.ArgumentParser) -> None:
    models = top.add_argument_group("models")
    add_preset_options(models, "prompter and segmenter that belong together")
    models.add_argument(
        "--prompts",
        choices=("preset", "truth"),
        help="truth: boxes and points from the true masks; no language model is loaded",
    )
    models.add_argument(
        "--truth-points",
        choices=("fixed", "shape", "chain", "four", "negatives"),
        default="fixed",
        help="with --prompts truth: a box and one or two points for every target (default); shape: more "
        "points on long ones, and one in the hole of rings; chain: a chain of boxes along long ones, "
        "rings and networks; four: four points; negatives: two, and two beside the target in its box",
    )
    models.add_argument(
        "--noise",
        metavar="LEVEL|NAME=N,...",
        help="with --prompts truth: mistakes of given size, such as mild, strong, or "
        "box=0.1,drift=0.15,point=0.1,miss=0.05,invent=0.1 (shares of the box, and probabilities)",
    )
    models.add_argument(
        "--prompt-parts",
        choices=("all", "box", "points"),
        default="all",
        help="what of each prompt reaches the segmenter (default: %(default)s)",
    )
    models.add_argument(
        "--models",
        choices=("preset", "truth"),
        default="preset",
        help="truth: prompts and masks are the true ones. gIoU must then be 100 %%: it checks the data set",
    )
    add_box_option(models)


def _add_protocol(top: argparse.ArgumentParser) -> None:
    protocol = top.add_argument_group("protocol")
    protocol.add_argument(
        "--convention",
        choices=("paper", "think2seg", "segearth-r1", "vision-reasoner"),
        default="paper",
        help="how to score where papers differ; see below (default: %(default)s)",
    )
    protocol.add_argument(
        "--parser",
        choices=("robust", "think2seg"),
        default="robust",
        help="how to read replies; see below (default: %(default)s)",
    )
    protocol.add_argument(
        "--size",
        default="preset",
        metavar="PX",
        help="squash image and mask to this side: preset (its tile side, the default), native (leave them), "
        "or 16 to 4096 px",
    )
    protocol.add_argument(
        "--size-mismatch",
        choices=("refuse", "squash"),
        default="refuse",
        help="when a mask has another size than its image: refuse (default), or squash it to fit",
    )
    protocol.add_argument(
        "--boundary-tolerance",
        type=float,
        metavar="SHARE",
        help="how far apart outlines may lie in GeoSeg's boundary F-score, as a share of the image diagonal "
        "(default: 0.0075)",
    )


def _add_running(top: argparse.ArgumentParser) -> None:
    running = top.add_argument_group("running")
    running.add_argument(
        "--out",
        metavar="DIR",
        help="where results go; the same command resumes (default: a folder below evaluations/, named after "
        "the command)",
    )
    add_runner_option(running)
    running.add_argument(
        "--retry-failed",
        action="store_true",
        help="repeat parts with a query that failed for a passing reason, such as memory or time",
    )


def _add_finished_run(top: argparse.ArgumentParser) -> None:
    run = top.add_argument_group("instead of a benchmark: a finished run against the truth")
    run.add_argument("--run", metavar="DIR", help="what jobs/segment_region.py wrote")
    run.add_argument(
        "--truth",
        type=Path,
        metavar="PLACE",
        help="folder of jobs/make_world.py, or a file of the true polygons (GeoJSON, GeoParquet, GeoPackage)",
    )
    run.add_argument(
        "--truth-query",
        metavar="N|TEXT",
        help="which query of the run the polygons answer, by number or text (default: its only one)",
    )
    run.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    run.add_argument(
        "--objects",
        type=Path,
        metavar="DIR",
        help="also compare object by object with the polygons, which need not be the truth (a map's "
        "buildings): which are found, missed and extra, and why; as a table with shapes, a page and numbers "
        "in this folder",
    )
    run.add_argument("--by", type=Path, metavar="FILE", help="districts (polygons) to count objects by")
    run.add_argument("--by-name", metavar="COLUMN", help="column of --by that holds the districts' names")


def request_of(args: argparse.Namespace) -> EvaluationRequest:
    """Turn the command line into an `EvaluationRequest`. Raises InputError; opens no file."""
    from pipeline.evaluate.benchmark.oracle_noise import NO_NOISE, read_noise
    from pipeline.evaluate.benchmark.prepare_benchmark import EvaluationRequest
    from pipeline.evaluate.benchmark.results import Scoring
    from pipeline.evaluate.benchmark.truth_models import TruthOptions
    from pipeline.evaluate.figures.boundary import DIAGONAL_SHARE
    from pipeline.prompt.box_margins import read_margins

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
        truth=TruthOptions(
            points=args.truth_points, noise=NO_NOISE if args.noise is None else read_noise(args.noise)
        ),
        prompt_parts=args.prompt_parts,
        masks_from=args.models,
        parser=args.parser,
        margins=None if args.refine_boxes is None else read_margins(args.refine_boxes),
        boundary_share=tolerance,
        scoring=Scoring(convention=args.convention),
        runner=args.runner,
        retry_failed=args.retry_failed,
    )


def default_out(args: argparse.Namespace) -> str:
    """Name the default output folder, for example `evaluations/world-7-embedded-limit-24`.

    The name holds the benchmark, its seed or the last folder of its path, split, preset, and every other flag
    that was changed.
    """
    name, _, place = args.benchmark.partition(":")
    words = [name, place.replace(":", "-") if name == "world" else Path(place).resolve().name]
    top = parser()
    for flag in OUT_FLAGS:
        value = getattr(args, flag)
        if flag in ("split", "preset"):
            words += [value] if value else []
        elif value != top.get_default(flag):
            words += [flag, Path(value).stem if flag in ("config", "refine_boxes") else str(value)]
    return str(Path("evaluations") / re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-."))


def _size(text: str) -> ScoredSize:
    if text == "preset":
        return "preset"
    if text == "native":
        return "native"
    if not text.isdecimal() or not 16 <= int(text) <= 4096:
        raise InputError(
            "--size must be preset, native or 16 to 4096 px", came=repr(text), remedy="for example --size 840"
        )
    return int(text)


def given_flags(argv: Sequence[str] | None) -> set[str]:
    """List the names of the flags on the command line, even those that repeat a default."""
    top = parser()
    unset = object()
    blank = argparse.Namespace(**dict.fromkeys(vars(top.parse_args([])), unset))
    # argparse keeps what the namespace holds already, so a flag that is not given stays unset
    return {name for name, value in vars(top.parse_args(argv, blank)).items() if value is not unset}


def check_run_flags(args: argparse.Namespace, given: set[str]) -> None:
    """Check the flags of the mode for finished runs before anything is scored. Raises InputError."""
    if foreign := sorted(f"--{name.replace('_', '-')}" for name in given.difference(RUN_FLAGS)):
        raise InputError(
            "--run scores what a run has left, and takes no flag that says how a benchmark is asked",
            came=", ".join(foreign),
            remedy=f"drop {'it' if len(foreign) == 1 else 'them'}",
        )
    if args.truth.is_dir() and args.truth_query is not None:
        raise InputError(
            "--truth-query belongs to polygons; a world answers every query",
            came=f"--truth-query {args.truth_query} and a folder",
            remedy="drop --truth-query",
        )
    if args.objects is not None and args.truth.is_dir():
        raise InputError(
            "--objects compares with a file of polygons",
            came=f"--truth {args.truth}, which is a folder",
            remedy=f"give {args.truth / 'truth.parquet'}, or drop --objects",
        )
    if args.objects is None and (args.by is not None or args.by_name is not None):
        raise InputError("--by belongs to --objects", came="no --objects", remedy="add --objects DIR")
    if args.json is not None and (args.json.is_dir() or not args.json.parent.is_dir()):
        why = "which is a folder" if args.json.is_dir() else f"and there is no folder {args.json.parent}"
        raise InputError(
            "--json must be a file in a folder that is there",
            came=f"{args.json}, {why}",
            remedy="make the folder, or name another file",
        )


def score_finished_run(args: argparse.Namespace) -> int:
    """Score a run and print the figures; returns 0. --truth names a world's folder or a file of polygons."""
    from pipeline.evaluate.finished_run.score_polygons import score_polygons, truth_lines
    from pipeline.evaluate.finished_run.score_run import score_run
    from pipeline.evaluate.finished_run.score_tiles import score_table
    from pipeline.evaluate.finished_run.world_truth import read_truth
    from pipeline.files.atomic_file import write_bytes_atomic
    from pipeline.files.output_folder import writing_to
    from pipeline.write.run_document import finished_run
    from pipeline.write.run_json import read_run_json

    info = read_run_json(finished_run(args.run).run_json)
    beside = None if args.objects is None else layer_request(args, info)
    if args.truth.is_dir():
        scores = score_run(args.run, read_truth(args.truth), info)
        figures = [score.figures() for score in scores]
    else:
        score, summary = score_polygons(args.run, args.truth, info, args.truth_query)
        scores = [score]
        figures = [{**score.figures(), "truth": summary}]
        print(truth_lines(summary))
    print(score_table(scores))
    if beside is not None:
        print("\n".join(compare_with_layer(beside, info)))
    if args.json:
        with writing_to(args.json, "--json"):
            write_bytes_atomic(args.json, (json.dumps(figures, indent=2) + "\n").encode())
    return 0


def layer_request(args: argparse.Namespace, info: RunInfo) -> LayerRequest:
    """What --objects asks for, with its districts read. Raises InputError."""
    from pipeline.assess.districts import read_districts
    from pipeline.evaluate.finished_run.layer_report import LayerRequest
    from pipeline.files.output_folder import require_folder, require_no_run

    require_folder(args.objects, "--objects")
    require_no_run(args.objects, "--objects")
    by = args.by and read_districts(args.by, info.lattice.grid, column=args.by_name)

    def district_of(points: NDArray[np.object_]) -> list[str]:
        names = (*by.names, "")
        return [names[at] for at in by.place_of(points).tolist()]

    return LayerRequest(
        run=args.run,
        layer=args.truth,
        query=args.truth_query,
        out=args.objects,
        district_of=district_of if by else None,
    )


def compare_with_layer(request: LayerRequest, info: RunInfo) -> list[str]:
    """Compare a run with the polygons of --truth object by object; returns what to print."""
    from pipeline.evaluate.finished_run.layer_report import layer_lines, write_layer_report

    summary = write_layer_report(request, info)
    return ["", *layer_lines(summary), str(request.out / "layer.html")]


def evaluate_benchmark(request: EvaluationRequest, args: argparse.Namespace) -> int:
    """Evaluate, and let a judge rate the answers if one is named; returns the evaluation's exit code."""
    # heavy imports wait until the command line is known to be well formed
    from pipeline.evaluate.benchmark.prepare_benchmark import plan_evaluation
    from pipeline.evaluate.benchmark.run_benchmark import run_evaluation
    from pipeline.evaluate.judge.judge_run import judge_evaluation
    from pipeline.evaluate.judge.vllm_judge import check_judge, judge_options

    if args.judge is None:
        if args.judge_config is not None:
            raise InputError("--judge-config is for the engine of --judge", remedy="name the judge as well")
        return run_evaluation(request)
    judge = judge_options(args.judge, args.judge_config)
    check_judge(judge)
    code = run_evaluation(request)
    judge_evaluation(plan_evaluation(request, say=lambda _: None), judge)
    return code


def main(argv: list[str] | None = None) -> int:
    """Evaluate or score, and print; returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        if args.benchmark is not None:
            request = request_of(args)
            return evaluate_benchmark(request, args)
        if args.run is None or args.truth is None:
            raise InputError(
                "name what to evaluate", remedy="give --benchmark NAME:PLACE, or --run DIR --truth PLACE"
            )
        check_run_flags(args, given_flags(argv))
        return score_finished_run(args)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
