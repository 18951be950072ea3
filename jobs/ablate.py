"""Compare variants of one preset on the same samples, beside what the papers published.

python jobs/ablate.py --benchmark world:31 --axis refinement --models oracle --noise drift=0.15 --out ablation
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import add_runner_option, job_parser

if TYPE_CHECKING:
    from pipeline.evaluate.ablate.run_ablation import AblationRequest

AXES = ("refinement", "routes", "prompters", "segmenters", "combinations", "negatives", "shapes")

EPILOG = """axes: the first variant is what the others are compared with
  refinement    boxes as they come; with GeoSeg's margins of 0.2 and 0.1
  routes        GeoSeg's routes A and B by the paper's rule and the released code's; A alone; B alone; none
  prompters     the truth; the truth with mistakes; the prompter of every preset with a language model
  segmenters    embedded; MobileSAM (make mobile-sam); SAM2.1 tiny, small, base-plus, large
  combinations  box and two points; box; two points; box and four points; with two negative points
  negatives     without and with two negative points
  shapes        the fixed combination; points after the shape; a chain of boxes (--benchmark world-lines:50)

models
  oracle             prompts and masks from the truth, with the mistakes of --noise. Masks see only the box
  oracle+PRESET      such prompts, and the masks of a preset's segmenter
  PRESET             prompts and masks of a preset; PRESET+PRESET: of two
  Several, with commas, make a table each.

mistakes (--noise): mild, strong, or NAME=NUMBER,...
  box, point         standard deviation of box sides and points, as a share of the box
  drift              by which share of its size every box lies too far right and down
  miss, invent       probability that an object gets no prompt; per query, that one is invented
  edge               standard deviation of outlines, as a share of the root of the area
  leak, confuse      probability that route A, or B, marks other things of the box, too
  lose               probability that a route finds nothing
  seed               draws them; the same seed gives every variant the same mistakes

what is written to --out
  ablation.md, ablation.html, ablation.json   the table, with the papers' own rows marked as theirs
  variants/MODELS/VARIANT/                    an evaluation each, as jobs/evaluate.py writes it
  answers/                                    a language model's answers, asked for once

A variant that cannot run here stays in the table as "not run: needs CHECKPOINT". The same command goes on
where it stopped; finished variants are not computed again.

examples:
  # does refinement help boxes that drift, and what does it cost those that do not?
  python jobs/ablate.py --benchmark world:31 --axis refinement --noise drift=0.15 --out a/drift
  python jobs/ablate.py --benchmark world:31 --axis refinement --noise box=0.05 --out a/none

  # Think2Seg-RS's table 6 with true places and the embedded segmenter
  python jobs/ablate.py --benchmark world:31 --axis combinations --models oracle+embedded --out a/prompts

  # its table 5 on a public set, with published checkpoints
  python jobs/ablate.py --benchmark earthreason:/data/EarthReason --axis segmenters \\
      --models think2seg-3b --out a/sizes

Exit codes: 0 complete, 2 bad input or no variant can run, 3 some queries have no answer, 1 anything else."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("ablate.py", __doc__, EPILOG)
    what = top.add_argument_group("what to compare")
    what.add_argument("--axis", required=True, choices=AXES, help="what changes between variants")
    what.add_argument("--models", default="oracle", metavar="NAME,...", help="(default: %(default)s)")
    what.add_argument("--noise", default="none", metavar="LEVEL|NAME=N,...", help="mistakes of the oracle")
    what.add_argument(
        "--prompters",
        metavar="PRESET,...",
        help="presets on the axis prompters (default: all with a language model)",
    )
    what.add_argument(
        "--config", metavar="FILE", help="TOML with tables of a preset, laid over the base of all variants"
    )
    what.add_argument("--clip", metavar="MODEL", help="CLIP of route A: folder or hub id")
    what.add_argument("--sam3", metavar="MODEL", help="SAM3 of route B: folder or hub id")
    samples = top.add_argument_group("on which samples")
    samples.add_argument(
        "--benchmark", required=True, metavar="NAME:PLACE", help="as jobs/evaluate.py --help lists them"
    )
    samples.add_argument("--split", metavar="NAME", help="split of a public data set")
    samples.add_argument("--limit", type=int, metavar="N", help="only N queries, spread over the split")
    running = top.add_argument_group("running")
    running.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="where all goes; the same command resumes"
    )
    add_runner_option(running)
    return top


def request_of(args: argparse.Namespace) -> AblationRequest:
    """The command line as an `AblationRequest`. Raises InputError; opens no benchmark."""
    from pipeline.evaluate.ablate.ablation_axes import CLIP, SAM3, AxisOptions, read_models
    from pipeline.evaluate.ablate.run_ablation import AblationRequest
    from pipeline.evaluate.benchmark.oracle_noise import read_noise

    return AblationRequest(
        benchmark=args.benchmark,
        axis=args.axis,
        models=tuple(dict.fromkeys(read_models(text) for text in args.models.split(","))),
        out=args.out,
        noise=read_noise(args.noise),
        split=args.split,
        limit=args.limit,
        config_file=args.config,
        options=AxisOptions(
            prompters=tuple(args.prompters.split(",")) if args.prompters else (),
            clip=args.clip or CLIP,
            sam3=args.sam3 or SAM3,
        ),
        runner=args.runner,
    )


def main(argv: list[str] | None = None) -> int:
    """Compare and print; returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        from pipeline.evaluate.ablate.run_ablation import run_ablation

        return run_ablation(request_of(args))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
