"""How good a classifier of examples is on marks that were left out: a table, a picture, the marks again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from pipeline.geo.globe import LONLAT_CRS
from pipeline.run.examples.marks import Mark
from pipeline.schema.tiling import RunGrid

_SIDE = 220
_EDGE = 40
_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """Precision and recall of the marks whose probability is at least a threshold."""

    threshold: float
    precision: float
    recall: float


def at_threshold(probability: NDArray[np.float64], yes: NDArray[np.bool_], threshold: float) -> CurvePoint:
    """Precision (1 where nothing is kept) and recall at one threshold."""
    kept = probability >= threshold
    right = int((kept & yes).sum())
    precision = right / int(kept.sum()) if kept.any() else 1.0
    return CurvePoint(threshold=threshold, precision=precision, recall=right / int(yes.sum()))


def curve(probability: NDArray[np.float64], yes: NDArray[np.bool_]) -> list[CurvePoint]:
    """The whole curve, from the highest threshold that keeps a mark to the lowest."""
    return [at_threshold(probability, yes, each) for each in np.unique(probability)[::-1].tolist()]


def average_precision(points: Sequence[CurvePoint]) -> float:
    """Mean of the precisions, each weighted by the recall that it adds."""
    recalls = [0.0, *(point.recall for point in points)]
    gained = np.diff(recalls)
    return float(sum(gain * point.precision for gain, point in zip(gained, points, strict=True)))


def curve_text(probability: NDArray[np.float64], yes: NDArray[np.bool_], threshold: float) -> str:
    """What a user reads after training."""
    points = curve(probability, yes)
    head = f"examples      {int(yes.sum())} marks yes, {int((~yes).sum())} no; each judged by the others:"
    lines = [head, "  threshold   precision   recall"]
    for level in sorted({*_LEVELS, threshold}):
        point = at_threshold(probability, yes, level)
        here = "  <- in use" if level == threshold else ""
        lines.append(f"  {level:<9.2f}   {point.precision:<9.2f}   {point.recall:.2f}{here}")
    lines.append(
        f"  average precision {average_precision(points):.2f}; of marks alone, without examples "
        f"{float(yes.mean()):.2f}"
    )
    return "\n".join(lines)


def curve_svg(probability: NDArray[np.float64], yes: NDArray[np.bool_]) -> str:
    """The curve as a small picture: recall to the right, precision upwards, both from 0 to 1."""
    points = curve(probability, yes)
    places = [(0.0, points[0].precision), *((point.recall, point.precision) for point in points)]
    line = " ".join(f"{_EDGE + x * _SIDE:.1f},{_EDGE / 2 + (1 - y) * _SIDE:.1f}" for x, y in places)
    size = _SIDE + _EDGE * 3 // 2
    bottom = _EDGE / 2 + _SIDE
    texts = [
        (_EDGE + _SIDE / 2, bottom + 32, "recall (marks left out)", ""),
        (14, _EDGE / 2 + _SIDE / 2, "precision", f' transform="rotate(-90 14 {_EDGE / 2 + _SIDE / 2})"'),
        *((_EDGE + x * _SIDE, bottom + 16, f"{x:g}", "") for x in (0, 0.5, 1)),
        *((_EDGE - 14, _EDGE / 2 + (1 - y) * _SIDE + 4, f"{y:g}", "") for y in (0, 0.5, 1)),
    ]
    labels = "".join(
        f'<text x="{x:g}" y="{y:g}" text-anchor="middle"{turn}>{text}</text>' for x, y, text, turn in texts
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" font-family="sans-serif" '
        f'font-size="12"><rect width="{size}" height="{size}" fill="white"/>'
        f'<rect x="{_EDGE}" y="{_EDGE / 2:g}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#999"/>'
        f'<polyline points="{line}" fill="none" stroke="#1b6ca8" stroke-width="2"/>{labels}</svg>\n'
    )


def marks_geojson(marks: Sequence[Mark], probability: NDArray[np.float64], grid: RunGrid) -> str:
    """The marks that were learned from, in degrees, each with its probability when it was left out."""
    assert grid.crs_wkt is not None, "marks are placed by a CRS"
    move = Transformer.from_crs(grid.crs_wkt, LONLAT_CRS, always_xy=True)

    def lonlat(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        a, b, c, d, e, f = grid.transform
        col, row = xy.T
        return np.column_stack(move.transform(a * col + b * row + c, d * col + e * row + f))

    features = [
        {
            "type": "Feature",
            "geometry": json.loads(shapely.to_geojson(shapely.transform(mark.location.geometry, lonlat))),
            "properties": {
                "mark": "yes" if mark.yes else "no",
                "feature_id": mark.location.feature_id,
                "left_out": round(p, 4),
            },
        }
        for mark, p in zip(marks, probability.tolist(), strict=True)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}, indent=1)
