"""Train the embedded models from nothing on procedural worlds.

  prompter    the vision-language model (Qwen2.5-VL architecture, own tokenizer)
  segmenter   the mask model (SAM2 architecture, small Hiera)

Both can be stopped at any time: the same command goes on from the newest checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from pipeline.errors import InputError  # noqa: E402
from pipeline.files.lasting_path import require_lasting  # noqa: E402
from pipeline.run.job_exit import exit_code, run_job  # noqa: E402
from pipeline.run.job_options import job_parser  # noqa: E402

EPILOG = """examples:
  python jobs/train_embedded.py prompter --work build/prompter
  python jobs/train_embedded.py prompter --work build/prompter --device cuda --joint-steps 4000
  python jobs/train_embedded.py prompter --work build/longer --start pipeline/models/embedded-prompter \\
      --out build/longer/prompter
  python jobs/train_embedded.py prompter --work build/measured --start pipeline/models/embedded-prompter \\
      --measure-only
  python jobs/train_embedded.py segmenter --work build/segmenter
  python jobs/train_embedded.py segmenter --work build/further --steps 500 \\
      --start pipeline/models/embedded-segmenter/model.safetensors --out build/further/model.safetensors
  python jobs/train_embedded.py segmenter --work build/small --config notebooks/grpo/segmenters/small.yaml \\
      --out build/small/model.safetensors"""

PROMPTER_NUMBERS = (
    ("tiles", 7680, "training tiles to render, rounded up to whole chunks of 128"),
    ("vision-steps", 1000, "steps of the vision tower's warm start, 24 tiles each"),
    ("language-steps", 150, "steps of the language model on the frozen tower, 12 tiles each"),
    ("joint-steps", 600, "steps of both together, 16 tiles each; 0 = none"),
    ("measured-tiles", 256, "unseen tiles to measure on, at most 768"),
    ("seed", 0, "seed of weights and batches"),
)
"""Integer options of `prompter`: name, default and help."""

SEGMENTER_NUMBERS = (
    ("steps", 6000, "optimiser steps, 8 windows each"),
    ("warm-up", 700, "steps of the decoder alone on boxes without images; 0 = none"),
    (
        "windows",
        20000,
        "training windows to render, 330 kB of disk each; a working directory keeps its number",
    ),
    ("seed", 0, "seed of weights and batches; the windows stay the same"),
)
"""Integer options of `segmenter`: name, default and help."""


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    top = job_parser("train_embedded.py", __doc__, EPILOG)
    models = top.add_subparsers(dest="model", required=True)
    _add_prompter(models.add_parser("prompter", help="the vision-language model"))
    _add_segmenter(models.add_parser("segmenter", help="the mask model"))
    return top


def _add_prompter(prompter: argparse.ArgumentParser) -> None:
    text = "rendered tiles and checkpoints"
    prompter.add_argument("--work", type=Path, default=Path("build/prompter"), metavar="DIR", help=text)
    shipped = ROOT / "pipeline/models/embedded-prompter"
    text = (
        "where the export goes at the end: a new or empty folder, or an earlier export, which is replaced "
        "(default: the shipped one)"
    )
    prompter.add_argument("--out", type=Path, default=shipped, metavar="DIR", help=text)
    _add_numbers(prompter, PROMPTER_NUMBERS)
    prompter.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    text = (
        "go on from an exported prompter instead of training its tower from nothing; "
        "the vocabulary may differ"
    )
    prompter.add_argument("--start", type=Path, metavar="DIR", help=text)
    text = "compile the language model (needs a C++ compiler; pays in long trainings)"
    prompter.add_argument("--compile", action="store_true", help=text)
    text = (
        "train nothing: measure and export the newest checkpoint of --work; with --start, measure that "
        "export and leave it as it is"
    )
    prompter.add_argument("--measure-only", action="store_true", help=text)


def _add_segmenter(segmenter: argparse.ArgumentParser) -> None:
    shipped = ROOT / "pipeline/models/embedded-segmenter"
    text = "rendered windows and checkpoints"
    segmenter.add_argument("--work", type=Path, default=Path("build/segmenter"), metavar="DIR", help=text)
    text = (
        "where the weights go at the end; a config.yaml in that folder must be the one of --config "
        "(default: the embedded segmenter)"
    )
    weights = shipped / "model.safetensors"
    segmenter.add_argument("--out", type=Path, default=weights, metavar="FILE", help=text)
    text = "YAML of the architecture, in the sam2 package's terms (default: the embedded segmenter's)"
    segmenter.add_argument("--config", type=Path, default=shipped / "config.yaml", metavar="FILE", help=text)
    text = (
        "weights of that architecture to go on from, .safetensors or .pt, instead of training from nothing; "
        "there is no warm-up then"
    )
    segmenter.add_argument("--start", type=Path, metavar="FILE", help=text)
    _add_numbers(segmenter, SEGMENTER_NUMBERS)


def _add_numbers(parser: argparse.ArgumentParser, numbers: tuple[tuple[str, int, str], ...]) -> None:
    for name, default, text in numbers:
        help_text = f"{text} (default {default})"
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=help_text)


def train_prompter(args: argparse.Namespace) -> Path:
    """Run `prompter`; returns the exported folder, or the table of figures if it only measured an export."""
    from pipeline.finetune.prompter.prompter_options import PrompterTrainOptions
    from pipeline.finetune.prompter.prompter_run import measure_only, train

    given = {
        name: getattr(args, name)
        for name in ("work", "out", "tiles", "vision_steps", "language_steps", "joint_steps")
    }
    more = {"measured_tiles": args.measured_tiles, "seed": args.seed, "device": args.device}
    options = PrompterTrainOptions(**given, **more, start=args.start, compiled=args.compile)
    return measure_only(options) if args.measure_only else train(options)


def train_segmenter(args: argparse.Namespace) -> Path:
    """Run `segmenter`; returns the path of the weights."""
    from pipeline.finetune.segmenter.segmenter_options import SegmenterTrainOptions
    from pipeline.finetune.segmenter.segmenter_train import train
    from pipeline.finetune.segmenter.training_windows import PoolOptions

    if args.windows < 1:
        raise InputError(
            "--windows must be at least 1", came=str(args.windows), remedy="render some windows to learn from"
        )
    given = {name: getattr(args, name) for name in ("out", "config", "start", "steps", "seed")}
    return train(
        SegmenterTrainOptions(
            work_dir=args.work, box_steps=args.warm_up, pool=PoolOptions(n_windows=args.windows), **given
        )
    )


def main(argv: list[str] | None = None) -> int:
    """Train one model; returns the exit code."""
    args = build_parser().parse_args(argv)

    def work() -> int:
        require_lasting(str(args.out), "--out")
        done = train_prompter(args) if args.model == "prompter" else train_segmenter(args)
        print(f"wrote {done}")
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
