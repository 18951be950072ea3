"""What encoder and decoder do to arrays on the device: normalisation, padding, prompts as tensors, cropped
masks.

1. `square_pixels` turns uint8 tiles into the model's input: padded to a square, resized, normalised, all on
   the device.
2. `prompt_tensors` writes a prompt as SAM2 does: box corners as points with labels 2 and 3, before the
   clicks.
3. `crop_masks` enlarges low-resolution logits only inside the rows and columns that can hold object pixels,
   thresholds, removes invalid pixels, and cuts each mask to its bounding box before it leaves the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.schema import Prompt

PIXEL_MEAN: Final = (0.485, 0.456, 0.406)
PIXEL_STD: Final = (0.229, 0.224, 0.225)
"""ImageNet statistics of pixels in 0..1, as in `sam2.utils.transforms.SAM2Transforms`."""


def autocast(device: str, dtype: str) -> AbstractContextManager[Any]:
    """Mixed precision on the device, or nothing for float32."""
    import torch

    if dtype == "float32":
        return nullcontext()
    mixed: AbstractContextManager[Any] = torch.autocast(
        torch.device(device).type, dtype=getattr(torch, dtype)
    )
    return mixed


def square_pixels(rgb_u8: list[NDArray[np.uint8]], *, square_px: int, image_px: int, device: str) -> Any:
    """(B, 3, image_px, image_px) float32, normalised, from tiles (h, w, 3) of at most square_px a side.

    Tiles smaller than the square (they touch the grid's border) repeat their last row and column to the right
    and below: scale stays that of all other tiles and no artificial edge appears. SAM2 itself squashes a tile
    to a square; for a square tile of square_px both are the same.
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
    """Points that a prompt becomes: two for a box, one per click."""
    return (2 if prompt.box_xyxy is not None else 0) + len(prompt.points_xy)


def prompt_tensors(prompts: Sequence[Prompt], scale: float, device: str) -> tuple[Any, Any]:
    """(coordinates (N, K, 2) float32 in model pixels, labels (N, K) int32) of prompts that all have K tokens."""
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
    logits: Any, threshold: float, valid: NDArray[np.bool_], square_px: int
) -> list[tuple[int, int, NDArray[np.bool_]] | None]:
    """(row0, col0, mask (h, w)) of each of N low-resolution logit maps, None where no valid pixel is above
    the threshold.

    logits: (N, L, L) float32 covering the square of square_px pixels at the tile's top left; valid: (H, W) of
    the tile. Equal to bilinear enlargement (align_corners=False) of the whole map, `> threshold`, `& valid`,
    cut to its bounding box. A pixel is above the threshold only where one of the four logits around it is, so
    only the cells from the first to the last such row and column, grown by one, are enlarged.
    """
    above = logits > threshold
    n, side, _ = logits.shape
    rows = above.any(2)
    cols = above.any(1)
    spans = _spans(rows, side), _spans(cols, side)
    # one small copy tells the host where every mask of the batch lies
    bounds = [[(int(first), int(last)) for first, last in span.cpu().numpy()] for span in spans]
    height, width = valid.shape
    crops: list[tuple[int, int, NDArray[np.bool_]] | None] = []
    for i in range(n):
        row0, row1 = _pixel_range(*bounds[0][i], side, square_px, height)
        col0, col1 = _pixel_range(*bounds[1][i], side, square_px, width)
        if row0 >= row1 or col0 >= col1:
            crops.append(None)
            continue
        fine = _enlarge(_enlarge(logits[i], row0, row1, square_px).T, col0, col1, square_px).T
        mask = (fine > threshold).cpu().numpy() & valid[row0:row1, col0:col1]
        crops.append(_trimmed(mask, row0, col0))
    return crops


def _spans(hit: Any, side: int) -> Any:
    """(N, 2) first and last True along axis 1 of (N, side); first > last where there is none."""
    import torch

    index = torch.arange(side, device=hit.device)
    first = torch.where(hit, index, side).amin(1)
    last = torch.where(hit, index, -1).amax(1)
    return torch.stack([first, last], 1)


def _pixel_range(first: int, last: int, side: int, square_px: int, limit: int) -> tuple[int, int]:
    """Pixels [start, stop) whose interpolation reads one of the cells first..last, clipped to the tile."""
    if first > last:
        return 0, 0
    cell_px = square_px / side
    start = max(0, int(np.floor((first - 0.5) * cell_px - 0.5)))
    stop = min(limit, int(np.ceil((last + 1.5) * cell_px + 0.5)) + 1)
    return start, stop


def _enlarge(values: Any, start: int, stop: int, square_px: int) -> Any:
    """Pixels [start, stop) of the linear enlargement of axis 0 of (L, M) to square_px, align_corners=False."""
    import torch

    side = values.shape[0]
    at = (torch.arange(start, stop, device=values.device, dtype=torch.float32) + 0.5) * (
        side / square_px
    ) - 0.5
    at = at.clamp(min=0)
    low = at.long().clamp(max=side - 1)
    high = (low + 1).clamp(max=side - 1)
    share = (at - low)[:, None]
    return values[low] * (1 - share) + values[high] * share


def _trimmed(mask: NDArray[np.bool_], row0: int, col0: int) -> tuple[int, int, NDArray[np.bool_]] | None:
    rows = np.flatnonzero(mask.any(axis=1))
    cols = np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    crop = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    return row0 + int(rows[0]), col0 + int(cols[0]), np.ascontiguousarray(crop)
