"""Options of a prompter's training by reward.

A preset (`pipeline/presets/training/*.toml`) holds them, and `--set` overrides single keys. `check_preset`
finds mistakes before any model is loaded. `think2seg-3b` and `think2seg-7b` hold the hyper-parameters of the
paper (Think2Seg-RS section 4.1.3), with a comment where the released scripts differ. `embedded` trains the
small prompter that ships with the package.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.finetune.grpo.combinations import find_combination
from pipeline.finetune.grpo.rewards import Contract, RewardOptions
from pipeline.options import parse_table, read_toml
from pipeline.prompt.image_rules import local_image_rule
from pipeline.prompt.profile import load_profile
from pipeline.prompt.prompter_checkpoint import (
    check_checkpoint,
    check_image_size,
    checkpoint_folder,
    resolve_model,
)
from pipeline.segment.build_segmenter import check_sam2_options
from pipeline.segment.segmenter import Sam2Options

PRESET_DIR = Path(__file__).parents[2] / "presets" / "training"

Schedule = Literal["linear", "cosine", "constant"]
RewardScale = Literal["group", "batch", "none"]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which checkpoint, and which part of it, is trained."""

    checkpoint: str
    """Directory of a checkpoint, models/<name> for one that ships with the package, or a hub id."""
    revision: str | None = None
    """Branch, tag or commit of a hub id; a training puts the commit here. None: its main branch."""
    vision: Literal["trained", "frozen"] = "trained"
    """Whether the vision tower learns. The paper and the released scripts train the whole LVLM."""
    precision: Literal["bf16", "float32"] = "bf16"
    """Arithmetic of forward and backward passes. The weights stay float32, since bfloat16 would lose an
    update of 1e-6.
    """
    lora_rank: int = 0
    """Rank of low-rank adapters on all linear layers that learn. 0: the weights themselves are trained."""
    lora_alpha: int = 16
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Attention implementation of transformers. eager keeps every pair of tokens in memory, but is faster for
    short sequences on a CPU.
    """
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: less memory, more time."""
    generation: Literal["auto", "vllm", "transformers"] = "auto"
    """Library that samples the replies. auto: vLLM in the same process on a GPU, transformers on a CPU."""
    vllm_memory: float = 0.3
    """Share of the GPU that vLLM may take."""

    def __post_init__(self) -> None:
        if self.lora_rank < 0 or self.lora_alpha < 1 or not 0 < self.vllm_memory < 1:
            raise ValueError(
                f"lora_rank must not be negative, lora_alpha above 0 and vllm_memory a share, got {self}"
            )


@dataclass(frozen=True, kw_only=True)
class GrpoOptions:
    """Group-relative policy optimisation (Think2Seg-RS section 3.2.1, equations 1 and 2)."""

    steps: int | None = None
    """Optimiser steps. None: `epochs` passes over the data."""
    epochs: float = 5.0
    generations: int = 16
    """Replies sampled per query (G in the paper)."""
    questions_per_step: int = 1
    """Queries per optimiser step, over all devices."""
    replies_per_pass: int = 16
    """Replies per device in one forward and backward pass. A step sums the gradients of several passes."""
    learning_rate: float = 1e-6
    weight_decay: float = 0.0
    schedule: Schedule = "linear"
    kl: float = 1e-3
    """Weight of the divergence from the starting checkpoint (beta in the paper)."""
    clip: float = 0.2
    """Limit of the clipped ratio (epsilon in the paper)."""
    scale: RewardScale = "group"
    """A reply's advantage is its reward minus the mean of its group, divided by this. group: the group's
    standard deviation (equation 1). batch: that of all rewards of the step. none: 1.

    With `group`, a one-pixel difference in one group weighs as much as a missed object in another. The other
    two keep the sizes of the rewards ("Dr. GRPO", arXiv 2503.20783, section 3).
    """
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 50
    """Number of most likely tokens from which one is drawn. 0: no limit."""
    max_tokens: int | None = None
    """Longest reply in tokens. None: the profile's."""

    def __post_init__(self) -> None:
        counts = (
            self.generations,
            self.questions_per_step,
            self.replies_per_pass,
            *_given(self.steps, self.max_tokens),
        )
        if min(counts) < 1 or self.generations < 2 or self.epochs <= 0:
            raise ValueError(
                f"generations must be at least 2, epochs above 0, the other counts at least 1, got {self}"
            )
        if self.replies_per_step % self.replies_per_pass:
            came = f"{self.generations} x {self.questions_per_step} and {self.replies_per_pass}"
            raise ValueError(
                f"generations x questions_per_step must be a whole number of replies_per_pass, got {came}"
            )
        if (
            self.learning_rate <= 0
            or self.temperature <= 0
            or not 0 < self.top_p <= 1
            or min(self.kl, self.top_k, self.weight_decay) < 0
        ):
            raise ValueError(
                f"rates and temperature must be above 0, top_p a share, kl and top_k not negative, got {self}"
            )

    @property
    def replies_per_step(self) -> int:
        return self.generations * self.questions_per_step


def _given(*numbers: int | None) -> tuple[int, ...]:
    """Drop the numbers that are None."""
    return tuple(number for number in numbers if number is not None)


@dataclass(frozen=True, kw_only=True)
class SftOptions:
    """The supervised warm start: replies made from the masks, one per query."""

    steps: int = 200
    batch: int = 16
    """Queries per optimiser step and device."""
    learning_rate: float = 1e-5
    weight_decay: float = 0.0
    schedule: Schedule = "cosine"
    style: Literal["cells", "fenced"] = "fenced"
    """Form of a taught answer. cells: bare JSON without spaces, points first. fenced: JSON in a code fence,
    box first.
    """

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError(f"steps, batch and learning_rate must be above 0, got {self}")


@dataclass(frozen=True, kw_only=True)
class SelectOptions:
    """The selection of queries that GRPO can learn from (`select`)."""

    replies: int = 4
    """Replies sampled per query, with the sampling options of `grpo`."""
    least: float = 0.1
    """A query is kept when the standard deviation of its rewards is at least this."""
    settled_share: float = 0.2
    """Share of the other queries that are kept too, drawn from the seed. They show whether the policy
    unlearns what it knows.
    """

    def __post_init__(self) -> None:
        if self.replies < 2 or self.least <= 0 or not 0 <= self.settled_share <= 1:
            raise ValueError(
                f"replies must be at least 2, least above 0 and settled_share a share, got {self}"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingPreset:
    """The tables of a training preset."""

    profile: str
    """Name of the profile: how the prompter is asked and answers (`pipeline/prompt/profiles`)."""
    combination: str
    """Name of the prompt combination: the parts of every item (`combinations.COMBINATIONS`)."""
    model: ModelOptions
    reward_px: tuple[int, int] | None = None
    """(width, height) in px to which image and mask are squashed for the segmenter. None: their own size."""
    grpo: GrpoOptions = field(default_factory=GrpoOptions)
    sft: SftOptions = field(default_factory=SftOptions)
    select: SelectOptions = field(default_factory=SelectOptions)
    reward: RewardOptions = field(default_factory=RewardOptions)
    segmenter: Sam2Options = field(default_factory=Sam2Options)

    @property
    def contract(self) -> Contract:
        """Make the contract of replies.

        Raises InputError when profile or combination is unknown, or when the profile cannot read the
        combination.
        """
        profile = load_profile(self.profile)
        return Contract(
            profile=profile, combination=find_combination(self.combination, profile), rule=self.reward.rule
        )


def known_training_presets() -> tuple[str, ...]:
    """List the training presets that ship with the package, sorted by name."""
    return tuple(sorted(path.stem for path in PRESET_DIR.glob("*.toml")))


def load_training_preset(name: str, settings: Sequence[str] = ()) -> TrainingPreset:
    """Load a preset by name, or from the path of a .toml file.

    `settings`: texts `table.key=value` that override its keys. Raises InputError: unknown preset, unreadable
    file, unknown key, ill-typed value.
    """
    if not name.endswith(".toml") and name not in known_training_presets():
        remedy = f"use one of {', '.join(known_training_presets())}, or the path of a .toml file"
        raise InputError("--preset must name a training preset", came=repr(name), remedy=remedy)
    path = Path(name) if name.endswith(".toml") else PRESET_DIR / f"{name}.toml"
    tables = read_toml(path, "the training preset")
    for setting in settings:
        _lay_over(tables, setting)
    return parse_table(TrainingPreset, tables, f"training preset {path.stem}")


def _lay_over(tables: dict[str, Any], setting: str) -> None:
    """Set `a.b=value` in nested tables, in place. A value that is not TOML is a text."""
    key, equals, text = setting.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise InputError(
            "--set is written table.key=value",
            came=repr(setting),
            remedy="for example --set grpo.learning_rate=2e-6",
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = tables
    for part in parts[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise InputError(
                "--set must name a key of a table",
                came=repr(setting),
                remedy=f"{part} is a value, not a table",
            )
        table = inner
    table[parts[-1]] = value


def uses_vllm(model: ModelOptions) -> bool:
    """Whether replies are sampled by vLLM on this machine."""
    if model.generation == "transformers":
        return False
    import torch

    return model.generation == "vllm" or bool(torch.cuda.is_available())


def check_preset(preset: TrainingPreset, *, by_reward: bool) -> None:
    """Check a preset from headers of files, without loading a model. Raises InputError.

    The checkpoint must exist and have an architecture that can be prompted. Its processor must keep the
    profile's image as it is, and the profile must be able to read the combination. With `by_reward` the
    training scores masks of sampled replies: the segmenter must be a SAM2 that fits its config, and vLLM, if
    used, must be installed and have a GPU.
    """
    contract = preset.contract
    path = resolve_model(preset.model.checkpoint)
    check_checkpoint(path, preset.model.revision)
    folder = checkpoint_folder(path, preset.model.revision)
    rule = None if folder is None else local_image_rule(folder)
    if rule is not None:
        limit = preset.grpo.max_tokens or contract.profile.max_tokens
        check_image_size(contract.profile, rule, max_model_len=2**31, max_tokens=limit)
    if by_reward:
        check_sam2_options(preset.segmenter)
        _check_generation(preset.model)


def _check_generation(model: ModelOptions) -> None:
    """Check that vLLM, if used, has a GPU and is installed. Raises InputError.

    On a CPU, vLLM rearranges weights when it loads them, and cannot be given the trained ones later.
    """
    if not uses_vllm(model):
        return
    import torch

    remedy = "--set model.generation=transformers"
    if not torch.cuda.is_available():
        raise InputError(
            "model.generation=vllm needs a GPU",
            came="a machine on which torch finds none",
            remedy=f"{remedy}, or auto",
        )
    if find_spec("vllm") is None:
        came = f"model.generation={model.generation} on a GPU, without the package"
        raise InputError(
            "sampling replies with vLLM needs vllm", came=came, remedy=f"install the extra `gpu`, or {remedy}"
        )


def flat_parameters(preset: TrainingPreset) -> Mapping[str, Any]:
    """Flatten a preset to `table.key` -> JSON-ready value. A resumed training must have the same values."""
    flat: dict[str, Any] = {}
    for name, value in asdict(preset).items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat
