"""Correct boxes that a checkpoint draws shifted or in a wrong size: GeoSeg's bias-aware refinement.

1. `read_margins` takes `geoseg`, the published margins, or a file that jobs/calibrate_boxes.py wrote.
2. `BoxMargins` says by which share of its own width and height each side of a box is moved outwards.
3. `moved_boxes` clamps every box to the read window, moves its sides, and clamps it again.

Source: GeoSeg, section 3.2, equation 2: x0 - alpha w, y0 - alpha h, x1 + beta w, y1 + beta h, with alpha =
0.2 and beta = 0.1. The paper has one number for left and top and one for right and bottom; here every side
has its own. The numbers are pixels of the read window, so the frame of the profile is undone before
(frames.py). A wrong frame shifts boxes as well, and no margin mends that: measure with
jobs/calibrate_boxes.py first. The released code also grows boxes below 16 px to 16 px, which the paper does
not mention and this module leaves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipeline.errors import InputError
from pipeline.schema.tile_answers import Prompt

SIDES = ("left", "top", "right", "bottom")
"""Names of the four margins, in the order of a box's numbers."""

MIN_SIDE_PX = 1.0
"""A box keeps at least this width and height; margins that would take more leave it as it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxMargins:
    """How far the sides of a box move outwards, as shares of its width (left, right) or height."""

    left: float = 0.0
    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    """Negative: the side moves inwards."""
    profile: str = ""
    """Profile with which they were measured; another one is refused. Empty: any."""

    def __post_init__(self) -> None:
        given = [getattr(self, side) for side in SIDES]
        if not all(math.isfinite(value) and -0.5 < value <= 5 for value in given):
            raise ValueError(f"margins of a box lie above -0.5 and up to 5 of its side, got {given}")

    @property
    def on(self) -> bool:
        """Whether any side moves."""
        return any(getattr(self, side) for side in SIDES)

    def result_parameters(self) -> dict[str, float]:
        """What can change a result, for a fingerprint."""
        return {side: getattr(self, side) for side in SIDES}


GEOSEG = BoxMargins(left=0.2, top=0.2, right=0.1, bottom=0.1)
"""The published margins: alpha = 0.2 and beta = 0.1."""


def moved_boxes(
    prompts: Sequence[Prompt], margins: BoxMargins, window_hw: tuple[int, int]
) -> tuple[Prompt, ...]:
    """Move the sides of every box; points and prompts without a box stay.

    Args:
        prompts: in pixel edges of the read window.
        margins: shares of a box's width and height.
        window_hw: (height, width) of the read window in pixels.
    """
    if not margins.on:
        return tuple(prompts)
    return tuple(
        prompt
        if prompt.box_xyxy is None
        else replace(prompt, box_xyxy=moved_box(prompt.box_xyxy, margins, window_hw))
        for prompt in prompts
    )


def moved_box(
    box_xyxy: tuple[float, float, float, float], margins: BoxMargins, window_hw: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Move the sides of one box, in pixel edges of the window. One that would vanish stays as it is."""
    height, width = window_hw
    x0, x1 = (min(max(box_xyxy[n], 0.0), float(width)) for n in (0, 2))
    y0, y1 = (min(max(box_xyxy[n], 0.0), float(height)) for n in (1, 3))
    wide = x1 - x0
    high = y1 - y0
    moved = (
        max(x0 - margins.left * wide, 0.0),
        max(y0 - margins.top * high, 0.0),
        min(x1 + margins.right * wide, float(width)),
        min(y1 + margins.bottom * high, float(height)),
    )
    if moved[2] - moved[0] < MIN_SIDE_PX or moved[3] - moved[1] < MIN_SIDE_PX:
        return box_xyxy
    return moved


def read_margins(text: str) -> BoxMargins:
    """Read `geoseg`, or the margins of a calibration file.

    Raises InputError for a file that is not there or holds no margins.
    """
    if text == "geoseg":
        return GEOSEG
    try:
        content = json.loads(Path(text).read_text(encoding="utf-8"))
        sides = content["box_margins"]
        return BoxMargins(
            **{side: float(sides[side]) for side in SIDES}, profile=str(content.get("profile", ""))
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "refined boxes need the word geoseg, or a file that jobs/calibrate_boxes.py wrote",
            came=f"{text}: {error!r}",
            remedy="write --refine-boxes geoseg, or give its boxes.json",
        ) from error


def margins_document(margins: BoxMargins) -> dict[str, object]:
    """Give the part of a calibration file that `read_margins` reads."""
    content = asdict(margins)
    return {"profile": content.pop("profile"), "box_margins": content}
