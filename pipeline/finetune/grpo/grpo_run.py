"""Prepare a training's folder, or check that a training in it may continue.

    options.json     written first: every parameter, and hashes of data and models
    trainer/         the newest two checkpoints (weights, optimiser, random state, history)
    curves.csv, curves.png, tensorboard/
    prompter/        the exported checkpoint, written last: the training is done

A selection of queries (stage `select`) has options.json, rewards.jsonl and, written last, questions/.

1. `prepare_run` checks everything without loading a model.
2. `newest_checkpoint` finds the checkpoint from which a training resumes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import InputError, RunMismatchError
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.files.provenance import path_identity
from pipeline.finetune.grpo.grpo_data import TABLE, TrainingSample, check_pixels, read_samples
from pipeline.finetune.grpo.grpo_options import TrainingPreset, check_preset, flat_parameters
from pipeline.finetune.grpo.training_models import HUB, pin_training
from pipeline.prompt.prompter_checkpoint import resolve_model
from pipeline.run.models.hub_pins import asked_revisions
from pipeline.segment.sam2_model import is_hub_weights, resolve_config, resolve_path

Stage = Literal["grpo", "sft", "select"]

OPTIONS = "options.json"

SEEDS = 2**32
"""Seeds are smaller than this, as numpy requires."""

OF_THE_TABLE = ("select.least", "select.settled_share")
"""Settings of a selection that do not change its rewards. If they change, only the table is written again.
"""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A checked training, with everything that it needs."""

    stage: Stage
    out: Path
    data: Path
    samples: tuple[TrainingSample, ...]
    preset: TrainingPreset
    seed: int = 0
    save_every: int = 50
    """Steps between checkpoints; a crash loses no more."""
    log_every: int = 1

    @property
    def checkpoints(self) -> Path:
        return self.out / "trainer"

    @property
    def exported(self) -> Path:
        """The folder that is written last: a checkpoint, or a table of queries."""
        return self.out / ("questions" if self.stage == "select" else "prompter")

    @property
    def done(self) -> bool:
        return (self.exported / (TABLE if self.stage == "select" else "config.json")).is_file()


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """The parameters of a training before they are checked."""

    stage: Stage
    out: Path
    data: Path
    preset: TrainingPreset
    seed: int = 0
    save_every: int = 50
    log_every: int = 1


def prepare_run(request: TrainingRequest) -> TrainingRun:
    """Check preset, data and folder without loading a model, and write options.json.

    A new training decodes all images and masks once; a resumed one does not. Raises InputError. Raises
    RunMismatchError when the folder's training had other parameters, or when data, checkpoint, segmenter or
    profile were replaced under the same name.
    """
    if request.save_every < 1 or request.log_every < 1:
        came = f"{request.save_every} and {request.log_every}"
        raise InputError(
            "--save-every and --log-every must be at least 1", came=came, remedy="choose other numbers"
        )
    if not 0 <= request.seed < SEEDS:
        raise InputError(
            f"--seed must be a whole number from 0 to {SEEDS - 1}",
            came=str(request.seed),
            remedy="choose another",
        )
    preset, models = pin_training(request.preset, _options_before(request.out), draws=request.stage != "sft")
    request = replace(request, preset=preset)
    check_preset(preset, by_reward=request.stage != "sft")
    samples = read_samples(request.data)
    needed = request.preset.grpo.questions_per_step if request.stage == "grpo" else 1
    if len(samples) < needed:
        remedy = "add queries, or lower grpo.questions_per_step"
        raise InputError(
            "the data must hold at least the queries of one step",
            came=f"{len(samples)} of {needed}",
            remedy=remedy,
        )
    if not (request.out / OPTIONS).is_file():
        check_pixels(samples)
    _claim(request.out, {**_parameters(request), **({HUB: asked_revisions(models)} if models else {})})
    given = {name: getattr(request, name) for name in TrainingRequest.__dataclass_fields__}
    return TrainingRun(samples=samples, **given)


def _parameters(request: TrainingRequest) -> dict[str, Any]:
    """List the parameters and hashes of contents that must not change between starts, JSON-ready."""
    preset = request.preset
    flat = {
        key: value
        for key, value in flat_parameters(preset).items()
        if request.stage != "select" or key not in OF_THE_TABLE
    }
    pinned = {
        "data": hashlib.sha256((request.data / TABLE).read_bytes()).hexdigest()[:16],
        "content of model.checkpoint": path_identity(resolve_model(preset.model.checkpoint)),
        "content of profile": hashlib.sha256(
            json.dumps(asdict(preset.contract.profile), sort_keys=True).encode()
        ).hexdigest()[:16],
    }
    drawn_by = preset.segmenter
    if request.stage != "sft" and not is_hub_weights(drawn_by.checkpoint):
        pinned["content of segmenter.checkpoint"] = path_identity(str(resolve_path(drawn_by.checkpoint)))
        pinned["content of segmenter.config"] = path_identity(
            str(resolve_config(drawn_by.config, drawn_by.checkpoint))
        )
    return {"stage": request.stage, "seed": request.seed, **pinned, **flat}


def _options_before(out: Path) -> Mapping[str, Any]:
    """Read options.json as far as it can be read; `_claim` says what is wrong with it."""
    try:
        found = json.loads((out / OPTIONS).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _claim(out: Path, parameters: dict[str, Any]) -> None:
    """Write options.json, or compare with an existing one. Raises InputError, RunMismatchError."""
    path = out / OPTIONS
    if path.is_file():
        try:
            before = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(
                "--out holds a damaged options.json", came=str(error), remedy="name another folder"
            ) from error
        differ = sorted(
            key
            for key in before.keys() | parameters.keys()
            if before.get(key) != json.loads(json.dumps(parameters.get(key)))
        )
        if differ:
            came = ", ".join(
                f"{key} was {before.get(key)!r} and is {parameters.get(key)!r}" for key in differ[:4]
            )
            raise RunMismatchError(
                "--out holds a training with other parameters",
                came=came,
                remedy="give the same, or another --out",
            )
        return
    # several processes of one training arrive here at once; hidden files that they are writing are allowed
    if out.is_dir() and any(
        entry.name != path.name and not entry.name.startswith(".") for entry in out.iterdir()
    ):
        raise InputError(
            "--out must be new, empty or an earlier training",
            came=f"{out}, which holds other files",
            remedy="name another",
        )
    write_bytes_atomic(path, (json.dumps(parameters, indent=2) + "\n").encode())


def newest_checkpoint(folder: Path) -> Path | None:
    """Find the complete checkpoint with the highest step. None: there is none.

    The trainer writes trainer_state.json last, so a checkpoint without it is incomplete.
    """
    whole = [path for path in folder.glob("checkpoint-*") if _is_whole(path)]
    return max(whole, key=checkpoint_step, default=None)


def is_last(checkpoint: Path) -> bool:
    """Whether a complete checkpoint is that of the last step, so that only the export remains."""
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return 0 < int(state.get("max_steps", 0)) <= int(state["global_step"])


def _is_whole(path: Path) -> bool:
    try:
        state = json.loads((path / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(state, dict) and state.get("global_step") == checkpoint_step(path)


def checkpoint_step(path: Path) -> int:
    """Optimiser steps done at a checkpoint. -1: the folder is not a checkpoint."""
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1
