"""Options of `jobs/train_embedded.py prompter`, the stages that follow from them, and their checks.

A training takes hours, so `check` looks, before anything is rendered, for all that would end it late: counts,
the device, the start, and above all the folder of the export, which is replaced as a whole. Measuring alone
needs only `check_measuring` and `check_out`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import InputError
from pipeline.files.output_folder import require_folder
from pipeline.finetune.prompter import checkpoints
from pipeline.finetune.prompter.carry_on import START_FILE, check_start
from pipeline.finetune.prompter.optimisers import Rates
from pipeline.finetune.prompter.prompter_model import PrompterShape, check_export_folder
from pipeline.finetune.prompter.prompter_train import StageOptions
from pipeline.finetune.prompter.training_place import TrainingPlace

VALID_TILES = 768
"""Tiles of unseen worlds on which a training is measured."""

MEASURED_JSON = "measured.json"
MEASURED_TABLE = "measured.md"

KEPT_IN_WORK = frozenset(
    {"train", "valid", "tokenizer", "vision", "language", "joint", START_FILE, MEASURED_JSON, MEASURED_TABLE}
)
"""Names that the training itself uses in a working directory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrompterTrainOptions:
    """Options of the job. With the defaults it takes about an hour and a half on one CPU core."""

    work: Path
    out: Path
    tiles: int = 7680
    vision_steps: int = 1000
    language_steps: int = 150
    joint_steps: int = 600
    seed: int = 0
    device: str = "cpu"
    measured_tiles: int = 256
    start: Path | None = None
    """Exported prompter to continue from; its tower replaces the vision stage."""
    compiled: bool = False
    shape: PrompterShape = field(default_factory=PrompterShape)

    @property
    def place(self) -> TrainingPlace:
        return TrainingPlace(
            work=self.work,
            device=self.device,
            seed=self.seed,
            shape=self.shape,
            start=self.start,
            compiled=self.compiled,
        )


def vision_stage(options: PrompterTrainOptions) -> StageOptions:
    """Make the options of stage 1, the warm start of the tower."""
    return StageOptions(rates=Rates(steps=options.vision_steps, matrix_lr=2.5e-3, decay_from=0.6), batch=24)


def language_stage(options: PrompterTrainOptions) -> StageOptions:
    """Make the options of stage 2, which learns answers from the frozen tower."""
    return StageOptions(
        rates=Rates(steps=options.language_steps, warmup=20, decay_from=0.8), batch=12, save_every=50
    )


def joint_stage(options: PrompterTrainOptions) -> StageOptions:
    """Make the options of stage 3, which trains everything together."""
    rates = Rates(steps=options.joint_steps, matrix_lr=2e-3, other_lr=1.5e-3, warmup=20, decay_from=0.25)
    return StageOptions(rates=rates, batch=16, save_every=40, text_budget=160)


def check(options: PrompterTrainOptions) -> None:
    """Refuse options with which training, measuring or exporting would fail. Raises InputError."""
    check_measuring(options)
    check_out(options)
    for name, lowest in _lowest(options).items():
        given = getattr(options, name)
        if given < lowest:
            option = "--" + name.replace("_", "-")
            why = (
                "a stage starts from what the one before has learned"
                if lowest and name != "tiles"
                else "less cannot be done"
            )
            raise InputError(
                f"{option} must be at least {lowest}: {why}", came=str(given), remedy=f"raise {option}"
            )
    if options.start is not None:
        check_start(options.start, options.shape)


def _lowest(options: PrompterTrainOptions) -> dict[str, int]:
    """Give the smallest value of every count.

    A stage may have no steps if a checkpoint replaces it, or for the tower, a start.
    """
    begun = {
        stage
        for stage in ("vision", "language")
        if checkpoints.list_checkpoints(options.place.checkpoints(stage))
    }
    tower = options.start is not None or "vision" in begun
    return {
        "tiles": 1,
        "seed": 0,
        "vision_steps": int(not tower),
        "language_steps": int("language" not in begun),
        "joint_steps": 0,
    }


def check_measuring(options: PrompterTrainOptions) -> None:
    """Refuse a working directory, number of tiles or device that makes measuring impossible.

    Raises InputError.
    """
    require_folder(options.work, "--work")
    if not 1 <= options.measured_tiles <= VALID_TILES:
        what = f"--measured-tiles must be 1 to {VALID_TILES}"
        raise InputError(what, came=str(options.measured_tiles), remedy="measure on fewer, at least one")
    _check_device(options.device)


def _check_device(device: str) -> None:
    import torch

    try:
        wanted = torch.device(device)
    except RuntimeError:
        wanted = None
    if wanted is None or wanted.type not in ("cpu", "cuda"):
        raise InputError("--device must be cpu or cuda", came=device, remedy="name one of the two")
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted.type == "cuda" and (wanted.index or 0) >= n_gpus:
        raise InputError(
            f"--device {device} needs a GPU that PyTorch sees",
            came=f"{n_gpus} of them",
            remedy="use --device cpu",
        )


def check_out(options: PrompterTrainOptions) -> None:
    """Refuse an export that would replace anything but an earlier export, above all the training's own files.

    Raises InputError.
    """
    check_export_folder(options.out)
    work = options.work.resolve()
    out = options.out.resolve()
    inside = out.relative_to(work).parts if out.is_relative_to(work) else ()
    if work.is_relative_to(out) or (inside and inside[0] in KEPT_IN_WORK):
        came = (
            f"--out {options.out}, which holds or is part of what the training keeps in --work {options.work}"
        )
        remedy = "name a folder of its own, beside the working directory or under another name inside it"
        raise InputError("the export replaces its folder as a whole", came=came, remedy=remedy)
