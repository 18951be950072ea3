"""Build a prompter, the gate before it and the verifier behind it from their options.

Only this module knows every kind of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pipeline.errors import InputError
from pipeline.prompt import prompter_checkpoint
from pipeline.prompt.box_margins import BoxMargins
from pipeline.prompt.chain_boxes import PromptShape
from pipeline.prompt.grid_prompter import GridPrompter, check_spacing, spacing_px
from pipeline.prompt.grounding_prompter import GroundingOptions, GroundingPrompter, check_grounding
from pipeline.prompt.looks.gate import Gate, GateOptions
from pipeline.prompt.looks.oracle_gate import OracleGate
from pipeline.prompt.looks.oracle_verifier import OracleVerifier
from pipeline.prompt.looks.verifier import LooksAt, Verifier, VerifierOptions
from pipeline.prompt.looks.vllm_gate import VllmGate
from pipeline.prompt.looks.vllm_verifier import VllmVerifier
from pipeline.prompt.oracle_prompter import OraclePrompter
from pipeline.prompt.profile import Decision, load_profile
from pipeline.prompt.prompter import Prompter
from pipeline.prompt.reply.released_parser import ParserName
from pipeline.prompt.vector_prompter import VectorPrompter
from pipeline.prompt.vllm_engine import VllmOptions
from pipeline.prompt.vllm_prompter import VllmPrompter, check_model
from pipeline.prompt.whole_prompter import WholePrompter
from pipeline.schema.tiling import RunGrid

PrompterKind = Literal["vllm", "vector", "oracle", "grid", "whole", "grounding-dino"]
Role = Literal["gate", "verifier"]


@dataclass(frozen=True, kw_only=True)
class PrompterOptions:
    """The `[prompter]` table: who answers the queries."""

    kind: PrompterKind
    model: str
    """A checkpoint directory, `models/<name>` for a shipped one, or a hub id (vllm); a vector file (vector);
    `oracle:labels.tif` (oracle); a folder or hub id (grounding-dino); empty (grid; whole, which passes
    queries on to a [mask_model]). A preset for known locations leaves it empty; --prompts fills it.
    """
    point_spacing_px: float = 32.0
    """Distance of the points of kind `grid`, in pixels of the run grid."""
    point_spacing_m: float = 0.0
    """The same in metres on the ground, instead; 0: the pixels count."""
    point_box_m: float = 0.0
    """Side in metres of the box that a point of a vector file gets; 0: none. Other kinds ignore it."""
    prompt_shape: PromptShape = "fixed"
    """`chain`: long and ring-like outlines of a vector file get a chain of boxes (`chain_boxes`). Other kinds
    ignore it.
    """
    vllm: VllmOptions = field(default_factory=VllmOptions)
    """How kind `vllm` serves its checkpoint; other kinds ignore it."""
    grounding: GroundingOptions = field(default_factory=GroundingOptions)
    """How kind `grounding-dino` looks; other kinds ignore it."""
    refine_boxes: BoxMargins = field(default_factory=BoxMargins)
    """How the sides of its boxes are moved; all zero: not at all. For kind `vllm` alone."""

    def __post_init__(self) -> None:
        if self.refine_boxes.on and self.kind != "vllm":
            raise ValueError(f"refine_boxes corrects a language model's boxes, and the kind is {self.kind!r}")
        if not self.model and self.kind not in ("vector", "grid", "whole"):
            raise ValueError("model must not be empty")
        for name in ("point_spacing_px", "point_spacing_m"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is a distance, got {getattr(self, name)}")
        if not 0 <= self.point_box_m < float("inf"):
            raise ValueError(f"point_box_m is a side in metres, or 0 for no box, got {self.point_box_m}")

    @property
    def spacing_text(self) -> str:
        """How far apart the points of kind `grid` are."""
        in_metres = f"every {self.point_spacing_m:g} m"
        return in_metres if self.point_spacing_m else f"every {self.point_spacing_px:g} px"

    @property
    def serves_any_grid(self) -> bool:
        """Whether one prompter serves runs on any grid: it judges pictures alone."""
        return self.kind in ("vllm", "whole", "grounding-dino")

    def result_parameters(self) -> dict[str, object]:
        """Every option that can change a result, for a fingerprint."""
        named: dict[str, object] = {"kind": self.kind, "model": self.model}
        if self.kind == "grid":
            return {"kind": "grid", "model": self.spacing_text}
        if self.kind == "grounding-dino":
            return {**named, "grounding": self.grounding.result_parameters()}
        if self.kind == "vector" and self.point_box_m:
            named["point_box_m"] = self.point_box_m
        if self.kind == "vector" and self.prompt_shape != "fixed":
            named["prompt_shape"] = self.prompt_shape
        if self.refine_boxes.on:
            named["refine_boxes"] = self.refine_boxes.result_parameters()
        return {**named, "vllm": self.vllm.result_parameters()} if self.kind == "vllm" else named


def check_prompter(options: PrompterOptions, grid: RunGrid) -> tuple[str, ...]:
    """Check the prompter without loading a model, and return what a user should know. Raises InputError.

    For `vector` this reads the file, for `oracle` the raster's header.
    """
    if options.kind == "vllm":
        check_model(options.model, options.vllm)
        _check_margins(options)
        return ()
    if options.kind == "grounding-dino":
        check_grounding(options.model)
        return ()
    if options.kind == "vector":
        if not options.model:
            raise InputError(
                "a preset that draws known locations needs them",
                came="none",
                remedy="pass --prompts FILE, with polygons, boxes or points, or --everything",
            )
        return VectorPrompter(options.model, grid, point_box_m=options.point_box_m).notes
    build_prompter(options, grid).close()
    return ()


def _check_margins(options: PrompterOptions) -> None:
    """Refuse margins that were measured with another profile. Raises InputError."""
    measured = options.refine_boxes.profile
    profile = load_profile(options.vllm.profile).name
    if options.refine_boxes.on and measured not in ("", profile):
        raise InputError(
            "margins of boxes belong to the profile they were measured with",
            came=f"those of {measured!r} for {profile!r}",
            remedy="measure this checkpoint with jobs/calibrate_boxes.py, or leave --refine-boxes out",
        )


def check_queries_fit(options: PrompterOptions, queries: Sequence[str]) -> None:
    """Check that these queries fit into the context of a prompter that passed `check_prompter`.

    Loads no model. A benchmark does not call this: it records a query that does not fit as the failure of
    that sample, and asks the others. Raises InputError.
    """
    if options.kind == "vllm":
        vllm = options.vllm
        profile = load_profile(options.vllm.profile)
        room = {"max_model_len": vllm.max_model_len, "max_tokens": vllm.max_tokens or profile.max_tokens}
        model = prompter_checkpoint.resolve_model(options.model)
        folder = prompter_checkpoint.checkpoint_folder(model, vllm.revision)
        if folder is not None:
            prompter_checkpoint.check_context(folder, profile, queries, **room)


def build_prompter(options: PrompterOptions, grid: RunGrid, parser: ParserName = "robust") -> Prompter:
    """Build the prompter of these options. Raises InputError, ModelError.

    A `vllm` prompter loads its engine now and reads replies with `parser`.
    """
    match options.kind:
        case "vllm":
            return VllmPrompter(options.model, options.vllm, parser=parser, margins=options.refine_boxes)
        case "vector":
            return VectorPrompter(
                options.model, grid, point_box_m=options.point_box_m, shape=options.prompt_shape
            )
        case "oracle":
            return OraclePrompter(options.model, grid)
        case "grid":
            metres = options.point_spacing_m
            spacing = spacing_px(metres, grid) if metres else options.point_spacing_px
            check_spacing(spacing)
            return GridPrompter(spacing)
        case "whole":
            return WholePrompter()
        case "grounding-dino":
            return GroundingPrompter(options.model, options.grounding)
    raise InputError(
        "a prompter's kind must be vllm, vector, oracle, grid, whole or grounding-dino",
        came=repr(options.kind),
        remedy="choose one of them",
    )


def check_second_looks(gate: GateOptions, verifier: VerifierOptions, prompter: PrompterOptions) -> None:
    """Check that this prompter can play the gate and the verifier, as far as they are on.

    Loads no model. Raises InputError.
    """
    if gate.on:
        look_decision(prompter, "gate")
    if verifier.on:
        look_decision(prompter, "verifier")


def look_decision(prompter: PrompterOptions, role: Role) -> Decision | None:
    """Look up the one-token decision by which a vllm prompter plays a role. None: an oracle needs none.

    Raises InputError.
    """
    if prompter.kind == "oracle":
        return None
    if prompter.kind != "vllm":
        what = f"a {role} asks the prompter about pictures"
        raise InputError(
            what, came=f"a prompter of kind {prompter.kind!r}", remedy=f'set mode = "off" under [{role}]'
        )
    profile = load_profile(prompter.vllm.profile)
    decision = profile.gate if role == "gate" else profile.verifier
    if decision is None:
        remedy = f'add one (yes, no, and how the reply begins), or set mode = "off" under [{role}]'
        raise InputError(
            f"a {role} needs the table [{role}] in the checkpoint's profile",
            came=f"profile {profile.name!r}",
            remedy=remedy,
        )
    check_model(prompter.model, prompter.vllm, decision)
    return decision


def build_gate(
    options: GateOptions, prompter: PrompterOptions, built: Prompter, grid: RunGrid
) -> Gate | None:
    """Build the gate of a run. None: it is off.

    A vllm gate shares the engine of `built`, the run's prompter. Raises InputError, ModelError.
    """
    if not options.on:
        return None
    decision = look_decision(prompter, "gate")
    if decision is None:
        return OracleGate(prompter.model, grid)
    if not isinstance(built, VllmPrompter):
        raise TypeError(f"the gate of a vllm prompter needs its engine, got a {type(built).__name__}")
    return VllmGate(built, decision)


def build_verifier(
    options: VerifierOptions, prompter: PrompterOptions, grid: RunGrid, built: Prompter | None = None
) -> Verifier | None:
    """Build the verifier of a run. None: it is off.

    A vllm verifier shares the engine of `built`; without one it loads its own. Raises InputError, ModelError.
    """
    if not options.on:
        return None
    decision = look_decision(prompter, "verifier")
    if decision is None:
        return OracleVerifier(prompter.model, grid)
    if isinstance(built, VllmPrompter):
        return VllmVerifier(built, decision, options, owns=False)
    share = options.gpu_memory_utilization
    vllm = prompter.vllm if share is None else replace(prompter.vllm, gpu_memory_utilization=share)
    return VllmVerifier(VllmPrompter(prompter.model, vllm), decision, options, owns=True)


def build_looks(options: VerifierOptions, prompter: PrompterOptions, grid: RunGrid) -> LooksAt | None:
    """Build the verifier of a process that has no prompter. None: it is off.

    It gets an engine and an event loop of its own. Raises InputError, ModelError.
    """
    verifier = build_verifier(options, prompter, grid)
    return None if verifier is None else LooksAt(verifier=verifier, run=asyncio.Runner().run)
