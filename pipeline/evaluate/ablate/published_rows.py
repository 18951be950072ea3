"""What the papers' own ablations say, so that it can stand beside ours. Their data is not ours.

Every row is a fact of the paper's table, in per cent. `data` says on which samples it was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Axis = str

EARTHREASON = "EarthReason test, 1928 images, Qwen2.5-VL-3B and SAM2.1 small unless named"
GEOSEG_BENCH = "GeoSeg-Bench, 810 images, Qwen3-VL-32B and SAM3"


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRow:
    """A row of a paper's table."""

    name: str
    source: str
    """Paper and table."""
    data: str
    figures: Mapping[str, float] = field(default_factory=dict)
    """Name of a figure (as in results.json) -> per cent."""


def _think2seg(table: int, name: str, giou: float, ciou: float) -> PublishedRow:
    return PublishedRow(
        name=name,
        source=f"Think2Seg-RS, table {table}",
        data=EARTHREASON,
        figures={"giou": giou, "ciou": ciou},
    )


def _geoseg(name: str, iou: float, dice: float, precision: float, recall: float, bf: float) -> PublishedRow:
    return PublishedRow(
        name=name,
        source="GeoSeg, table 3",
        data=GEOSEG_BENCH,
        figures={"iou": iou, "dice": dice, "precision": precision, "recall": recall, "boundary_f": bf},
    )


_FULL = _geoseg("refined boxes, routes A and B", 56.4, 64.2, 69.0, 65.7, 26.6)
_COMBINATIONS = (
    _think2seg(6, "box", 68.27, 70.95),
    _think2seg(6, "two points", 56.01, 53.78),
    _think2seg(6, "box and two points", 71.09, 74.13),
    _think2seg(6, "box and four points", 69.18, 72.45),
    _think2seg(6, "box, two points and two negative ones", 68.21, 72.16),
)

PUBLISHED: Mapping[Axis, tuple[PublishedRow, ...]] = {
    "refinement": (_geoseg("boxes as they come", 51.1, 59.9, 62.7, 64.3, 21.7), _FULL),
    "routes": (
        _geoseg("route A alone", 43.2, 49.0, 52.4, 48.9, 21.2),
        _geoseg("route B alone", 52.9, 61.4, 59.6, 71.5, 24.3),
        _FULL,
    ),
    "prompters": (
        _think2seg(4, "LLaVA-1.5-7B", 39.26, 36.94),
        _think2seg(4, "InternVL3-2B", 66.03, 66.96),
        _think2seg(4, "InternVL3-8B", 73.24, 73.13),
        _think2seg(4, "Qwen2.5-VL-3B", 71.09, 74.13),
        _think2seg(4, "Qwen2.5-VL-7B", 73.73, 75.83),
    ),
    "segmenters": (
        _think2seg(5, "SAM2 tiny", 70.62, 73.94),
        _think2seg(5, "SAM2 small", 71.09, 74.13),
        _think2seg(5, "SAM2 base-plus", 70.78, 72.84),
        _think2seg(5, "SAM2 large", 70.43, 72.39),
    ),
    "combinations": _COMBINATIONS,
    "negatives": (_COMBINATIONS[2], _COMBINATIONS[4]),
    "shapes": (),
}
"""Axis -> rows, from Think2Seg-RS (section 4.5) and GeoSeg (section 5.3). Prompts after the shape of a target
are Think2Seg-RS's future work (section 5, figure B.3), without figures.
"""
