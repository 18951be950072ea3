"""Make replies from masks. The warm start teaches them, so that a policy knows the format before it is
rewarded for overlap.

1. `taught_items` makes each 8-connected piece of the true mask an item: its box, points inside it (`_inside`)
   and points beside it (`_beside`).
2. Items follow the raster order of 28-unit cells (`_place`), so only one order is right.
3. `taught_reply` writes the reply.

Other boxes and points would do as well, so the paper does not train on such pseudo prompts (Think2Seg-RS
section 3.2).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.finetune.grpo.combinations import PromptCombination
from pipeline.finetune.prompter.tokenizer import cell_name
from pipeline.prompt.profile import Profile
from pipeline.prompt.reply.parse import ReplyItem

MIN_SIDE = 8.0
"""Width of the narrowest piece that is taught, in units of the frame."""

CELL = 28.0
"""Side of a cell in units of the frame: one visual token of Qwen2.5-VL at the profile's image size."""

MARGIN = 0.15
"""Largest distance of a negative point from the piece's box, as a share of the box's longer side."""

Style = Literal["cells", "fenced"]
Points = tuple[tuple[float, float], ...]


def taught_items(
    truth: NDArray[np.bool_], combination: PromptCombination, frame_wh: tuple[float, float]
) -> tuple[ReplyItem, ...]:
    """Make items from a mask (H, W), in whole units of the frame.

    A piece without room for its points is left out. Touching objects become one piece, which is good enough
    for a short warm start.
    """
    import cc3d

    pieces = cc3d.connected_components(
        np.ascontiguousarray(truth.astype(np.uint8)), connectivity=8, out_dtype=np.uint32
    )
    scale = np.array([frame_wh[0] / truth.shape[1], frame_wh[1] / truth.shape[0]])
    items = []
    for label, (rows, cols) in enumerate(cc3d.statistics(pieces)["bounding_boxes"][1:], 1):
        piece = pieces[rows, cols] == label
        corner = np.array([cols.start, rows.start], np.float64)
        box = np.rint(np.concatenate([corner, corner + piece.shape[::-1]]) * np.tile(scale, 2))
        if min(box[2] - box[0], box[3] - box[1]) < MIN_SIDE:
            continue
        inside = (_inside(piece, combination.positive) + corner + 0.5) * scale
        beside = (_beside(truth, (rows, cols), combination.negative) + 0.5) * scale
        if len(beside) == combination.negative and len(inside) == combination.positive:
            items.append(_item(box, inside, beside, combination))
    return tuple(sorted(items, key=_place))


def _inside(piece: NDArray[np.bool_], count: int) -> NDArray[np.float64]:
    """Choose pixels inside a piece: (count, 2) column and row, fewer when the piece is too small.

    The first is the pixel nearest the centroid. Each further one lies as far as possible from those before
    it, among the pixels at least half as deep inside as the deepest.
    """
    from scipy.ndimage import distance_transform_edt

    pixels = np.argwhere(piece)[:, ::-1].astype(np.float64)
    chosen = [int(((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1).argmin())] if count else []
    depth = distance_transform_edt(np.pad(piece, 1))[1:-1, 1:-1][piece]
    deep: NDArray[np.bool_] = depth >= 0.5 * depth.max()
    points: NDArray[np.float64] = pixels[_spread(pixels, deep, chosen, count)]
    return points


def _beside(truth: NDArray[np.bool_], span: tuple[slice, slice], count: int) -> NDArray[np.float64]:
    """Choose pixels off the target, in the piece's box grown by MARGIN: (count, 2) column and row.

    The first is the pixel farthest from the target. Each further one lies as far as possible from those
    before it, among the pixels at least half as far from the target as the first. There are fewer if not
    enough pixels are free.
    """
    from scipy.ndimage import distance_transform_edt

    if count == 0:
        return np.zeros((0, 2))
    rows, cols = span
    grow = max(3, round(MARGIN * max(rows.stop - rows.start, cols.stop - cols.start)))
    top = max(rows.start - grow, 0)
    left = max(cols.start - grow, 0)
    free = ~truth[top : rows.stop + grow, left : cols.stop + grow]
    if not free.any():
        return np.zeros((0, 2))
    depth = distance_transform_edt(free)[free]
    pixels = np.argwhere(free)[:, ::-1].astype(np.float64)
    chosen = _spread(pixels, depth >= 0.5 * depth.max(), [int(depth.argmax())], count)
    points: NDArray[np.float64] = pixels[chosen] + np.array([left, top])
    return points


def _spread(
    pixels: NDArray[np.float64], usable: NDArray[np.bool_], chosen: list[int], count: int
) -> list[int]:
    """Extend `chosen` to `count` indexes of usable pixels, each the farthest from those before it."""
    while len(chosen) < count:
        gap = np.min([((pixels - pixels[index]) ** 2).sum(axis=1) for index in chosen], axis=0)
        best = int(np.where(usable, gap, -1.0).argmax())
        if gap[best] <= 0 or not usable[best]:
            break
        chosen = [*chosen, best]
    return chosen


def _item(
    box: NDArray[np.float64],
    inside: NDArray[np.float64],
    beside: NDArray[np.float64],
    combination: PromptCombination,
) -> ReplyItem:
    corners = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
    within = np.clip(
        np.floor(inside), box[:2], box[2:]
    )  # rounding up would move the last pixel of a thin piece outside it
    return ReplyItem(
        box_xyxy=corners if combination.box else None,
        points_xy=_points(within),
        negative_xy=_points(np.floor(beside)),
    )


def _points(array: NDArray[np.float64]) -> Points:
    return tuple((float(x), float(y)) for x, y in array)


def _place(item: ReplyItem) -> tuple[float, float, float, float]:
    box = item.box_xyxy
    x, y = (
        item.points_xy[0]
        if item.points_xy
        else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        if box
        else (0.0, 0.0)
    )
    return y // CELL, x // CELL, y, x


def taught_reply(thought: str, items: Sequence[ReplyItem], profile: Profile, style: Style) -> str:
    """Write the whole reply.

    `cells` is the embedded prompter's style: bare JSON without spaces, where each item has its cell first,
    then its points, then its box. `fenced` is JSON in a code fence, with the box first.
    """
    answer = json.dumps(
        [_written(item, profile, style) for item in items],
        separators=(",", ":") if style == "cells" else (", ", ": "),
    )
    if style == "cells":
        return f"<think>{thought}</think><answer>{answer}</answer>"
    return f"<think>{thought}</think>\n<answer>```json{answer}```</answer>"


def _written(item: ReplyItem, profile: Profile, style: Style) -> dict[str, Any]:
    parser = profile.parser
    box = {} if item.box_xyxy is None else {parser.box_keys[0]: [int(v) for v in item.box_xyxy]}
    points: dict[str, Any] = {}
    if item.points_xy:
        points[parser.points_keys[0]] = [[int(v) for v in point] for point in item.points_xy]
    if item.negative_xy:
        points[parser.negative_keys[0]] = [[int(v) for v in point] for point in item.negative_xy]
    row, col, _, _ = _place(item)
    return {"cell": cell_name(int(row), int(col)), **points, **box} if style == "cells" else {**box, **points}


def default_thought(query: str, *, found: bool) -> str:
    """Write the thought of a taught reply when the data has none."""
    return f'The question is "{query}". I see {"some" if found else "none"}.'
