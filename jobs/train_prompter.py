"""Train a prompter on masks alone.

  grpo    mask-only GRPO (Think2Seg-RS): sample replies, let the frozen segmenter draw them, and pay each by
          its format and by the overlap of its masks with the true one
  sft     a short supervised warm start on replies made from the masks; its export is the --model of grpo
  select  find the queries that grpo can learn from: those whose sampled replies do not all earn the same.
          The others cost as much and teach next to nothing.

All three can be stopped at any time. The same command goes on from the newest checkpoint; a crash costs the
steps since then.

Training data (--data) is a folder, a split of EarthReason, or worlds, which are drawn if they are missing:
  FOLDER            questions.jsonl, with one line per question:
                      {"image": "images/a.png", "mask": "masks/a.png", "question": "storage tanks"}
                    Image and mask have one size. Mask above 0: the target. "mask": null: it is not there.
  earthreason:ROOT  the training split (ROOT/train/{images,labels,QAs}), one question per image (--seed)
  edits:RUN         a run that a person corrected (jobs/edit_run.py): its tiles that were wholly judged and in
                    which every object has a mark. The target is what was accepted, redrawn or added; where
                    all was rejected, it is not there. The run's imagery must still be in its place. Tiles
                    are written beside OUT
  world[:SEED]      procedural worlds from SEED on (default 300000), --tiles of them, drawn once beside OUT

Written to --out:
  prompter/         the trained checkpoint: the --model of the next training, or prompter.model in a preset of
                    segment_region.py
  curves.csv        per step: reward and its parts, IoU, rejection, reply length, divergence, loss
  curves.png        the same as a picture; tensorboard/ has the same as events (tensorboard --logdir OUT)
  trainer/          checkpoints to resume from; options.json has every parameter of the training
  questions/        (select) the selected questions, the --data of the next training
  rewards.jsonl     (select) what every reply earned
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from pipeline.errors import InputError  # noqa: E402
from pipeline.files.lasting_path import require_lasting  # noqa: E402
from pipeline.finetune.grpo.grpo_options import (  # noqa: E402
    TrainingPreset,
    check_preset,
    known_training_presets,
    load_training_preset,
)
from pipeline.finetune.grpo.grpo_run import TrainingRequest, prepare_run  # noqa: E402
from pipeline.run.args_file import JobParser  # noqa: E402
from pipeline.run.job_exit import exit_code, run_job  # noqa: E402

EPILOG = """examples:
  python jobs/train_prompter.py grpo --data world --tiles 400 --out build/grpo
  python jobs/train_prompter.py grpo --data world --tiles 64 --out build/try --steps 4 \\
      --set grpo.generations=4
  python jobs/train_prompter.py sft  --data my-images --preset think2seg-3b --out build/warm \\
      --model checkpoints/Qwen2.5-VL-3B
  python jobs/train_prompter.py grpo --data my-images --preset think2seg-3b --out build/grpo \\
      --model build/warm/prompter
  python jobs/train_prompter.py sft  --data edits:out/tanks --out build/corrected --steps 100
  python jobs/train_prompter.py select --data world --tiles 4000 --out build/select \\
      --set grpo.temperature=0.7
  python jobs/train_prompter.py grpo --data build/select/questions --out build/grpo \\
      --set grpo.temperature=0.7 --set grpo.scale=none
  accelerate launch --config_file pipeline/presets/training/zero3.yaml \\
      jobs/train_prompter.py grpo --preset think2seg-3b --data my-images --out build/grpo

The last one trains on several GPUs. It needs DeepSpeed, which is built from source, in an extra of its own:
  make setup EXTRA=gpu,deepspeed

settings worth knowing (--set table.key=value, as in pipeline/presets/training/*.toml):
  grpo.scale=none                advantages by the reward alone, not divided by the deviation of their group
  select.least=0.1               keep a query when its rewards deviate by at least this much
  model.vision=frozen            train the language model alone
  model.lora_rank=8              train adapters instead of the weights; the export has them merged in
  model.generation=transformers  sample replies without vLLM on a GPU
  reward.rule=authors-code       the two format rewards and the strict parser of the released code
  reward.format_weight=0         reward by overlap alone
  segmenter.checkpoint=PATH      another SAM2 (with segmenter.config)"""

STAGES = {
    "grpo": "reward by the overlap of the segmenter's masks",
    "sft": "supervised warm start",
    "select": "queries that grpo can learn from",
}


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    shown: dict[str, Any] = {
        "description": __doc__,
        "epilog": EPILOG,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    top = JobParser(prog="train_prompter.py", **shown)
    stages = top.add_subparsers(dest="stage", required=True)
    for stage, text in STAGES.items():
        one = stages.add_parser(stage, help=text, **shown)
        _add_places(one)
        _add_prompter(one)
        if stage != "select":
            _add_steps(one)
        one.add_argument(
            "--seed", type=int, default=0, metavar="N", help="seed of order and sampling (default 0)"
        )
        one.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            dest="settings",
            help="any setting of the preset",
        )
    return top


def _add_places(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--data", required=True, metavar="SOURCE", help="FOLDER, earthreason:ROOT, edits:RUN or world[:SEED]"
    )
    one.add_argument(
        "--tiles", type=int, default=400, metavar="N", help="tiles to draw for --data world (default 400)"
    )
    text = "folder of this training; the same command resumes it"
    one.add_argument("--out", required=True, type=Path, metavar="DIR", help=text)


def _add_prompter(one: argparse.ArgumentParser) -> None:
    text = f"{', '.join(known_training_presets())}, or a .toml file (default embedded)"
    one.add_argument("--preset", default="embedded", metavar="NAME", help=text)
    one.add_argument("--model", metavar="PATH|ID", help="checkpoint to start from (default: the preset's)")
    text = "prompt combination, for example box or box+points2 (default: the preset's)"
    one.add_argument("--combination", metavar="NAME", help=text)
    text = "profile that asks for this combination and reads it (default: the preset's)"
    one.add_argument("--profile", metavar="NAME|FILE", help=text)


def _add_steps(one: argparse.ArgumentParser) -> None:
    one.add_argument("--steps", type=int, metavar="N", help="optimiser steps (default: the preset's)")
    text = "steps between checkpoints (default 50)"
    one.add_argument("--save-every", type=int, default=50, metavar="N", help=text)


def preset_of(args: argparse.Namespace) -> TrainingPreset:
    """Read the preset and apply the options of the command line. Raises InputError."""
    named = {"model.checkpoint": args.model, "combination": args.combination, "profile": args.profile}
    if args.stage != "select":
        named[f"{args.stage}.steps"] = args.steps
    given = [
        f"{key}={value}" if isinstance(value, int) else f"{key}='{value}'"
        for key, value in named.items()
        if value is not None
    ]
    return load_training_preset(args.preset, [*given, *args.settings])


def data_of(args: argparse.Namespace) -> Path:
    """Find the folder of the data; write a data set's table or draw worlds if needed. Raises InputError."""
    name, _, place = args.data.partition(":")
    if Path(args.data).is_dir() or name not in ("world", "earthreason", "edits"):
        return Path(args.data)
    if name == "earthreason":
        from pipeline.finetune.grpo.earthreason_data import write_table

        return write_table(
            Path(place), args.out.parent / f"{args.out.name}-earthreason-{args.seed}", seed=args.seed
        )
    if name == "edits":
        from pipeline.finetune.grpo.edited_data import write_edited

        told = write_edited(place, args.out)
        print(f"{told.folder}  {told.text()}")
        return told.folder
    from pipeline.finetune.grpo.world_data import FIRST_GRPO_SEED, render_worlds

    if place and not place.isdecimal():
        raise InputError(
            "--data world:SEED needs a whole number",
            came=repr(place),
            remedy=f"for example world:{FIRST_GRPO_SEED}",
        )
    first = int(place or FIRST_GRPO_SEED)
    out: Path = args.out
    folder = out.parent / f"{out.name}-world-{first}-{args.tiles}"
    render_worlds(folder, n_tiles=args.tiles, first_seed=first)
    return folder


def main(argv: list[str] | None = None) -> int:
    """Train; returns the exit code."""
    args = build_parser().parse_args(argv)

    def work() -> int:
        require_lasting(str(args.out), "--out")
        preset = preset_of(args)
        check_preset(preset, by_reward=args.stage != "sft")  # before worlds are drawn
        saving = {} if args.stage == "select" else {"save_every": args.save_every}
        run = prepare_run(
            TrainingRequest(
                stage=args.stage, out=args.out, data=data_of(args), preset=preset, seed=args.seed, **saving
            )
        )
        if args.stage == "grpo":
            from pipeline.finetune.grpo.grpo_train import train_grpo as train
        elif args.stage == "select":
            from pipeline.finetune.grpo.select import select_queries as train
        else:
            from pipeline.finetune.grpo.sft import train_sft as train
        print(f"wrote {train(run)}")
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
