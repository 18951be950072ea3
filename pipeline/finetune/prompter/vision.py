"""Train the vision tower on dense targets, before any language is learned.

From a few reply tokens a model learns the format long before it learns where things are. So linear heads,
which are dropped later, teach every merged token (a cell of 28 px):

1. coverage: the share of the cell that each class covers (sigmoids);
2. owner: the class of the object with most pixels in the cell, or none (softmax), and its visible box;
3. peak: the classes with an object's point in the cell (sigmoids), and box and point of the largest.

Coordinates are relative to the cell's centre, since the tower knows only relative positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.prompter.forward import N_IMAGE_TOKENS
from pipeline.finetune.prompter.samples import CELL_PX, GRID, TileObjects, cell_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import ModuleDict

DISTANCE_PX = 8.0
"""Distances d are learned as asinh(d / DISTANCE_PX): finely for small objects, coarsely for large ones.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseTargets:
    """Targets of every merged token of a batch, (B, 81, ...). Distances are pixels from the cell's centre."""

    coverage: Tensor
    """(B, 81, n_classes): shares."""
    owner_class: Tensor
    """(B, 81) int64; n_classes = none."""
    owner_box: Tensor
    """(B, 81, 4): x0, y0, x1, y1 minus the centre."""
    peak: Tensor
    """(B, 81, n_classes): 0 or 1."""
    peak_numbers: Tensor
    """(B, 81, 6): x, y, x0, y0, x1, y1 minus the centre, of the largest object with its point in the cell."""
    has_peak: Tensor
    """(B, 81) bool"""


def cell_centres() -> NDArray[np.float32]:
    """List the centres of the cells, (81, 2) x, y, in raster order."""
    axis = (np.arange(GRID, dtype=np.float32) + 0.5) * CELL_PX
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def dense_targets(truths: Sequence[TileObjects], *, n_classes: int) -> DenseTargets:
    """Make the targets of a batch of tiles."""
    import torch

    batch = len(truths)
    centres = cell_centres()
    owner_class = np.full((batch, N_IMAGE_TOKENS), n_classes, np.int64)
    owner_box = np.zeros((batch, N_IMAGE_TOKENS, 4), np.float32)
    peak = np.zeros((batch, N_IMAGE_TOKENS, n_classes), np.float32)
    numbers = np.zeros((batch, N_IMAGE_TOKENS, 6), np.float32)
    has_peak = np.zeros((batch, N_IMAGE_TOKENS), np.bool_)
    for row, truth in enumerate(truths):
        owner = truth.owner.reshape(-1)
        owned = owner >= 0
        owner_class[row, owned] = truth.class_ids[owner[owned]]
        owner_box[row, owned] = truth.boxes_xyxy[owner[owned]] - np.tile(centres[owned], 2)
        if not len(truth.class_ids):
            continue
        cells = cell_of(truth.points_xy)
        peak[row, cells, truth.class_ids] = 1.0
        has_peak[row, cells] = True
        for index in largest_last(truth):
            cell = cells[index]
            both = np.concatenate([truth.points_xy[index], truth.boxes_xyxy[index]])
            numbers[row, cell] = both - np.tile(centres[cell], 3)
    return DenseTargets(
        coverage=torch.from_numpy(np.stack([truth.coverage.reshape(N_IMAGE_TOKENS, -1) for truth in truths])),
        owner_class=torch.from_numpy(owner_class),
        owner_box=torch.from_numpy(owner_box),
        peak=torch.from_numpy(peak),
        peak_numbers=torch.from_numpy(numbers),
        has_peak=torch.from_numpy(has_peak),
    )


def largest_last(truth: TileObjects) -> list[int]:
    """Sort object indexes by growing box area: written in this order, the largest of a cell remains."""
    box = truth.boxes_xyxy
    areas = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    return [int(index) for index in np.argsort(areas, kind="stable")]


def make_dense_heads(width: int, n_classes: int) -> ModuleDict:
    """Make linear heads on merged tokens. They learn the targets and are dropped later."""
    import torch

    heads = torch.nn.ModuleDict({
        "coverage": torch.nn.Linear(width, n_classes),
        "owner": torch.nn.Linear(width, n_classes + 1),
        "owner_box": torch.nn.Linear(width, 4),
        "peak": torch.nn.Linear(width, n_classes),
        "numbers": torch.nn.Linear(width, 6),
    })  # fmt: skip
    with torch.no_grad():
        heads["coverage"].bias.fill_(-3.0)
        heads["peak"].bias.fill_(-4.0)
    return heads


def squeeze_px(distance: Tensor) -> Tensor:
    """Turn pixels into the values that heads learn."""
    import torch

    return torch.asinh(distance / DISTANCE_PX)


def unsqueeze_px(value: Tensor) -> Tensor:
    """Turn values that heads predict into pixels."""
    import torch

    return torch.sinh(value.clamp(-5, 5)) * DISTANCE_PX


def _giou_loss(guess: Tensor, truth: Tensor) -> Tensor:
    """Compute 1 - generalised IoU (n,) of boxes (n, 4); a guess may have swapped corners."""
    import torch

    low = torch.maximum(guess[:, :2], truth[:, :2])
    high = torch.minimum(guess[:, 2:], truth[:, 2:])
    inter = (high - low).clamp(min=0).prod(1)
    area_guess = (guess[:, 2:] - guess[:, :2]).clamp(min=0).prod(1)
    area_truth = (truth[:, 2:] - truth[:, :2]).prod(1)
    union = area_guess + area_truth - inter
    outer_low = torch.minimum(guess[:, :2], truth[:, :2])
    outer_high = torch.maximum(guess[:, 2:], truth[:, 2:])
    outer = (outer_high - outer_low).clamp(min=1.0).prod(1)
    result: Tensor = 1 - inter / union.clamp(min=1e-3) + (outer - union) / outer
    return result


def dense_loss(heads: ModuleDict, tokens: Tensor, targets: DenseTargets) -> tuple[Tensor, dict[str, float]]:
    """Compute the sum of the heads' losses, with a generalised IoU of the boxes, and its parts.

    tokens: (B, 81, width).
    """
    from torch.nn import functional

    tokens = tokens.float()
    covered = functional.binary_cross_entropy_with_logits(
        heads["coverage"](tokens), targets.coverage, reduction="sum"
    ) / len(tokens)
    owner = functional.cross_entropy(heads["owner"](tokens).flatten(0, 1), targets.owner_class.flatten())
    owned = targets.owner_class < heads["peak"].out_features
    peak_logits = heads["peak"](tokens)
    raw = functional.binary_cross_entropy_with_logits(peak_logits, targets.peak, reduction="none")
    doubt = (targets.peak - peak_logits.sigmoid()).abs().detach() ** 1.5
    peak = (raw * doubt * (1 + 2 * targets.peak)).sum() / targets.peak.sum().clamp(min=1.0)
    box = _number_loss(heads["owner_box"](tokens)[owned], targets.owner_box[owned])
    numbers = _number_loss(heads["numbers"](tokens)[targets.has_peak], targets.peak_numbers[targets.has_peak])
    total = 0.03 * covered + 0.7 * owner + peak + 0.7 * box + numbers
    parts = {"coverage": covered, "owner": owner, "peak": peak, "box": box, "numbers": numbers}
    return total, {name: float(value.detach()) for name, value in parts.items()}


def _number_loss(guess: Tensor, truth: Tensor) -> Tensor:
    """Compute smooth L1 of squeezed distances plus generalised IoU of the last four; 0 without objects."""
    from torch.nn import functional

    if not len(truth):
        return guess.sum()
    near = functional.smooth_l1_loss(guess, squeeze_px(truth), beta=0.05)
    return near + 0.5 * _giou_loss(unsqueeze_px(guess[:, -4:]), truth[:, -4:]).mean()
