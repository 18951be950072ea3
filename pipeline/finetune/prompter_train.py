"""Trains the embedded prompter from nothing, stage by stage; every stage resumes from its own newest checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.finetune import checkpoints
from pipeline.finetune.prompter_data import TileStore, batch_of
from pipeline.finetune.prompter_forward import patches_of, vision_tokens
from pipeline.finetune.prompter_model import PrompterShape, build_vision
from pipeline.finetune.prompter_optim import Rates, apply_gradients, make_optimisers, set_rates
from pipeline.finetune.prompter_vision import DenseTargets, dense_loss, dense_targets, make_dense_heads
from pipeline.world.classes import CLASSES

if TYPE_CHECKING:
    from torch import Tensor

N_CLASSES = len(CLASSES)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageOptions:
    """One stage of the training."""

    rates: Rates
    batch: int
    """Tiles per step."""
    save_every: int = 100
    log_every: int = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a training run keeps its things, and on what it computes."""

    work: Path
    """Rendered tiles, checkpoints and logs; kept between runs."""
    device: str = "cpu"
    seed: int = 0
    shape: PrompterShape = field(default_factory=PrompterShape)

    @property
    def train_tiles(self) -> Path:
        return self.work / "train"

    @property
    def valid_tiles(self) -> Path:
        return self.work / "valid"

    def checkpoints(self, stage: str) -> Path:
        return self.work / stage


class Progress:
    """A line every `every` steps: step, share of the rate, running means of the parts, samples per second, time left."""

    def __init__(self, stage: str, *, steps: int, every: int) -> None:
        self._stage, self._steps, self._every = stage, steps, every
        self._sums: dict[str, float] = {}
        self._count, self._samples, self._since = 0, 0, time.monotonic()

    def add(self, step: int, parts: dict[str, float], *, samples: int, share: float) -> None:
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._samples += samples
        if (step + 1) % self._every and step + 1 < self._steps:
            return
        took = time.monotonic() - self._since
        means = "  ".join(f"{name} {total / self._count:.3f}" for name, total in self._sums.items())
        left = took / self._count * (self._steps - step - 1)
        rate = self._samples / max(took, 1e-9)
        print(f"{self._stage} {step + 1}/{self._steps}  rate x{share:.2f}  {means}  {rate:.1f} tiles/s  {left / 60:.0f} min left", flush=True)
        self._sums, self._count, self._samples, self._since = {}, 0, 0, time.monotonic()


def to_device(targets: DenseTargets, device: str) -> DenseTargets:
    return DenseTargets(**{name: getattr(targets, name).to(device) for name in DenseTargets.__dataclass_fields__})


def train_vision(place: Place, options: StageOptions, *, on_save: Callable[[int, Any, Any], None] | None = None) -> tuple[Any, Any]:
    """Stage 1: the vision tower with dense heads. Returns (tower, heads); `on_save(step, tower, heads)` after each checkpoint."""
    import torch

    store = TileStore(place.train_tiles)
    vision = build_vision(place.shape, seed=place.seed).to(place.device)
    heads = make_dense_heads(place.shape.text_width, N_CLASSES).to(place.device)
    named = [*vision.named_parameters(), *heads.named_parameters()]
    optimisers = make_optimisers(named, options.rates)
    folder = place.checkpoints("vision")
    modules = {"vision": vision, "heads": heads}
    first = checkpoints.resume(folder, modules=modules, optimisers=optimisers)
    progress = Progress("vision", steps=options.rates.steps, every=options.log_every)
    for step in range(first, options.rates.steps):
        share = set_rates(optimisers, options.rates, step)
        batch = batch_of(store, seed=place.seed, step=step, size=options.batch, n_tiles=len(store))
        targets = to_device(dense_targets(batch.truths, n_classes=N_CLASSES), place.device)
        tokens = encode(vision, torch.from_numpy(batch.rgb).to(place.device))
        loss, parts = dense_loss(heads, tokens, targets)
        loss.backward()
        apply_gradients(optimisers, [parameter for _, parameter in named])
        progress.add(step, {"loss": float(loss.detach()), **parts}, samples=options.batch, share=share)
        if (step + 1) % options.save_every == 0 or step + 1 == options.rates.steps:
            checkpoints.save_checkpoint(folder, step=step + 1, modules=modules, optimisers=optimisers)
            store.reload()
            if on_save:
                on_save(step + 1, vision, heads)
    return vision, heads


def encode(vision: Any, rgb: Tensor) -> Tensor:
    """(B, 252, 252, 3) uint8 -> (B, 81, width), computed in bfloat16 where that helps."""
    import torch

    with torch.autocast(rgb.device.type, torch.bfloat16):
        return vision_tokens(vision, patches_of(rgb))
