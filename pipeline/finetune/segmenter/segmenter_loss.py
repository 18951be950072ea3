"""Compute SAM2's image path with gradients, and the losses of the embedded segmenter.

`PromptBatch` holds the inputs of a step as arrays. `forward` computes logits, predicted IoU and the finest
encoder features. `mask_loss` and `dense_loss` compare them with the truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.segment.tensors import PIXEL_MEAN, PIXEL_STD, autocast

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


@dataclass(frozen=True, kw_only=True)
class PromptBatch:
    """Inputs of one step. N = windows * prompts; the prompts of a window are consecutive."""

    rgb: NDArray[np.uint8]
    """(B, S, S, 3)"""
    coords_xy: NDArray[np.float32]
    """(N, K, 2) pixel-edge coordinates of the window: box corners, then points."""
    labels: NDArray[np.int32]
    """(N, K): 2 and 3 = box corners, 1 = point inside."""
    boxes_xyxy: NDArray[np.float32]
    """True boxes, (N, 4)."""
    masks: NDArray[np.bool_]
    """(N, S, S)"""
    dense: NDArray[np.float32]
    """Dense targets, (B, 2, S/4, S/4); see `dense_targets`."""


def forward(model: Module, inputs: PromptBatch, device: str, out_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """Run the image path.

    Returns logits (N, out_px, out_px) float32 over the window, predicted IoU (N,), and the finest encoder
    features (B, C, h, w).
    """
    import torch
    from torch.nn import functional

    n_windows, side = inputs.rgb.shape[:2]
    per_window = len(inputs.coords_xy) // n_windows
    pixels = torch.from_numpy(inputs.rgb).to(device).permute(0, 3, 1, 2).float().div_(255)
    pixels = functional.interpolate(
        pixels, (model.image_size, model.image_size), mode="bilinear", align_corners=False
    )
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (PIXEL_MEAN, PIXEL_STD))
    coords = torch.from_numpy(inputs.coords_xy).to(device) * (model.image_size / side)
    labels = torch.from_numpy(inputs.labels).to(device)
    sparse, dense = model.sam_prompt_encoder(points=(coords, labels), boxes=None, masks=None)
    place = model.sam_prompt_encoder.get_dense_pe()
    with autocast(device, "bfloat16"):
        fine, middle, coarse = model.forward_image((pixels - mean) / std)["backbone_fpn"]
        coarse = coarse + model.no_mem_embed.view(1, -1, 1, 1)
        logits, iou, _, _ = model.sam_mask_decoder(
            image_embeddings=coarse.repeat_interleave(per_window, 0),
            image_pe=place,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            repeat_image=False,
            high_res_features=[
                fine.repeat_interleave(per_window, 0),
                middle.repeat_interleave(per_window, 0),
            ],
        )
    logits = functional.interpolate(logits.float(), (out_px, out_px), mode="bilinear", align_corners=False)
    return logits[:, 0], iou[:, 0].float(), fine


def dense_loss(head: Module, fine: Tensor, inputs: PromptBatch) -> Tensor:
    """Compute the entropy of "an object is here" and "a boundary is here", from the finest features alone."""
    import torch
    from torch.nn import functional

    wanted = torch.from_numpy(inputs.dense).to(fine.device)
    logits = functional.interpolate(
        head(fine.float()), wanted.shape[-2:], mode="bilinear", align_corners=False
    )
    return functional.binary_cross_entropy_with_logits(logits, wanted)


def dense_targets(labels: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Make the dense targets (2, S/4, S/4) of labels (S, S).

    They are the share of object pixels in each 4 x 4 cell, and 1 where a cell holds more than one label.
    """
    side = labels.shape[0] // 4
    cells = labels.reshape(side, 4, side, 4).swapaxes(1, 2).reshape(side, side, 16)
    return np.stack([(cells > 0).mean(axis=2), cells.min(axis=2) != cells.max(axis=2)]).astype(np.float32)


def set_image_px(model: Module, image_px: int) -> None:
    """Set the input size of a SAM2Base. Its weights do not depend on it."""
    model.image_size = image_px
    cells = image_px // model.backbone_stride
    model.sam_image_embedding_size = cells
    model.sam_prompt_encoder.input_image_size = (image_px, image_px)
    model.sam_prompt_encoder.image_embedding_size = (cells, cells)
    model.sam_prompt_encoder.mask_input_size = (4 * cells, 4 * cells)


def mask_loss(logits: Tensor, iou: Tensor, inputs: PromptBatch) -> tuple[Tensor, Tensor]:
    """Compute the loss, and the IoU (N,) of each thresholded mask, both at the logits' resolution."""
    import torch
    from torch.nn import functional

    dense = functional.adaptive_avg_pool2d(
        torch.from_numpy(inputs.masks).to(logits.device).float(), logits.shape[-1]
    )
    target = dense > 0.5
    weight = _pixel_weights(inputs, logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, dense, reduction="none")
    entropy = (entropy * weight).sum((1, 2)) / weight.sum((1, 2))
    chance = logits.sigmoid()
    overlap = (chance * dense).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (chance.sum((1, 2)) + dense.sum((1, 2)) + 1)
    with torch.no_grad():
        hard = logits > 0
        reached = (hard & target).sum((1, 2)) / (hard | target).sum((1, 2)).clamp(min=1)
    return (entropy + dice + functional.mse_loss(iou, reached, reduction="none")).mean(), reached


def _pixel_weights(inputs: PromptBatch, logits: Tensor) -> Tensor:
    """Weigh pixels, in the shape of `logits`, so that small objects count as much as large ones.

    The weight is 1 in the true box grown by a quarter and 8 px, and 0.05 elsewhere.
    """
    import torch

    side = inputs.masks.shape[1]
    cells = logits.shape[-1]
    device = logits.device
    box = torch.from_numpy(inputs.boxes_xyxy).to(device)
    grow = 0.25 * (box[:, 2:] - box[:, :2]) + 8
    low = box[:, :2] - grow
    high = box[:, 2:] + grow
    at = (torch.arange(cells, device=device) + 0.5) * (side / cells)
    in_x = (at > low[:, :1]) & (at < high[:, :1])
    in_y = (at > low[:, 1:]) & (at < high[:, 1:])
    return torch.where(in_y[:, :, None] & in_x[:, None, :], 1.0, 0.05)


@contextmanager
def written_out_attention(active: bool) -> Iterator[None]:
    """Context in which `scaled_dot_product_attention` is two matrix products and a softmax.

    PyTorch's fused CPU kernel has a slow backward pass for SAM2's 64-token windows (measured: 1.26 s per step
    against 0.87 s).
    """
    from torch.nn import functional

    if not active:
        yield
        return
    name = "scaled_dot_product_attention"
    fused = getattr(functional, name)

    def plain(query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0) -> Tensor:
        assert dropout_p == 0.0
        weights = ((query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)).softmax(-1)
        return weights.to(value.dtype) @ value

    setattr(functional, name, plain)
    try:
        yield
    finally:
        setattr(functional, name, fused)
