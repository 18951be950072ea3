"""Options of the embedded segmenter's training, and what is refused before anything is loaded or rendered."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import InputError
from pipeline.files.output_folder import require_folder
from pipeline.finetune.segmenter.training_windows import PoolOptions
from pipeline.segment.sam2_model import EMBEDDED_DIR

MEAN_FILE = "mean.safetensors"
"""Mean weights of an unfinished training, in its working directory."""

STATE_FILE = "state.pt"


@dataclass(frozen=True, kw_only=True)
class SegmenterTrainOptions:
    """How the embedded segmenter is trained.

    The shipped weights were trained in several pieces, with as many steps in all; their card lists them.
    """

    work_dir: Path = Path("build/segmenter")
    """Folder of the resumable state and the window pool."""
    out: Path = EMBEDDED_DIR / "model.safetensors"
    """File of the mean weights, float16, written after the last step."""
    config: Path = EMBEDDED_DIR / "config.yaml"
    """YAML file of the architecture."""
    start: Path | None = None
    """Weights of that architecture to start from, .safetensors or .pt. Optimiser and dense head are new.
    None: from nothing.
    """
    pool: PoolOptions = field(default_factory=PoolOptions)
    steps: int = 6000
    windows_per_step: int = 8
    prompts_per_window: int = 6
    coarse_image_px: int = 256
    coarse_share: float = 0.95
    """Share of the steps, from the first on, at `coarse_image_px`: the same features in less than half the
    time (0.8 s per step against 1.7 s on one core).
    """
    loss_px: int = 128
    """Side to which logits and targets of a window are resized for the loss. Larger than the logits, so that
    boundaries inside a logit cell are learned through the interpolation.
    """
    box_steps: int = 700
    """Steps of the decoder's warm-up without images; 0 = none. A training from `start` needs none."""
    warmup_rate: float = 1e-3
    dense_weight: float = 0.5
    """Weight of the encoder's own loss (`dense_loss`)."""
    rate: float = 6e-4
    warmup_steps: int = 80
    decay_share: float = 0.47
    weight_decay: float = 0.02
    mean_decay: float = 0.995
    """Decay per step of the exponential mean of the weights. The mean covers about 200 steps, so it soon
    forgets the starting weights.
    """
    reuse: float = 1.0
    """Windows used so far over windows rendered so far, until the pool is full."""
    save_every: int = 100
    renderers: int = 1
    device: str = "cpu"
    seed: int = 0
    """Seed of weights and batches. The windows have their own seed, in `pool`."""


def check(options: SegmenterTrainOptions) -> None:
    """Refuse what cannot be trained, judged by options and file names alone. Raises InputError."""
    if options.steps < 1:
        raise InputError("training needs at least one step", came=str(options.steps), remedy="raise steps")
    for name, number in (("seed", options.seed), ("the warm-up's steps", options.box_steps)):
        if number < 0:
            raise InputError(f"{name} must be 0 or more", came=str(number), remedy="raise it")
    _check_places(options)
    for what, path in (
        ("the architecture's config", options.config),
        ("the weights to start from", options.start),
    ):
        if path is not None and not path.is_file():
            raise InputError(f"{what} must be a file", came=str(path), remedy="name one that exists")
    beside = options.out.parent / "config.yaml"
    if beside.is_file() and beside.read_bytes() != options.config.read_bytes():
        came = f"{options.out}, beside which lies the config of other weights than {options.config} describes"
        remedy = "write to another folder (--out)"
        raise InputError(
            "weights and the config.yaml beside them must belong together", came=came, remedy=remedy
        )


def _check_places(options: SegmenterTrainOptions) -> None:
    """Refuse a working directory that is a file, and weights that could not be written or would be lost.

    Raises InputError.
    """
    require_folder(options.work_dir, "--work")
    out = options.out.resolve()
    work_dir = options.work_dir.resolve()
    nearest = next(path for path in out.parents if path.exists())
    if out.is_dir() or not nearest.is_dir():
        raise InputError(
            "the weights go to a file in a folder",
            came=str(options.out),
            remedy="name a file, new or old (--out)",
        )
    own = out.parent == work_dir and (
        out.name in (MEAN_FILE, STATE_FILE) or out.match("weights-*.safetensors")
    )
    if own or out.is_relative_to(work_dir / "pool"):
        came = f"{options.out}, which the training uses itself"
        raise InputError(
            "the weights need a file of their own", came=came, remedy="name another file (--out)"
        )
