"""Prepare the input of SAM2's encoder and decoder, and turn their output into masks, on the device.

1. `square_pixels` turns uint8 tiles into the model's input: padded to a square, resized, normalised.
2. `prompt_groups` says which prompts are decoded together; `prompt_tensors` writes them as SAM2 does: the
   corners of a box are points with labels 2 and 3, before the clicks.
3. `crop_masks` turns low-resolution logits into masks. It enlarges only the rows and columns that can hold
   object pixels, and cuts each mask to its bounding box.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tile_answers import Prompt

if TYPE_CHECKING:
    from torch import Tensor

PIXEL_MEAN: Final = (0.485, 0.456, 0.406)
PIXEL_STD: Final = (0.229, 0.224, 0.225)
"""ImageNet statistics of pixels in 0..1, as in `sam2.utils.transforms.SAM2Transforms`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CroppedMask:
    """A mask cut to its bounding box."""

    row0: int
    """Top row of the crop in the tile's read window."""
    col0: int
    mask: NDArray[np.bool_]
    """(h, w); True = object."""


def autocast(device: str, dtype: str) -> AbstractContextManager[object]:
    """Context of mixed precision on the device. It does nothing for float32."""
    import torch

    if dtype == "float32":
        return nullcontext()
    mixed: AbstractContextManager[object] = torch.autocast(
        torch.device(device).type, dtype=getattr(torch, dtype)
    )
    return mixed


def square_pixels(rgb_u8: list[NDArray[np.uint8]], *, square_px: int, image_px: int, device: str) -> Tensor:
    """Make the model's input (B, 3, image_px, image_px), float32 and normalised.

    `rgb_u8`: tiles (h, w, 3) of at most square_px a side. Tiles at the border of the grid are smaller. Their
    last row and column are repeated to the right and below: this keeps the scale of all other tiles and adds
    no artificial edge. SAM2 itself squashes a tile to a square; for a tile of square_px both are the same.
    """
    import torch
    from torch.nn import functional

    squares = []
    for rgb in rgb_u8:
        pixels = torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(2, 0, 1)[None].float()
        height, width = rgb.shape[:2]
        if (height, width) != (square_px, square_px):
            pixels = functional.pad(pixels, (0, square_px - width, 0, square_px - height), mode="replicate")
        squares.append(pixels)
    stacked = torch.cat(squares).div_(255)
    if square_px != image_px:
        stacked = functional.interpolate(
            stacked, (image_px, image_px), mode="bilinear", align_corners=False, antialias=True
        )
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (PIXEL_MEAN, PIXEL_STD))
    return (stacked - mean) / std


def n_tokens(prompt: Prompt) -> int:
    """Number of points that a prompt becomes: two for a box, one per click."""
    return (2 if prompt.box_xyxy is not None else 0) + len(prompt.points_xy)


def prompt_groups(prompts: Sequence[Prompt], most: int) -> Iterator[list[int]]:
    """Group prompts for the decoder: yields places of at most `most` prompts of one number of points.

    Prompts are never padded to one length, since attention would see a padded point.
    """
    groups: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(n_tokens(prompt), []).append(index)
    for members in groups.values():
        for start in range(0, len(members), most):
            yield members[start : start + most]


def prompt_tensors(prompts: Sequence[Prompt], scale: float, device: str) -> tuple[Tensor, Tensor]:
    """Write N prompts of K tokens each as coordinates and labels.

    Coordinates are (N, K, 2) float32 (x, y) in model pixels: tile pixels times `scale`. Labels are (N, K)
    int32: 2 and 3 for box corners, 1 and 0 for clicks.
    """
    import torch

    coords = []
    labels = []
    for prompt in prompts:
        corners: list[tuple[float, float]] = []
        if prompt.box_xyxy is not None:
            x0, y0, x1, y1 = prompt.box_xyxy
            corners = [(x0, y0), (x1, y1)]
        coords.append([*corners, *prompt.points_xy])
        labels.append([2, 3][: len(corners)] + list(prompt.point_labels))
    xy = torch.tensor(coords, dtype=torch.float32, device=device).view(len(prompts), -1, 2)
    return xy * scale, torch.tensor(labels, dtype=torch.int32, device=device).view(len(prompts), -1)


def crop_masks(
    logits: Tensor, threshold: float, valid: NDArray[np.bool_], square_px: int
) -> list[CroppedMask | None]:
    """Turn N low-resolution logit maps into masks. None: no valid pixel is above the threshold.

    The result equals enlarging the whole map bilinearly (align_corners=False), then `> threshold`, `& valid`,
    and a cut to the bounding box. A pixel can be above the threshold only where one of the four logits around
    it is. So only the cells from the first to the last such row and column, grown by one, are enlarged.

    Args:
        logits: (N, L, L) float32, covering the square of square_px pixels at the tile's top left.
        threshold: logits above it are object.
        valid: (H, W) of the tile; True = imagery.
        square_px: side of that square in pixels.
    """
    above = logits > threshold
    n, side, _ = logits.shape
    rows = above.any(2)
    cols = above.any(1)
    spans = _spans(rows, side), _spans(cols, side)
    # One small copy tells the host where every mask of the batch lies.
    bounds = [[(int(first), int(last)) for first, last in span.cpu().numpy()] for span in spans]
    height, width = valid.shape
    crops: list[CroppedMask | None] = []
    for i in range(n):
        row0, row1 = _pixel_range(*bounds[0][i], side, square_px, height)
        col0, col1 = _pixel_range(*bounds[1][i], side, square_px, width)
        if row0 >= row1 or col0 >= col1:
            crops.append(None)
            continue
        fine = _enlarge(_enlarge(logits[i], row0, row1, square_px).T, col0, col1, square_px).T
        mask = (fine > threshold).cpu().numpy() & valid[row0:row1, col0:col1]
        crops.append(trimmed(mask, row0, col0))
    return crops


def _spans(hit: Tensor, side: int) -> Tensor:
    """Find the first and last True along axis 1 of (N, side), as (N, 2); first > last where there is none."""
    import torch

    index = torch.arange(side, device=hit.device)
    first = torch.where(hit, index, side).amin(1)
    last = torch.where(hit, index, -1).amax(1)
    return torch.stack([first, last], 1)


def _pixel_range(first: int, last: int, side: int, square_px: int, limit: int) -> tuple[int, int]:
    """Find the pixels [start, stop) of the tile whose interpolation reads one of the cells first..last."""
    if first > last:
        return 0, 0
    cell_px = square_px / side
    start = max(0, int(np.floor((first - 0.5) * cell_px - 0.5)))
    stop = min(limit, int(np.ceil((last + 1.5) * cell_px + 0.5)) + 1)
    return start, stop


def _enlarge(values: Tensor, start: int, stop: int, square_px: int) -> Tensor:
    """Enlarge axis 0 of (L, M) linearly to square_px (align_corners=False); return pixels [start, stop)."""
    import torch

    side = values.shape[0]
    centres = torch.arange(start, stop, device=values.device, dtype=torch.float32) + 0.5
    at = (centres * (side / square_px) - 0.5).clamp(min=0)
    low = at.long().clamp(max=side - 1)
    high = (low + 1).clamp(max=side - 1)
    share = (at - low)[:, None]
    return values[low] * (1 - share) + values[high] * share


def trimmed(mask: NDArray[np.bool_], row0: int, col0: int) -> CroppedMask | None:
    """Cut a mask (h, w) that starts at (row0, col0) of the tile to its bounding box. None: it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    cols = np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    crop = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    return CroppedMask(row0=row0 + int(rows[0]), col0=col0 + int(cols[0]), mask=np.ascontiguousarray(crop))
