"""How a prompter is trained: the training presets (`pipeline/presets/training/*.toml`), what lies over them,
and the checks before any model is loaded.

`think2seg-3b` and `think2seg-7b` hold the hyper-parameters of the paper (Think2Seg-RS section 4.1.3); where
the released scripts differ from it, the preset says so beside the value. `embedded` trains the small prompter
that ships with the package.
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
from pipeline.options import parse_table
from pipeline.prompt.profile import load_profile
from pipeline.prompt.prompter_checkpoint import (
    check_checkpoint,
    check_image_size,
    is_hub_model,
    local_image_rule,
    resolve_model,
)
from pipeline.segment.build_segmenter import check_sam2_options
from pipeline.segment.segmenter import Sam2Options

PRESET_DIR = Path(__file__).parents[2] / "presets" / "training"

Schedule = Literal["linear", "cosine", "constant"]
RewardScale = Literal["group", "batch", "none"]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which checkpoint is trained, and which part of it."""

    checkpoint: str
    """Directory of a checkpoint, models/<name> for one that ships with the package, or a hub id."""
    vision: Literal["trained", "frozen"] = "trained"
    """Whether the vision tower learns. The paper calls the whole LVLM trainable, and so do the released
    scripts.
    """
    precision: Literal["bf16", "float32"] = "bf16"
    """Arithmetic of forward and backward passes. The weights themselves stay float32: an update of 1e-6 is
    lost in bfloat16.
    """
    lora_rank: int = 0
    """Rank of low-rank adapters on all linear layers that learn; 0 trains the weights themselves."""
    lora_alpha: int = 16
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Which of the model library's attentions computes. eager holds every pair of tokens in memory: cheaper
    for short ones on a CPU.
    """
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: less memory, more time."""
    generation: Literal["auto", "vllm", "transformers"] = "auto"
    """Who samples the replies. auto: vLLM in the same process on a GPU, transformers on a CPU."""
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
    """Optimiser steps; None: `epochs` passes over the data."""
    epochs: float = 5.0
    generations: int = 16
    """G: replies sampled per query."""
    questions_per_step: int = 1
    """Queries per optimiser step, over all devices."""
    replies_per_pass: int = 16
    """Replies per device in one forward and backward pass; the rest of a step is accumulated."""
    learning_rate: float = 1e-6
    weight_decay: float = 0.0
    schedule: Schedule = "linear"
    kl: float = 1e-3
    """beta: weight of the divergence from the checkpoint that training started from."""
    clip: float = 0.2
    """epsilon of the clipped ratio."""
    scale: RewardScale = "group"
    """What a reply's reward, less its group's mean, is divided by: the deviation of its group (equation 1),
    that of all rewards of the step, or nothing. Within a group whose replies differ by a pixel of a box, the
    first makes that pixel weigh as much as a missed object does in another; the other two weigh replies by
    what the reward says ("Dr. GRPO", arXiv 2503.20783, section 3).
    """
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 50
    """0: no limit."""
    max_tokens: int | None = None
    """Longest reply; None: the profile's."""

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
    """Those that are not left to a default."""
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
    """How a taught answer is written. cells: bare JSON without spaces, points first. fenced: in a json fence,
    box first.
    """

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError(f"steps, batch and learning_rate must be above 0, got {self}")


@dataclass(frozen=True, kw_only=True)
class SelectOptions:
    """The selection of queries that GRPO can learn from (`select`)."""

    replies: int = 4
    """Sampled per query, as `grpo` says."""
    least: float = 0.1
    """Standard deviation of a query's rewards from which on it is kept."""
    settled_share: float = 0.2
    """Share of the other queries that is kept all the same, drawn from the seed: should the policy unlearn
    what it knows, some of them say so.
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
    """What the prompter is asked and how it answers (`pipeline/prompt/profiles`)."""
    combination: str
    """What every item of an answer consists of (`combinations.COMBINATIONS`)."""
    model: ModelOptions
    reward_px: tuple[int, int] | None = None
    """(width, height) to which image and mask are squashed before the segmenter sees them; absent: their own
    size.
    """
    grpo: GrpoOptions = field(default_factory=GrpoOptions)
    sft: SftOptions = field(default_factory=SftOptions)
    select: SelectOptions = field(default_factory=SelectOptions)
    reward: RewardOptions = field(default_factory=RewardOptions)
    segmenter: Sam2Options = field(default_factory=Sam2Options)

    @property
    def contract(self) -> Contract:
        """Raises InputError for an unknown profile or combination, or when they do not belong together."""
        profile = load_profile(self.profile)
        return Contract(
            profile=profile, combination=find_combination(self.combination, profile), rule=self.reward.rule
        )


def known_training_presets() -> tuple[str, ...]:
    """Names of the training presets that ship with the package, sorted."""
    return tuple(sorted(path.stem for path in PRESET_DIR.glob("*.toml")))


def load_training_preset(name: str, settings: Sequence[str] = ()) -> TrainingPreset:
    """A preset by name (or the path of a .toml file) with `settings` of the form `table.key=value` laid over
    it.

    Raises InputError: unknown preset, unreadable file, unknown key, ill-typed value.
    """
    if not name.endswith(".toml") and name not in known_training_presets():
        remedy = f"use one of {', '.join(known_training_presets())}, or the path of a .toml file"
        raise InputError("--preset must name a training preset", came=repr(name), remedy=remedy)
    path = Path(name) if name.endswith(".toml") else PRESET_DIR / f"{name}.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        remedy = "check the path and the syntax"
        raise InputError(
            f"the training preset {path} must be a readable TOML file", came=str(error), remedy=remedy
        ) from error
    for setting in settings:
        _lay_over(tables, setting)
    return parse_table(TrainingPreset, tables, f"training preset {path.stem}")


def _lay_over(tables: dict[str, Any], setting: str) -> None:
    """`a.b=value` into nested tables, in place; the value is TOML, or text when it is none."""
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
    """Everything that can be found wrong from files' headers alone. Raises InputError; loads no model.

    The checkpoint must exist and be of an architecture that can be prompted, the profile's image must pass
    its processor unchanged, and the combination must be readable by the profile. `by_reward`, for a training
    that samples replies and pays their masks: the segmenter must be a SAM2 of its config, and vLLM, where it
    is to be used, must be there and have a GPU.
    """
    contract = preset.contract
    path = resolve_model(preset.model.checkpoint)
    check_checkpoint(path)
    rule = None if is_hub_model(path) else local_image_rule(Path(path))
    if rule is not None:
        limit = preset.grpo.max_tokens or contract.profile.max_tokens
        check_image_size(contract.profile, rule, max_model_len=2**31, max_tokens=limit)
    if by_reward:
        check_sam2_options(preset.segmenter)
        _check_generation(preset.model)


def _check_generation(model: ModelOptions) -> None:
    """vLLM on a CPU rearranges its weights when it loads them and cannot take the trained ones afterwards.
    Raises InputError.
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
    """`table.key` -> value, JSON-ready: what a resumed training must agree in."""
    flat: dict[str, Any] = {}
    for name, value in asdict(preset).items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat
