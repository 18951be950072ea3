"""The axes of ablations: each a declared list of variants, all of one base.

1. `read_models` reads who answers: `oracle` (prompts and masks from the truth, with mistakes), a preset, or
   `PROMPTS+MASKS`, such as `oracle+embedded`.
2. `variants_of` lists the variants of an axis: tables and fields of the evaluation that change, and no more.
3. What cannot be asked of a model at all has a reason (`Variant.impossible`); what needs a checkpoint names
   it (`Variant.needs`). Neither is left out of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.prompt.box_margins import GEOSEG
from pipeline.run.config import known_presets, preset_tables

AxisName = Literal["refinement", "routes", "prompters", "segmenters", "combinations", "negatives", "shapes"]

ORACLE = "oracle"
CLIP = "openai/clip-vit-base-patch16"
SAM3 = "facebook/sam3"
SAM2_SIZES = ("tiny", "small", "base-plus", "large")

_NEEDS_TRAINING = "such prompts are a prompter's own: this one was not trained to give them"
_BOX_ALONE = "an oracle's masks depend on the box alone"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelChoice:
    """Who gives prompts and masks: `oracle`, or the name of a preset."""

    prompts: str
    masks: str

    @property
    def name(self) -> str:
        return self.prompts if self.prompts == self.masks else f"{self.prompts}+{self.masks}"

    @property
    def preset(self) -> str:
        """Preset whose tiles count: that of the prompter, else that of the segmenter."""
        named = [one for one in (self.prompts, self.masks) if one != ORACLE]
        return named[0] if named else "embedded"

    @property
    def tables(self) -> dict[str, Any]:
        """Tables of the base."""
        tables = preset_tables(self.preset)
        if self.masks != ORACLE:
            tables["segmenter"] = preset_tables(self.masks)["segmenter"]
        return tables


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One row of an ablation."""

    name: str
    tables: Mapping[str, Any] = field(default_factory=dict)
    """Tables that stand in place of those of the base."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the EvaluationRequest that change."""
    truth: Mapping[str, Any] = field(default_factory=dict)
    """Fields of its TruthOptions that change."""
    needs: tuple[str, ...] = ()
    """Checkpoints without which it cannot run, by their hub ids."""
    impossible: str = ""
    """Why it cannot run with these models at all. Empty: it can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AxisOptions:
    """What the command line says about variants."""

    prompters: tuple[str, ...] = ()
    """Presets whose prompters are compared; empty: all with a language model."""
    clip: str = CLIP
    sam3: str = SAM3


def read_models(text: str) -> ModelChoice:
    """Read `oracle`, PRESET or PROMPTS+MASKS. Raises InputError."""
    prompts, _, masks = text.strip().partition("+")
    choice = ModelChoice(prompts=prompts, masks=masks or prompts)
    for name in (choice.prompts, choice.masks):
        if name != ORACLE and name not in known_presets():
            raise InputError(
                "--models names oracle, presets, or PROMPTS+MASKS of them",
                came=repr(text),
                remedy=f"presets are {', '.join(known_presets())}; for example oracle+embedded",
            )
    if choice.prompts != ORACLE and choice.masks == ORACLE:
        raise InputError(
            "masks of the oracle need prompts of the oracle",
            came=repr(text),
            remedy="write oracle, or oracle+PRESET",
        )
    return choice


def variants_of(axis: AxisName, choice: ModelChoice, options: AxisOptions) -> list[Variant]:
    """List the variants of an axis; the first is what the others are compared with."""
    return list(_AXES[axis](choice, options))


def _refinement(_: ModelChoice, __: AxisOptions) -> Sequence[Variant]:
    return (
        Variant(name="boxes as they come"),
        Variant(name="GeoSeg's margins, 0.2 and 0.1", request={"margins": GEOSEG}),
    )


def _routes(choice: ModelChoice, options: AxisOptions) -> Sequence[Variant]:
    named = (
        ("routes A and B, the paper's rule", "both", "paper"),
        ("routes A and B, the released code's rule", "both", "released"),
        ("route A alone", "a", "paper"),
        ("route B alone", "b", "paper"),
    )
    if choice.masks == ORACLE:
        drawn = [Variant(name=name, truth={"routes": r, "rules": rules}) for name, r, rules in named]
        return (*drawn, Variant(name="neither: the box is drawn as it is", truth={"routes": "direct"}))
    variants = []
    for name, routes, rules in named:
        used = {"clip": options.clip, "sam3": options.sam3}
        if routes != "both":
            used.pop("sam3" if routes == "a" else "clip")
        dual = {**used, "routes": routes, "rules": rules}
        table = {**choice.tables["segmenter"], "dual": dual}
        variants.append(Variant(name=name, tables={"segmenter": table}, needs=tuple(used.values())))
    return (*variants, Variant(name="neither: the segmenter gets the prompts"))


def _prompters(choice: ModelChoice, options: AxisOptions) -> Sequence[Variant]:
    variants = [Variant(name="the truth, without mistakes", truth={"noise": None}, request=_BY_TRUTH)]
    if choice.prompts == ORACLE:
        variants.append(Variant(name="the truth with the mistakes of --noise", request=_BY_TRUTH))
    for name in options.prompters or _with_language_models():
        tables = preset_tables(name)
        model = str(tables["prompter"]["model"])
        variants.append(
            Variant(
                name=f"prompter of {name}",
                tables={"prompter": tables["prompter"]},
                request={"prompts_from": "preset"},
                needs=() if model.startswith("models/") else (model,),
                impossible="masks of the oracle need prompts of the oracle" if choice.masks == ORACLE else "",
            )
        )
    return variants


def _segmenters(choice: ModelChoice, _: AxisOptions) -> Sequence[Variant]:
    drawn = {"masks_from": "preset"}
    variants = [
        Variant(
            name=f"segmenter of {name}", tables={"segmenter": preset_tables(name)["segmenter"]}, request=drawn
        )
        for name in ("embedded", "mobile-sam")
    ]
    for size in SAM2_SIZES:
        hub_id = f"facebook/sam2.1-hiera-{size}"
        table = {"kind": "sam2", "checkpoint": hub_id}
        variants.append(
            Variant(name=f"SAM2.1 {size}", tables={"segmenter": table}, request=drawn, needs=(hub_id,))
        )
    if choice.prompts == ORACLE:
        variants.append(Variant(name="the truth in the box, with mistakes", request={"masks_from": "truth"}))
    return variants


def _combinations(choice: ModelChoice, _: AxisOptions) -> Sequence[Variant]:
    own = choice.prompts == ORACLE
    drawn = _BOX_ALONE if choice.masks == ORACLE else ""
    return (
        Variant(name="box and two points", impossible=drawn),
        Variant(name="box", request={"prompt_parts": "box"}, impossible=drawn),
        Variant(name="two points", request={"prompt_parts": "points"}, impossible=drawn),
        Variant(
            name="box and four points",
            truth={"points": "four"},
            impossible=drawn or ("" if own else _NEEDS_TRAINING),
        ),
        Variant(
            name="box, two points and two negative ones",
            truth={"points": "negatives"},
            impossible=drawn or ("" if own else _NEEDS_TRAINING),
        ),
    )


def _negatives(choice: ModelChoice, options: AxisOptions) -> Sequence[Variant]:
    every = _combinations(choice, options)
    return (every[0], every[-1])


def _shapes(choice: ModelChoice, _: AxisOptions) -> Sequence[Variant]:
    why_not = _BOX_ALONE if choice.masks == ORACLE else "" if choice.prompts == ORACLE else _NEEDS_TRAINING
    return (
        Variant(name="box and two points"),
        Variant(name="points after the shape", truth={"points": "shape"}, impossible=why_not),
        Variant(name="a chain of boxes along it", truth={"points": "chain"}, impossible=why_not),
    )


def _with_language_models() -> tuple[str, ...]:
    return tuple(name for name in known_presets() if preset_tables(name)["prompter"]["kind"] == "vllm")


_BY_TRUTH: Mapping[str, Any] = {"prompts_from": "truth"}

_AXES: Mapping[AxisName, Callable[[ModelChoice, AxisOptions], Sequence[Variant]]] = {
    "refinement": _refinement,
    "routes": _routes,
    "prompters": _prompters,
    "segmenters": _segmenters,
    "combinations": _combinations,
    "negatives": _negatives,
    "shapes": _shapes,
}
AXES: tuple[AxisName, ...] = tuple(_AXES)
