"""Draw one sample: the image, the pixels where answer and truth agree or differ, and the prompts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.evaluate.figures.boundary import outline
from pipeline.schema.tile_answers import Prompt

Rgb = tuple[int, int, int]

COLOURS: Mapping[str, Rgb] = {"hit": (20, 200, 120), "missed": (60, 120, 255), "too much": (255, 70, 60)}
"""Colours of right pixels, of target pixels that the answer lacks, and of pixels that it has too much."""

_FILL_ALPHA = 0.38
_PROMPT: Rgb = (255, 225, 60)
_POINT_RADIUS_PX = 3


def draw_sample(
    rgb: NDArray[np.uint8],
    true: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    prompts: Sequence[Prompt],
    *,
    side_px: int,
) -> bytes:
    """Draw `rgb` (H, W, 3), both masks (H, W) filled and outlined, and boxes and points on top.

    Returns WebP bytes. `side_px` is the longer side of the picture.
    """
    factor = side_px / max(rgb.shape[:2])
    size = (max(round(rgb.shape[1] * factor), 1), max(round(rgb.shape[0] * factor), 1))
    ground = np.asarray(
        Image.fromarray(np.ascontiguousarray(rgb)).resize(size, Image.Resampling.BICUBIC), dtype=np.float32
    )
    masks = [_fit(mask, size) for mask in (true, predicted)]
    regions = {"hit": masks[0] & masks[1], "missed": masks[0] & ~masks[1], "too much": masks[1] & ~masks[0]}
    for name, region in regions.items():
        ground[region] = (1 - _FILL_ALPHA) * ground[region] + _FILL_ALPHA * np.asarray(
            COLOURS[name], dtype=np.float32
        )
    for name, region in regions.items():
        ground[outline(region)] = COLOURS[name]
    image = Image.fromarray(ground.round().astype(np.uint8))
    _draw_prompts(image, prompts, factor)
    sink = io.BytesIO()
    image.save(sink, format="WEBP", quality=84, method=4)
    return sink.getvalue()


def _fit(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)).astype(
        np.bool_
    )


def _draw_prompts(image: Image.Image, prompts: Sequence[Prompt], factor: float) -> None:
    """Draw boxes and points. Those far outside are moved closer: Pillow draws with 32-bit integers."""
    pen = ImageDraw.Draw(image)
    limits = tuple((-side - _POINT_RADIUS_PX, 2 * side + _POINT_RADIUS_PX) for side in image.size)

    def place(x: float, y: float) -> tuple[float, float]:
        (left, right), (top, bottom) = limits
        return min(max(x * factor, left), right), min(max(y * factor, top), bottom)

    for prompt in prompts:
        if prompt.box_xyxy is not None:
            (x0, y0), (x1, y1) = place(*prompt.box_xyxy[:2]), place(*prompt.box_xyxy[2:])
            pen.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), outline=_PROMPT, width=1)
        for (x, y), label in zip(prompt.points_xy, prompt.point_labels, strict=True):
            centre = place(x, y)
            radius = _POINT_RADIUS_PX
            frame = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
            pen.ellipse(
                frame, fill=_PROMPT if label == 1 else None, outline=(20, 20, 20) if label == 1 else _PROMPT
            )
