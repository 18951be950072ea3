"""Map coordinates from the checkpoint's frame to the tile's read window and back, with one scale per axis.

A reply gives coordinates in an image of `frame_wh` = (w, h) units; the tile's read window has W x H pixels.
The image was squashed, so x * W / w and y * H / h map pixel edges to pixel edges. Nothing is rounded: SAM
takes fractions of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.prompt.reply.parse import ReplyItem
from pipeline.schema import Prompt


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


def to_frame(
    prompts: Sequence[Prompt], frame_wh: tuple[float, float], window_hw: tuple[int, int]
) -> tuple[ReplyItem, ...]:
    """Turn prompts back into the items of a reply that asks for them. Training replies are made this way."""
    height, width = window_hw

    def scaled(x: float, y: float) -> tuple[float, float]:
        return x * frame_wh[0] / width, y * frame_wh[1] / height

    items = []
    for prompt in prompts:
        box = (
            None
            if prompt.box_xyxy is None
            else (*scaled(*prompt.box_xyxy[:2]), *scaled(*prompt.box_xyxy[2:]))
        )
        labelled = tuple(zip(prompt.points_xy, prompt.point_labels, strict=True))
        points, negative = (
            tuple(scaled(*point) for point, label in labelled if label == wanted) for wanted in (1, 0)
        )
        items.append(ReplyItem(box_xyxy=box, points_xy=points, negative_xy=negative, label=prompt.label))
    return tuple(items)
