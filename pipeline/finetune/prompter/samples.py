"""Turn a rendering with exact truth into what the prompter learns: objects, replies and dense grids.

1. `describe_tile` measures every object of a label raster and leaves out narrow and small ones.
2. `raster_order`: a reply lists objects in the order of the cells that hold their points. So there is always
   exactly one right next object.
3. `reply_text` renders the answer: a short rationale, then points and boxes, or `[]`.
4. The dense grids (`owner`, `coverage`) are the targets of the vision tower's warm start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.prompter import tokenizer as tok

IMAGE_PX = 252
"""Side of the square image that the prompter sees."""

CELL_PX = 28
"""Side of a cell, one token of the merged vision grid: patch 14, merge 2."""

GRID = IMAGE_PX // CELL_PX
"""Cells per side: 9."""

MIN_SIDE_PX = 8.0
"""Objects whose visible part is narrower than this, in image pixels, are left out."""

MIN_AREA_PX = 60.0
"""Objects whose visible part is smaller than this, in square image pixels, are left out."""

UNKNOWN_SUBJECT = "something else"
"""Name, in the rationale, of a thing that no world has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TileObjects:
    """The objects of one tile. Coordinates are pixel edges of the IMAGE_PX square image, (x, y)."""

    class_ids: NDArray[np.int64]
    """Class index of each object, (n,), in reply order."""
    boxes_xyxy: NDArray[np.float32]
    """(n, 4)"""
    points_xy: NDArray[np.float32]
    """Points (n, 2) inside the visible part."""
    owner: NDArray[np.int64]
    """(GRID, GRID): index of the object with most pixels in the cell; -1: none covers MIN_OWNED of it."""
    coverage: NDArray[np.float32]
    """(GRID, GRID, n_classes): share of the cell that each class covers, even by objects left out."""


MIN_OWNED = 0.08
"""Smallest share of a cell that its owner must cover."""


def describe_tile(labels: NDArray[np.integer], class_of: Mapping[int, int], *, n_classes: int) -> TileObjects:
    """Measure a tile.

    labels: (H, W) integers, 0 = background; class_of: label -> class index. A label that it lacks is treated
    as background. H and W may differ from IMAGE_PX: the image is squashed.
    """
    height, width = labels.shape
    present, flat = np.unique(labels, return_inverse=True)
    flat = flat.reshape(-1)
    known = np.asarray([int(class_of.get(int(label), -1)) if label else -1 for label in present], np.int64)
    scale = np.asarray([IMAGE_PX / width, IMAGE_PX / height])
    rows, cols = np.divmod(np.arange(flat.size), width)
    cell = (rows * GRID // height) * GRID + cols * GRID // width
    pixels = np.bincount(cell * len(present) + flat, minlength=GRID * GRID * len(present)).reshape(
        GRID * GRID, len(present)
    )
    share = pixels / np.maximum(pixels.sum(1, keepdims=True), 1)
    coverage = np.zeros((GRID * GRID, n_classes), np.float32)
    for column, class_id in enumerate(known):
        if class_id >= 0:
            coverage[:, class_id] += share[:, column]
    measured = [
        _measure(np.flatnonzero(flat == column), width, scale)
        for column in range(len(present))
        if known[column] >= 0
    ]
    columns = [column for column in range(len(present)) if known[column] >= 0]
    kept = [(column, *item) for column, item in zip(columns, measured, strict=True) if item is not None]
    kept.sort(key=lambda item: _raster_key(item[2]))
    order = [item[0] for item in kept]
    owner = np.full(GRID * GRID, -1, np.int64)
    if order:
        owned = share[:, order]
        best = owned.argmax(1)
        owner = np.where(owned.max(1) >= MIN_OWNED, best, -1)
    return TileObjects(
        class_ids=known[order] if order else np.zeros(0, np.int64),
        boxes_xyxy=np.asarray([item[1] for item in kept], np.float32).reshape(-1, 4),
        points_xy=np.asarray([item[2] for item in kept], np.float32).reshape(-1, 2),
        owner=owner.reshape(GRID, GRID),
        coverage=coverage.reshape(GRID, GRID, n_classes),
    )


def _measure(
    index: NDArray[np.integer], width: int, scale: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Measure box and point of the pixels `index` of a raster of `width` columns. None: it is too small.

    The point is the centroid of the visible part, or if that lies outside, the pixel nearest to it.
    """
    rows, cols = np.divmod(index, width)
    box = np.asarray([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]) * np.tile(scale, 2)
    area = index.size * float(scale.prod())
    if min(box[2] - box[0], box[3] - box[1]) < MIN_SIDE_PX or area < MIN_AREA_PX:
        return None
    middle_col = cols.mean()
    middle_row = rows.mean()
    nearest = int(((cols - middle_col) ** 2 + (rows - middle_row) ** 2).argmin())
    inside = bool(((cols == round(middle_col)) & (rows == round(middle_row))).any())
    point = (middle_col, middle_row) if inside else (cols[nearest], rows[nearest])
    return box, (np.asarray(point) + 0.5) * scale


def cell_of(points_xy: NDArray[np.floating]) -> NDArray[np.int64]:
    """Find the raster indexes (n,) of the grid cells that hold points (x, y)."""
    cells = np.clip((np.asarray(points_xy) // CELL_PX).astype(np.int64), 0, GRID - 1).reshape(-1, 2)
    result: NDArray[np.int64] = cells[:, 1] * GRID + cells[:, 0]
    return result


def _raster_key(point_xy: NDArray[np.floating]) -> tuple[int, float, float]:
    return int(cell_of(point_xy[None])[0]), float(point_xy[1]), float(point_xy[0])


def raster_order(points_xy: NDArray[np.floating]) -> NDArray[np.int64]:
    """Sort points in the order in which a reply lists their objects; returns indexes (n,)."""
    return np.asarray(sorted(range(len(points_xy)), key=lambda i: _raster_key(points_xy[i])), np.int64)


def answer_numbers(points_xy: NDArray[np.floating], boxes_xyxy: NDArray[np.floating]) -> NDArray[np.int64]:
    """Round to the numbers of an answer: (n, 6) int64, x, y, x0, y0, x1, y1 of each object.

    The point is rounded down, so that it stays in its cell. The box is rounded to the nearest pixel, at least
    one pixel wide, and contains the point.
    """
    box = np.clip(np.rint(boxes_xyxy), 0, IMAGE_PX).astype(np.int64).reshape(-1, 4)
    box[:, 2:] = np.maximum(box[:, 2:], box[:, :2] + 1)
    point = np.clip(np.floor(points_xy).astype(np.int64).reshape(-1, 2), box[:, :2], box[:, 2:])
    return np.concatenate([point, box], axis=1)


def rationale(subject: str, *, found: bool) -> str:
    """Write the text of the thinking block: what the query is about, then whether it is there."""
    return f"The question is about {subject}. I see {'some' if found else 'none'}."


def reply_text(subject: str, numbers: Sequence[Sequence[int]] | NDArray[np.int64]) -> str:
    """Write the whole reply. `numbers`: x, y, x0, y0, x1, y1 of each object; without any, the answer is `[]`.

    Every object begins with the cell of its point. So the choice of the next object is one decision, made
    before any number.
    """
    thought = f"{tok.THINK_OPEN}{rationale(subject, found=len(numbers) > 0)}{tok.THINK_CLOSE}"
    if len(numbers) == 0:
        return f"{thought}{tok.ANSWER_OPEN}{tok.NOTHING}{tok.ANSWER_CLOSE}"
    cells = cell_of(np.asarray(numbers)[:, :2])
    opens = [tok.cell_open(int(cell)) for cell in cells]
    parts = [
        f"{start}{x},{y}{tok.POINT_TO_BOX}{x0},{y0},{x1},{y1}"
        for start, (x, y, x0, y0, x1, y1) in zip(opens, numbers, strict=True)
    ]
    objects = f"{tok.OBJECTS_OPEN}{tok.NEXT_OBJECT.join(parts)}{tok.OBJECTS_CLOSE}"
    return f"{thought}{tok.ANSWER_OPEN}{objects}{tok.ANSWER_CLOSE}"


def query_text(query: str) -> str:
    """Write the user's text, which follows the image."""
    return f"Find: {query}"


def prompt_text(query: str) -> str:
    """Write the text between the image tokens and the reply, as the chat template renders it."""
    return f"<|vision_end|>{query_text(query)}<|im_end|>\n<|im_start|>assistant\n"


PROMPT_PREFIX = "<|im_start|>user\n<|vision_start|>"
"""Text before the image tokens, as the chat template renders it."""
