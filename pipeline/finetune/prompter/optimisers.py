"""Optimisers and schedule of the embedded prompter: Muon for matrices inside blocks, AdamW for all else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Parameter
    from torch.optim import Optimizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Peak learning rates, and the schedule over `steps` steps."""

    steps: int
    matrix_lr: float = 2e-3
    other_lr: float = 2e-3
    weight_decay: float = 0.02
    warmup: int = 50
    decay_from: float = 0.45
    """Share of the steps after which the rate falls linearly to a twentieth."""


def make_optimisers(parameters: Iterable[tuple[str, Parameter]], rates: Rates) -> dict[str, Optimizer]:
    """Make the two optimisers.

    `muon` gets the 2-D parameters of layers and blocks, `adamw` embeddings, heads, biases, norms and the
    patch kernel.
    """
    import torch

    matrices: list[Parameter] = []
    others: list[Parameter] = []
    for name, parameter in parameters:
        if parameter.requires_grad:
            inner = parameter.ndim == 2 and ("layers." in name or "blocks." in name or "merger" in name)
            (matrices if inner else others).append(parameter)
    return {
        "muon": torch.optim.Muon(
            matrices, lr=rates.matrix_lr, weight_decay=rates.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        "adamw": torch.optim.AdamW(others, lr=rates.other_lr, betas=(0.9, 0.98), weight_decay=0.0),
    }


def set_rates(optimisers: dict[str, Optimizer], rates: Rates, step: int) -> float:
    """Set the learning rates of a step. Returns their share of the peak."""
    warm = min(1.0, (step + 1) / max(1, rates.warmup))
    left = (rates.steps - step) / max(1.0, rates.steps * (1 - rates.decay_from))
    share = warm * max(0.05, min(1.0, left))
    for group in optimisers["muon"].param_groups:
        group["lr"] = rates.matrix_lr * share
    for group in optimisers["adamw"].param_groups:
        group["lr"] = rates.other_lr * share
    return share


def apply_gradients(
    optimisers: dict[str, Optimizer], parameters: Iterable[Parameter], *, clip: float = 1.0
) -> float:
    """Clip the gradient norm, then step and clear every optimiser. Returns the norm before clipping."""
    import torch

    norm = torch.nn.utils.clip_grad_norm_(list(parameters), clip)
    for optimiser in optimisers.values():
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return float(norm)
