"""The option --refine-boxes of jobs that ask a language model, and what it puts into the preset's tables."""

from __future__ import annotations

from argparse import _ActionsContainer
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline.prompt.box_margins import read_margins


def add_box_option(group: _ActionsContainer) -> None:
    """Add --refine-boxes, None when not given."""
    group.add_argument(
        "--refine-boxes",
        metavar="geoseg|FILE",
        help="move the sides of the language model's boxes outwards before they prompt the segmenter: geoseg "
        "(its published 0.2 left and top, 0.1 right and bottom), or the boxes.json that "
        "jobs/calibrate_boxes.py measured for this checkpoint (default: leave them)",
    )


def with_refined_boxes(tables: Mapping[str, Any], text: str | None) -> dict[str, Any]:
    """Lay the margins that --refine-boxes names over the prompter's table. Raises InputError."""
    if text is None:
        return dict(tables)
    prompter = {**tables.get("prompter", {}), "refine_boxes": asdict(read_margins(text))}
    return {**tables, "prompter": prompter}
