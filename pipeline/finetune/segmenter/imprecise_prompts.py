"""Imitate imprecise prompters and varied sensors. Equal generators give equal results.

1. `augment` applies one of the eight symmetries to a window and disturbs its pixels.
2. `pick_objects` chooses the objects of a window that get a prompt.
3. `jittered_box` moves each side of the true box by a normal error, up to 4 px + 4 % of the side. Some boxes
   lose a part at one side, or grow.
4. `interior_points` takes the pixel nearest the centroid, or random pixels of the inner half.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.finetune.segmenter.training_windows import MIN_OBJECT_PX

P_TRUNCATED = 0.08
P_OVERSIZED = 0.08
P_EXACT = 0.1
"""Share of boxes without any error, like known locations from a map."""


def augment(
    rgb: NDArray[np.uint8], labels: NDArray[np.uint16], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Turn and disturb a window: rgb (S, S, 3) uint8, labels (S, S).

    It changes brightness, contrast, saturation and the colour of each channel, and adds blur, noise and block
    artefacts.
    """
    turns = int(rng.integers(4))
    flip = bool(rng.integers(2))
    rgb, labels = np.rot90(rgb, turns), np.rot90(labels, turns)
    if flip:
        rgb, labels = rgb[:, ::-1], labels[:, ::-1]
    pixels = rgb.astype(np.float32)
    if rng.random() < 0.8:
        grey = pixels.mean(axis=2, keepdims=True)
        pixels = grey + (pixels - grey) * np.float32(rng.uniform(0.5, 1.4))
        gain = rng.uniform(0.75, 1.3) * rng.uniform(0.88, 1.12, 3)
        mean = pixels.mean()
        pixels = (pixels - mean) * gain.astype(np.float32) + mean + np.float32(rng.uniform(-30, 30))
    if rng.random() < 0.25:
        sigma = rng.uniform(0.3, 1.3)
        pixels = ndimage.gaussian_filter(pixels, (sigma, sigma, 0), truncate=2.5)
    if rng.random() < 0.2:
        pixels = _blocky(pixels, float(rng.uniform(0.1, 0.5)))
    if rng.random() < 0.35:
        pixels = pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(1, 9))
    return np.clip(pixels, 0, 255).astype(np.uint8), np.ascontiguousarray(labels)


def _blocky(pixels: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    """Mix each 8 x 8 block with its mean, as strong JPEG compression does in flat areas."""
    height, width, _ = pixels.shape
    rows = height // 8 * 8
    cols = width // 8 * 8
    blocks = pixels[:rows, :cols].reshape(rows // 8, 8, cols // 8, 8, 3)
    mixed = blocks * (1 - strength) + blocks.mean(axis=(1, 3), keepdims=True) * strength
    out = pixels.copy()
    out[:rows, :cols] = mixed.reshape(rows, cols, 3)
    return out


def pick_objects(labels: NDArray[np.uint16], n: int, rng: np.random.Generator) -> list[int]:
    """Choose `n` labels to prompt for; none is repeated before all were chosen.

    Empty when no object of the window has MIN_OBJECT_PX pixels.
    """
    usable = np.flatnonzero(np.bincount(labels.ravel())[1:] >= MIN_OBJECT_PX) + 1
    if usable.size == 0:
        return []
    order: list[int] = []
    while len(order) < n:
        order += [int(v) for v in rng.permutation(usable)]
    return order[:n]


def true_box(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Find the pixel-edge box (x0, y0, x1, y1) of a mask with at least one pixel."""
    rows = np.flatnonzero(mask.any(axis=1))
    cols = np.flatnonzero(mask.any(axis=0))
    return np.array([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1], dtype=np.float64)


def jittered_box(
    box_xyxy: NDArray[np.float64], side_px: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Disturb a true box; returns the box and the size of the error in pixels.

    The box is clipped to the window and has sides of at least 3 px.
    """
    size = np.array([box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]])
    if rng.random() < P_EXACT:
        return box_xyxy.copy(), 0.0
    sigma = float(rng.uniform(0, 1)) * np.minimum(4.0 + 0.04 * size, 0.22 * size + 1.0)
    box = box_xyxy + rng.standard_normal(4) * np.tile(sigma, 2)
    kind = rng.random()
    if kind < P_TRUNCATED:
        edge = int(rng.integers(4))
        cut = rng.uniform(0.1, 0.35) * size[edge % 2]
        box[edge] += cut if edge < 2 else -cut
    elif kind < P_TRUNCATED + P_OVERSIZED:
        grow = rng.uniform(0.05, 0.25, 4) * np.tile(size, 2)
        box += grow * np.array([-1, -1, 1, 1])
    box = np.clip(box, 0, side_px)
    for axis in (0, 1):
        if box[axis + 2] - box[axis] < 3:
            middle = np.clip((box[axis] + box[axis + 2]) / 2, 1.5, side_px - 1.5)
            box[axis], box[axis + 2] = middle - 1.5, middle + 1.5
    return box, float(sigma.mean())


def interior_points(
    mask: NDArray[np.bool_], n: int, error_px: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw n imprecise points (n, 2) x, y for `mask`. The first is often the pixel nearest the centroid.

    `error_px` is the error of the box; points have half of it.
    """
    box = true_box(mask).astype(int)
    crop = mask[box[1] : box[3], box[0] : box[2]]
    depth = ndimage.distance_transform_edt(np.pad(crop, 1))[1:-1, 1:-1]
    rows, cols = np.nonzero(depth >= 0.5 * depth.max())
    picks = rng.integers(rows.size, size=n)
    points = np.stack([cols[picks], rows[picks]], axis=1).astype(np.float64)
    if n and rng.random() < 0.6:
        inside_rows, inside_cols = np.nonzero(crop)
        nearest = ((inside_rows - inside_rows.mean()) ** 2 + (inside_cols - inside_cols.mean()) ** 2).argmin()
        points[0] = inside_cols[nearest], inside_rows[nearest]
    points += 0.5 + np.array([box[0], box[1]]) + rng.standard_normal((n, 2)) * 0.5 * error_px
    return np.clip(points, 0, np.array(mask.shape[::-1]))
