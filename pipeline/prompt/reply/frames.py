"""Map coordinates from the checkpoint's frame to the tile's read window, with one scale per axis.

A reply gives coordinates in an image of `frame_wh` = (w, h) units; the tile's read window has W x H pixels.
The image was squashed, so x * W / w and y * H / h map pixel edges to pixel edges. Nothing is rounded: SAM
takes fractions of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.prompt.reply.parse import ReplyItem
from pipeline.schema.tile_answers import Prompt


def to_window(
    items: Sequence[ReplyItem], frame_wh: tuple[float, float], window_hw: tuple[int, int]
) -> tuple[Prompt, ...]:
    """Turn items in the frame into prompts in pixel edges of the read window, in order.

    An item inside the frame becomes a prompt inside the window.

    Args:
        items: in units of the frame; inside it from `parse_reply`, anywhere from `parse_released`.
        frame_wh: (width, height) of the frame (`Profile.frame_wh`).
        window_hw: (height, width) of the read window in pixels (`Window.shape`).
    """
    height, width = window_hw

    def scaled(x: float, y: float) -> tuple[float, float]:
        return x * width / frame_wh[0], y * height / frame_wh[1]

    prompts = []
    for item in items:
        box = None if item.box_xyxy is None else (*scaled(*item.box_xyxy[:2]), *scaled(*item.box_xyxy[2:]))
        points = tuple(scaled(*point) for point in (*item.points_xy, *item.negative_xy))
        labels = (1,) * len(item.points_xy) + (0,) * len(item.negative_xy)
        prompts.append(Prompt(box_xyxy=box, points_xy=points, point_labels=labels, label=item.label))
    return tuple(prompts)
