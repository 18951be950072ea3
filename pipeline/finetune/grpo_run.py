"""A training's folder: what it was asked, where it stands, and whether a second start may go on with it.

    options.json     every parameter and the hash of the data's table, written first
    trainer/         the trainer's checkpoints (weights, optimiser, random state, history), the newest two
    curves.csv, curves.png, tensorboard/
    prompter/        the exported checkpoint, made last; its presence means done

A selection of questions (stage `select`) has options.json, rewards.jsonl and, made last, questions/ instead.

1. `prepare_run` reads the data and checks preset, checkpoint and folder; no model is loaded. A folder of a training with other
   parameters is refused and the parameters that differ are named.
2. `newest_checkpoint` gives the last one that is whole: the trainer writes trainer_state.json after everything else, so a folder
   without it was cut off and is not used.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import InputError, RunMismatchError
from pipeline.finetune.grpo_data import TABLE, TrainingSample, read_samples
from pipeline.finetune.grpo_options import TrainingPreset, check_preset, flat_parameters
from pipeline.write.atomic_file import write_bytes_atomic

Stage = Literal["grpo", "sft", "select"]


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """Everything a training needs, checked."""

    stage: Stage
    out: Path
    data: Path
    samples: tuple[TrainingSample, ...]
    preset: TrainingPreset
    seed: int = 0
    save_every: int = 50
    """Steps between checkpoints: what a crash may cost at most."""
    log_every: int = 1

    @property
    def checkpoints(self) -> Path:
        return self.out / "trainer"

    @property
    def exported(self) -> Path:
        """The folder that is made last: a checkpoint, or a table of questions."""
        return self.out / ("questions" if self.stage == "select" else "prompter")

    @property
    def done(self) -> bool:
        return (self.exported / (TABLE if self.stage == "select" else "config.json")).is_file()


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a training is asked for, unchecked."""

    stage: Stage
    out: Path
    data: Path
    preset: TrainingPreset
    seed: int = 0
    save_every: int = 50
    log_every: int = 1


def prepare_run(request: RunRequest) -> TrainingRun:
    """Check everything that needs no model and write options.json. Raises InputError, RunMismatchError."""
    if request.save_every < 1 or request.log_every < 1:
        came = f"{request.save_every} and {request.log_every}"
        raise InputError("--save-every and --log-every must be at least 1", came=came, remedy="choose other numbers")
    check_preset(request.preset, by_reward=request.stage != "sft")
    samples = read_samples(request.data)
    needed = request.preset.grpo.questions_per_step if request.stage == "grpo" else 1
    if len(samples) < needed:
        remedy = "add questions, or lower grpo.questions_per_step"
        raise InputError("the data must hold at least the questions of one step", came=f"{len(samples)} of {needed}", remedy=remedy)
    _claim(request.out, _parameters(request))
    given = {name: getattr(request, name) for name in RunRequest.__dataclass_fields__}
    return TrainingRun(samples=samples, **given)


def _parameters(request: RunRequest) -> dict[str, Any]:
    table = hashlib.sha256((request.data / TABLE).read_bytes()).hexdigest()[:16]
    return {"stage": request.stage, "seed": request.seed, "data": table, **flat_parameters(request.preset)}


def _claim(out: Path, parameters: dict[str, Any]) -> None:
    """Write options.json, or compare with the one that is there. Raises InputError, RunMismatchError."""
    path = out / "options.json"
    if path.is_file():
        try:
            before = json.loads(path.read_text())
        except ValueError as error:
            raise InputError("--out holds a damaged options.json", came=str(error), remedy="name another folder") from error
        differ = sorted(key for key in before.keys() | parameters.keys() if before.get(key) != json.loads(json.dumps(parameters.get(key))))
        if differ:
            came = ", ".join(f"{key} was {before.get(key)!r} and is {parameters.get(key)!r}" for key in differ[:4])
            raise RunMismatchError("--out holds a training with other parameters", came=came, remedy="give the same, or another --out")
        return
    # several processes of one training come here at once: what the others are writing is not foreign
    if out.is_dir() and any(entry.name != path.name and not entry.name.startswith(".") for entry in out.iterdir()):
        raise InputError("--out must be new, empty or an earlier training", came=f"{out}, which holds other files", remedy="name another")
    write_bytes_atomic(path, (json.dumps(parameters, indent=2) + "\n").encode())


def newest_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint of the highest step; None when there is none."""
    whole = [path for path in folder.glob("checkpoint-*") if _is_whole(path)]
    return max(whole, key=checkpoint_step, default=None)


def _is_whole(path: Path) -> bool:
    try:
        state = json.loads((path / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(state, dict) and state.get("global_step") == checkpoint_step(path)


def checkpoint_step(path: Path) -> int:
    """Optimiser steps done at a checkpoint; -1 for a folder that is none."""
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1
