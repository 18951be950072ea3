"""A picture of a run beside a layer: outlines by what became of each object, as SVG inside a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import shapely

from pipeline.evaluate.finished_run.layer_match import EXTRA, MATCHED, MISSED, NOT_JUDGED
from pipeline.write.georeference import Geometries
from pipeline.write.report.report_html import Html, joined, tag

MOST_OBJECTS = 4000
"""Objects that are drawn at most: those that differ come first. A browser draws so many at once."""

WIDTH_PX = 1000
"""Longer side of the picture."""

COLOURS: Mapping[str, str] = {
    MATCHED: "#7a7f8a",
    MISSED: "#d14928",
    EXTRA: "#1d70b8",
    NOT_JUDGED: "#c9a227",
}
"""Grey: the same; orange: of the layer and not found; blue: of the run and not in the layer; yellow: not
judged. Blue and orange differ for everybody."""


def layer_picture(shapes_px: Geometries, status: Sequence[str]) -> Html:
    """Draw outlines. shapes_px: (n,) in pixel edges of the run grid; status: (n,) keys of COLOURS."""
    if len(shapes_px) == 0:
        return tag("p", "There is nothing to draw.")
    order = sorted(range(len(status)), key=lambda at: status[at] == MATCHED)[:MOST_OBJECTS]
    x0, y0, x1, y1 = shapely.total_bounds(shapes_px[order])
    scale = WIDTH_PX / max(x1 - x0, y1 - y0, 1e-9)
    drawn = shapely.transform(shapes_px[order], lambda xy: (xy - (x0, y0)) * scale)
    paths = [
        tag("path", d=_path(shape), stroke=COLOURS[status[at]], fill="none", stroke_width="1.5")
        for at, shape in reversed(list(zip(order, shapely.simplify(drawn, 0.5), strict=True)))
    ]
    width = round((x1 - x0) * scale) + 4
    height = round((y1 - y0) * scale) + 4
    picture = tag(
        "svg",
        *paths,
        viewBox=f"-2 -2 {width} {height}",
        width=width,
        style="max-width:100%;height:auto;background:#fff",
        role="img",
        aria_label="outlines of the layer and of the run",
    )
    left = len(status) - len(order)
    more = f" {left:,} more that agree are not drawn." if left > 0 else ""
    return joined([picture, tag("p", *_legend(), more)])


def _legend() -> list[Html]:
    return [
        joined([tag("span", " ", style=f"background:{colour};padding:0 .6em"), f" {name}. "])
        for name, colour in COLOURS.items()
    ]


def _path(shape: shapely.Geometry) -> str:
    rings = shapely.get_rings(shapely.get_parts(shape))
    return "".join(_ring(shapely.get_coordinates(ring)) for ring in np.atleast_1d(rings))


def _ring(points: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points[:-1].tolist()) + "Z"
