"""The prompters of the GRPO experiment: how each is trained, and what each answers.

1. A `Step` is a prompter and how it came to be: given, taught (`sft`) or rewarded (`grpo`) from another step.
2. `folder_of` names its folder by a hash of all that makes it what it is, also the segmenter's weights.
   Experiments therefore share equal steps.
3. `train` first trains what a step starts from, then the step, with the functions behind
   `jobs/train_prompter.py`. It resumes, and does nothing twice.
4. `measure` answers samples with a trained step and keeps the rows beside it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import grpo_experiment_data as data

from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.finetune.grpo.combinations import PromptCombination
from pipeline.finetune.grpo.grpo_data import read_samples
from pipeline.finetune.grpo.grpo_options import TrainingPreset, load_training_preset
from pipeline.finetune.grpo.grpo_run import TrainingRequest, prepare_run
from pipeline.segment.sam2_model import EMBEDDED_DIR

PROFILES = {
    "box": "embedded-box",
    "points2": "embedded-points2",
    "box+points2": "embedded-box-points2",
    "box+points4": "embedded-box-points4",
    "box+points2+negatives2": "embedded-box-points2-negatives2",
    "box+point": "embedded",
}
"""Prompt combination -> the profile that reads it. The first five are those of the paper's table 6; the
last is the shipped prompter's own.
"""

PARTS = {"box": PromptCombination(box=True), "point": PromptCombination(box=False, positive=1)}
"""Name -> the part of a box with a point that the segmenter is given alone."""

OF_SELECTION = ("grpo.temperature", "grpo.max_tokens", "model.precision")
"""Settings of a training that decide which queries are selected for it."""

MEASURED = ("heldout", "seen", "seen-sampled")
"""What is measured on unseen worlds: wordings that no training saw, wordings of training, and the latter
again with sampled replies.
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an experiment lives, and what all of its steps share."""

    out: Path
    seed: int = 0
    """Seed of the order of samples and of sampling."""
    tiles: int = 2400
    """Tiles drawn for training."""
    world_seeds: tuple[int, ...] = (51, 52, 53, 54, 55, 56)
    """Worlds measured on with held-out wordings."""
    seen_tiles: int = 600
    """Tiles measured on with wordings of training."""
    pieces: int = 8
    """Most 8-connected pieces of a training target, so that replies stay short enough for a CPU."""
    temperature: float = 0.5
    """Temperature of the sampled replies that are measured."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A prompter and how it came to be: the checkpoint `given`, or trained from `start`."""

    name: str
    combination: str
    given: Path | None = None
    stage: Literal["given", "sft", "grpo"] = "given"
    start: Step | None = None
    settings: tuple[str, ...] = ()
    """Settings of the training, as in `--set`."""
    selected: int = 0
    """Number of queries asked before the training, which then uses only those whose replies earn differently.
    0: it uses all, and nothing is asked.
    """
    segmenter: tuple[str, ...] = ()
    """Settings of the segmenter it is measured with. Those of the one that rewards it are in `settings`."""
    parts: str = ""
    """Key of PARTS: the part of every reply that the segmenter is given. Empty: the whole reply."""


def with_segmenter(step: Step, name: str, settings: Sequence[str]) -> Step:
    """The same prompter, measured with another segmenter."""
    return replace(step, name=f"{step.name}, {name}", segmenter=tuple(settings))


def weights_hash(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def segmenter_hash() -> str:
    """SHA-256 of the embedded segmenter's weights. It rewards and measures where a step names no other."""
    return weights_hash(EMBEDDED_DIR)


def folder_of(place: Place, step: Step) -> Path:
    """The folder where a step is trained and its answers are kept."""
    chain: list[list[str]] = []
    at = step
    while at.start is not None:
        chain.append(
            [at.stage, at.combination, *at.settings, *([f"select {at.selected}"] if at.selected else [])]
        )
        at = at.start
    root = [weights_hash(checkpoint_of(place, at)), segmenter_hash()]
    whole = json.dumps([chain, root, place.seed, place.tiles, place.pieces] if chain else [root])
    return (
        place.out
        / "runs"
        / f"{step.stage}-{step.combination}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    )


def checkpoint_of(place: Place, step: Step) -> Path:
    """The checkpoint of a step. Raises ValueError for one that is neither given nor trained."""
    if step.given is not None:
        return step.given
    if step.start is None:
        raise ValueError(f"{step.name} has neither a checkpoint nor something to start from")
    return folder_of(place, step) / "prompter"


def preset_of(step: Step, model: Path, settings: Sequence[str]) -> TrainingPreset:
    """The training preset `embedded` with a checkpoint, the step's combination, and `settings` over both."""
    named = (
        f"model.checkpoint='{model.absolute()}'",
        f"combination='{step.combination}'",
        f"profile='{PROFILES[step.combination]}'",
    )
    return load_training_preset("embedded", [*named, *settings])


def train(place: Place, step: Step) -> None:
    """Train a step and all that it starts from."""
    if step.start is None:
        return
    train(place, step.start)
    folder = folder_of(place, step)
    if (folder / "prompter/config.json").is_file():
        return
    print(f"== {step.name}: {folder.name}", flush=True)
    where = data.training_data(place.out / "data", n_tiles=place.tiles, most_pieces=place.pieces)
    if step.selected:
        where = selected_data(place, step, where)
    preset = preset_of(step, checkpoint_of(place, step.start), step.settings)
    stage: Literal["sft", "grpo"] = "grpo" if step.stage == "grpo" else "sft"
    run = prepare_run(
        TrainingRequest(stage=stage, out=folder, data=where, preset=preset, seed=place.seed, save_every=20)
    )
    if stage == "grpo":
        from pipeline.finetune.grpo.grpo_train import train_grpo as train_step
    else:
        from pipeline.finetune.grpo.sft import train_sft as train_step
    started = time.process_time()
    train_step(run)
    write_bytes_atomic(
        folder / "cost.json",
        json.dumps({"cpu_s_since_resume": round(time.process_time() - started)}).encode(),
    )


def selected_data(place: Place, step: Step, where: Path) -> Path:
    """Ask the first `step.selected` queries of `where`; returns the folder of those whose replies, by the
    prompter that `step` starts from, earn differently.
    """
    from pipeline.finetune.grpo.select import select_queries

    if step.start is None:
        raise ValueError(f"{step.name} starts from nothing that could be asked")
    settings = tuple(setting for setting in step.settings if setting.partition("=")[0] in OF_SELECTION)
    preset = preset_of(step, checkpoint_of(place, step.start), settings)
    asked = data.first_queries(where, step.selected)
    whole = json.dumps(
        [folder_of(place, step.start).name, segmenter_hash(), *settings, asked.name, place.seed]
    )
    out = place.out / "data" / f"selected-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return select_queries(
        prepare_run(TrainingRequest(stage="select", out=out, data=asked, preset=preset, seed=place.seed))
    )


def measured_folder(place: Place, where: str) -> Path:
    """The folder of queries called `where` (one of MEASURED). It is drawn when it is missing."""
    if where == "heldout":
        return data.heldout_data(place.out / "data", seeds=place.world_seeds)
    return data.seen_data(place.out / "data", n_tiles=place.seen_tiles)


def measure(place: Place, step: Step, where: str) -> list[dict[str, Any]]:
    """The answered samples of a trained step on a measured folder, read from an earlier measurement if there
    is one.

    A step with a segmenter or parts of its own has the replies of the plain step drawn again. The model is
    not asked a second time.
    """
    from grpo_experiment_score import answer_rows, greedy_replies, sampled_replies

    from pipeline.segment.sam2_segmenter import Sam2Segmenter

    own = ";".join((*step.segmenter, step.parts)).strip(";")
    sampled = where.endswith("-sampled")
    folder = measured_folder(place, where)
    # A given prompter has the same folder for all seeds, so the seed stands in the name of the file.
    drawn = f"-seed-{place.seed}" if place.seed else ""
    kind = f"{folder.name}-sampled-{place.temperature}{drawn}" if sampled else folder.name
    name = (
        f"answers-{kind}-{hashlib.sha256(own.encode()).hexdigest()[:6]}.json"
        if own
        else f"answers-{kind}.json"
    )
    path = folder_of(place, step) / name
    if not path.is_file():
        started = time.process_time()
        preset = preset_of(step, checkpoint_of(place, step), step.segmenter)
        samples = read_samples(folder)
        plain = measure(place, replace(step, segmenter=(), parts=""), where) if own else []
        replies = [(row["reply"], row["complete"]) for row in plain]
        if sampled and not replies:
            replies = sampled_replies(preset, samples, temperature=place.temperature, seed=place.seed)
        replies = replies or greedy_replies(preset, samples)
        contract = replace(preset.contract, combination=PARTS.get(step.parts, preset.contract.combination))
        rows = list(answer_rows(samples, replies, contract, Sam2Segmenter(preset.segmenter)))
        if own:  # a reply's format is judged by what it was asked for, not by what is drawn of it
            rows = [{**row, "format": before["format"]} for row, before in zip(rows, plain, strict=True)]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(path, json.dumps(rows).encode())
        print(
            f"   {step.name}: {len(rows)} {where} samples in {time.process_time() - started:.0f} s CPU",
            flush=True,
        )
    return list(json.loads(path.read_text()))
