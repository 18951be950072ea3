"""Does mask-only GRPO make a prompter better? The experiment and the paper's ablations, on procedural worlds with unseen seeds.

    python tests/benchmarks/grpo_experiment.py start-vs-grpo  --out build/grpo-experiment
    python tests/benchmarks/grpo_experiment.py combinations   --out build/grpo-experiment
    python tests/benchmarks/grpo_experiment.py segmenters     --out build/grpo-experiment
    python tests/benchmarks/grpo_experiment.py format-reward  --out build/grpo-experiment

1. `start-vs-grpo`: a short supervised start (--start: the first prompter this project shipped, which had about 80 minutes of supervised
   training on one core) and the full one (--model), and both after mask-only GRPO.
2. `combinations`: the five prompt combinations of Think2Seg-RS table 6. The given prompter writes none of them but the box, so each is
   taught for --sft-steps, then rewarded briefly.
3. `segmenters`: GRPO from the short start and measurement with several segmenters (table 5). There is one embedded segmenter;
   --segmenter names others, by default the same weights shown a smaller image.
4. `format-reward`: GRPO from the short start with and without the format term of the reward.
5. `redraw`: no training. The replies of the full prompter are drawn again from their boxes alone, from their points alone, and by the
   segmenter at other image sizes. The cheap half of 2 and 3: what the segmenter makes of prompts, not what a prompter learns from it.

The prompters of the figures in notebooks/results are in the repository's history (--start build/first and --model build/full):
    mkdir -p build/first build/full
    git archive 36f16b1 pipeline/models/embedded-prompter | tar x -C build/first --strip-components 3
    git archive d0597d1 pipeline/models/embedded-prompter | tar x -C build/full --strip-components 3

Every prompter is a folder below OUT/runs that resumes; experiments share equal ones. Results: OUT/<experiment>.json, .md, .png,
rewritten after each prompter, so that an interrupted experiment has its table too.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.grpo_experiment_report import write_report  # noqa: E402 - after the path above
from benchmarks.grpo_experiment_steps import MEASURED, PARTS, PROFILES, Place, Step, measure, train, with_segmenter  # noqa: E402

from pipeline.errors import TerraqueryError  # noqa: E402

EXPERIMENTS = ("start-vs-grpo", "combinations", "segmenters", "format-reward", "redraw")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("experiment", choices=EXPERIMENTS)
    top.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of all experiments; the same command resumes")
    top.add_argument("--model", type=Path, default=ROOT / "pipeline/models/embedded-prompter", metavar="DIR", help="the given prompter")
    top.add_argument("--start", type=Path, metavar="DIR", help="the short start (default: the given prompter)")
    top.add_argument("--segmenter", action="append", default=[], metavar="NAME=SETTINGS", help="of `segmenters`: settings joined by ;")
    for name, default, text in (
        ("seed", 0, "of order and sampling"),
        ("tiles", 480, "drawn for training"),
        ("seen-tiles", 200, "measured with wordings of training"),
        ("sft-steps", 150, "of teaching a prompt combination, 8 questions each"),
        ("grpo-steps", 48, "of GRPO from the short start"),
        ("full-steps", 32, "of GRPO from the given prompter"),
        ("replies", 32, "of a step of both"),
        ("long-steps", 0, "of a longer GRPO from the short start; 0 = none"),
        ("long-replies", 64, "of a step of it"),
        ("brief-steps", 16, "of GRPO after a taught combination"),
        ("brief-replies", 32, "of a step of it"),
        ("generations", 8, "replies to one question"),
        ("max-tokens", 96, "longest sampled reply"),
    ):
        top.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{text} (default {default})")
    for name, value, text in (
        ("sft-rate", 1e-3, "learning rate of teaching a combination"),
        ("rate", 2e-4, "learning rate of GRPO, falling to 0"),
        ("temperature", 0.8, "of sampled replies"),
        ("kl", 0.0, "weight of the divergence; 0 saves a pass through a second model"),
    ):
        top.add_argument(f"--{name}", type=float, default=value, metavar="X", help=f"{text} (default {value})")
    top.add_argument("--world-seeds", type=int, nargs="+", default=[51, 52, 53, 54, 55, 56], metavar="N", help="worlds measured on")
    top.add_argument("--measured", nargs="+", choices=MEASURED, default=list(MEASURED), help="question sets to measure on")
    return top


def steps_of(args: argparse.Namespace) -> list[Step]:
    """The prompters of an experiment, most important first."""
    given = Step(name="full supervised", combination="box+point", given=args.model)
    short = Step(name="short supervised", combination="box+point", given=args.start or args.model)
    if args.experiment == "start-vs-grpo":
        full = _rewarded(args, given, "full supervised + GRPO", steps=args.full_steps, replies=args.replies)
        more = {"steps": args.long_steps, "replies": args.long_replies}
        longer = [_rewarded(args, short, "short supervised + longer GRPO", **more)] if args.long_steps else []
        return [given, short, _main(args, short), full, *longer]
    if args.experiment == "combinations":
        starts = [_taught(args, given, name) for name in PROFILES if name != "box+point"]
        return [step for start in starts for step in (start, _brief(args, start))]
    if args.experiment == "format-reward":
        return [short, _main(args, short), _main(args, short, ", no format term", "reward.format_weight=0.0")]
    if args.experiment == "redraw":
        alone = [replace(given, name=f"{given.name}, {part} alone", parts=part) for part in PARTS]
        sizes = [with_segmenter(given, f"image of {side} px", (f"segmenter.image_px={side}",)) for side in (256, 512)]
        return [given, *alone, *sizes]
    steps = [short, _main(args, short)]
    for item in args.segmenter or ["image of 256 px=segmenter.image_px=256"]:
        name, _, joined = item.partition("=")
        settings = tuple(joined.split(";"))
        steps += [with_segmenter(short, name, settings), with_segmenter(_main(args, short, "", *settings), name, settings)]
    return steps


def _taught(args: argparse.Namespace, start: Step, combination: str) -> Step:
    settings = (f"sft.steps={args.sft_steps}", "sft.batch=8", f"sft.learning_rate={args.sft_rate}")
    return Step(name=f"taught {combination}", stage="sft", combination=combination, start=start, settings=settings)


def _main(args: argparse.Namespace, start: Step, suffix: str = "", *more: str) -> Step:
    return _rewarded(args, start, f"{start.name} + GRPO{suffix}", *more, steps=args.grpo_steps, replies=args.replies)


def _brief(args: argparse.Namespace, start: Step, suffix: str = "", *more: str) -> Step:
    return _rewarded(args, start, f"{start.name} + brief GRPO{suffix}", *more, steps=args.brief_steps, replies=args.brief_replies)


def _rewarded(args: argparse.Namespace, start: Step, name: str, *more: str, steps: int, replies: int) -> Step:
    settings = (
        f"grpo.steps={steps}",
        f"grpo.generations={args.generations}",
        f"grpo.questions_per_step={replies // args.generations}",
        f"grpo.replies_per_pass={replies}",
        f"grpo.learning_rate={args.rate}",
        "grpo.schedule=linear",
        f"grpo.temperature={args.temperature}",
        f"grpo.max_tokens={args.max_tokens}",
        f"grpo.kl={args.kl}",
        *more,
    )
    return Step(name=name, stage="grpo", combination=start.combination, start=start, settings=settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure and report; returns the exit code."""
    args = build_parser().parse_args(arguments)
    command = shlex.join(["python", "tests/benchmarks/grpo_experiment.py", *(sys.argv[1:] if arguments is None else arguments)])
    place = Place(out=args.out, seed=args.seed, tiles=args.tiles, world_seeds=tuple(args.world_seeds), seen_tiles=args.seen_tiles)
    try:
        done: list[Step] = []
        for step in steps_of(args):
            train(place, step)
            for where in args.measured:
                measure(place, step, where)
            done.append(step)
            write_report(place, args.experiment, done, tuple(args.measured), command)
    except TerraqueryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print((args.out / f"{args.experiment}.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
