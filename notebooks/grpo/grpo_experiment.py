"""Does mask-only GRPO make a prompter better? The experiment and the paper's ablations, on worlds with unseen
seeds.

    python notebooks/grpo/grpo_experiment.py start-vs-grpo  --out build/grpo-experiment
    python notebooks/grpo/grpo_experiment.py combinations   --out build/grpo-experiment
    python notebooks/grpo/grpo_experiment.py segmenters     --out build/grpo-experiment
    python notebooks/grpo/grpo_experiment.py format-reward  --out build/grpo-experiment

1. `start-vs-grpo` measures two prompters before and after GRPO: one after a deliberately short supervised
   training (--start), and the full supervised one (--model).
2. `combinations` compares the five prompt combinations of Think2Seg-RS table 6 and the embedded prompter's
   own. The short start writes only the last one, so each is first taught for --sft-steps, then rewarded
   briefly.
3. `segmenters` rewards the short start briefly with several segmenters and measures with each (table 5).
   Only one segmenter is shipped; --segmenter names others. The default is the shipped one with a smaller
   image. segmenters/small.yaml beside this script has the command that trains the smaller one of the
   results; its settings go behind --segmenter small=, joined by semicolons.
4. `format-reward` rewards the short start briefly, with and without the format term.
5. `redraw` trains nothing. It draws the replies of the full prompter again: from their boxes alone, from
   their points alone, and with other image sizes of the segmenter. This is the cheap half of 2 and 3: it
   shows what the segmenter makes of prompts, not what a prompter learns from it.

The short start behind results/ is an early prompter of this project, which never saw today's form of
replies, trained for 150 steps of 12 tiles with its tower frozen. Make it with these commands and pass it as
--start build/short/prompter:

    mkdir -p build/early
    git archive d0597d1 pipeline/models/embedded-prompter | tar x -C build/early --strip-components 3
    python jobs/train_embedded.py prompter --work build/short --start build/early --tiles 20480 \\
        --language-steps 150 --joint-steps 0 --measured-tiles 48 --out build/short/prompter

Every prompter is a folder below OUT/runs. A training that was stopped goes on from there, and experiments
share equal prompters. OUT/EXPERIMENT.json, .md and .png are written again after each prompter, so an
interrupted experiment has its table too.

On Linux, MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592 before a command makes the process keep the
memory that torch has given back, which saves the time of asking for it again.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from grpo_experiment_report import write_report  # noqa: E402 - after the path above
from grpo_experiment_steps import (  # noqa: E402
    MEASURED,
    PARTS,
    PROFILES,
    Place,
    Step,
    measure,
    train,
    with_segmenter,
)

from pipeline.errors import TerraqueryError  # noqa: E402

EXPERIMENTS = ("start-vs-grpo", "combinations", "segmenters", "format-reward", "redraw")


NUMBERS: tuple[tuple[str, int, str], ...] = (
    ("seed", 0, "of order and sampling"),
    ("tiles", 2400, "drawn for training"),
    ("pieces", 8, "most pieces of a training target"),
    ("seen-tiles", 600, "measured with wordings of training"),
    ("sft-steps", 150, "steps of 8 queries that teach a prompt combination"),
    ("grpo-steps", 200, "steps of GRPO from the short start; 0 leaves it out"),
    (
        "select",
        0,
        "queries asked before the GRPO of `start-vs-grpo`, which then trains only on those whose replies "
        "earn differently; 0: train on all",
    ),
    ("full-steps", 150, "steps of GRPO from the given prompter; 0 leaves it out"),
    ("replies", 64, "replies in a step of either GRPO"),
    ("brief-steps", 80, "steps of GRPO in the ablations"),
    ("brief-replies", 32, "replies in a step of the ablations"),
    ("generations", 8, "replies to one query"),
    ("max-tokens", 128, "length of the longest sampled reply"),
)
"""Options that are whole numbers: name, default and help."""

RATES: tuple[tuple[str, float, str], ...] = (
    ("sft-rate", 1e-3, "learning rate when a combination is taught"),
    ("rate", 1e-4, "learning rate of GRPO, falling to 0"),
    ("full-rate", 1e-4, "the same from the given prompter, whose own training ended at a low rate"),
    ("temperature", 0.5, "of sampled replies"),
    ("kl", 0.0, "weight of the divergence; 0 saves a pass through a second model"),
)
"""Options that are decimal numbers: name, default and help."""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("experiment", choices=EXPERIMENTS)
    _add_prompters(top)
    for name, count, text in NUMBERS:
        top.add_argument(f"--{name}", type=int, default=count, metavar="N", help=f"{text} (default {count})")
    for name, value, text in RATES:
        top.add_argument(
            f"--{name}", type=float, default=value, metavar="X", help=f"{text} (default {value})"
        )
    _add_choices(top)
    return top


def _add_prompters(top: argparse.ArgumentParser) -> None:
    out = "folder of all experiments; the same command resumes"
    top.add_argument("--out", type=Path, required=True, metavar="DIR", help=out)
    model = ROOT / "pipeline/models/embedded-prompter"
    top.add_argument("--model", type=Path, default=model, metavar="DIR", help="the given prompter")
    start = "the short start (default: the given prompter)"
    top.add_argument("--start", type=Path, metavar="DIR", help=start)
    top.add_argument(
        "--segmenter",
        action="append",
        default=[],
        metavar="NAME=SETTINGS",
        help="a segmenter of `segmenters`: its settings, joined by ;",
    )


def _add_choices(top: argparse.ArgumentParser) -> None:
    top.add_argument(
        "--precision",
        choices=("float32", "bf16"),
        default="bf16",
        help="of products in training; weights are float32 (default bf16)",
    )
    top.add_argument(
        "--scale",
        choices=("group", "batch", "none"),
        default="group",
        help="what rewards are divided by (default group, the paper's)",
    )
    top.add_argument(
        "--only",
        nargs="+",
        choices=tuple(PROFILES),
        metavar="NAME",
        help="prompt combinations of `combinations` (default all)",
    )
    top.add_argument(
        "--world-seeds",
        type=int,
        nargs="+",
        default=[51, 52, 53, 54, 55, 56],
        metavar="N",
        help="worlds measured on",
    )
    top.add_argument(
        "--measured", nargs="+", choices=MEASURED, default=list(MEASURED), help="query sets to measure on"
    )


def steps_of(args: argparse.Namespace) -> list[Step]:
    """The prompters of an experiment, most important first."""
    given = Step(name="full supervised", combination="box+point", given=args.model)
    short = Step(name="short supervised", combination="box+point", given=args.start or args.model)
    if args.experiment == "start-vs-grpo":
        full = _rewarded(
            args,
            given,
            "full supervised + GRPO",
            steps=args.full_steps,
            replies=args.replies,
            rate=args.full_rate,
        )
        full = replace(full, selected=args.select)
        return [
            given,
            *([short, _main(args, short)] if args.grpo_steps else []),
            *([full] if args.full_steps else []),
        ]
    if args.experiment == "combinations":
        starts = [_taught(args, short, name) for name in args.only or PROFILES]
        return [step for start in starts for step in (start, _brief(args, start))]
    if args.experiment == "format-reward":
        return [
            short,
            _brief(args, short),
            _brief(args, short, ", no format term", "reward.format_weight=0.0"),
        ]
    if args.experiment == "redraw":
        alone = [replace(given, name=f"{given.name}, {part} alone", parts=part) for part in PARTS]
        sizes = [
            with_segmenter(given, f"image of {side} px", (f"segmenter.image_px={side}",))
            for side in (256, 512)
        ]
        return [given, *alone, *sizes]
    steps = [short, _brief(args, short)]
    for item in args.segmenter or ["image of 256 px=segmenter.image_px=256"]:
        name, _, joined = item.partition("=")
        settings = tuple(joined.split(";"))
        steps += [
            with_segmenter(short, name, settings),
            with_segmenter(_brief(args, short, "", *settings), name, settings),
        ]
    return steps


def _taught(args: argparse.Namespace, start: Step, combination: str) -> Step:
    precision = f"model.precision='{args.precision}'"
    settings = (f"sft.steps={args.sft_steps}", "sft.batch=8", f"sft.learning_rate={args.sft_rate}", precision)
    return Step(
        name=f"taught {combination}", stage="sft", combination=combination, start=start, settings=settings
    )


def _main(args: argparse.Namespace, start: Step, suffix: str = "", *more: str) -> Step:
    step = _rewarded(
        args, start, f"{start.name} + GRPO{suffix}", *more, steps=args.grpo_steps, replies=args.replies
    )
    return replace(step, selected=args.select)


def _brief(args: argparse.Namespace, start: Step, suffix: str = "", *more: str) -> Step:
    return _rewarded(
        args,
        start,
        f"{start.name} + brief GRPO{suffix}",
        *more,
        steps=args.brief_steps,
        replies=args.brief_replies,
    )


def _rewarded(
    args: argparse.Namespace,
    start: Step,
    name: str,
    *more: str,
    steps: int,
    replies: int,
    rate: float | None = None,
) -> Step:
    settings = (
        f"grpo.steps={steps}",
        f"grpo.generations={args.generations}",
        f"grpo.questions_per_step={replies // args.generations}",
        f"grpo.replies_per_pass={replies}",
        f"grpo.learning_rate={rate or args.rate}",
        "grpo.schedule=linear",
        f"grpo.temperature={args.temperature}",
        f"grpo.max_tokens={args.max_tokens}",
        f"grpo.kl={args.kl}",
        f"grpo.scale={args.scale}",
        f"model.precision='{args.precision}'",
        *more,
    )
    return Step(name=name, stage="grpo", combination=start.combination, start=start, settings=settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure and report; returns the exit code."""
    args = build_parser().parse_args(arguments)
    command = shlex.join(
        ["python", "notebooks/grpo/grpo_experiment.py", *(sys.argv[1:] if arguments is None else arguments)]
    )
    given = {
        "seed": args.seed,
        "tiles": args.tiles,
        "pieces": args.pieces,
        "seen_tiles": args.seen_tiles,
        "temperature": args.temperature,
    }
    place = Place(out=args.out, world_seeds=tuple(args.world_seeds), **given)
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
