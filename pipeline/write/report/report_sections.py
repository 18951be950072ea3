"""Sections that reports of one grid and of several zones share: overview, objects, distributions.

Everything is drawn on a grid. It is the run grid, or for several zones one that lies under all of them. All
that is asked of it are its CRS and its affine.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import TerraqueryError
from pipeline.files.public_text import public_line
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.report.report_charts import area_axis, bins_of, histogram, score_axis
from pipeline.write.report.report_data import Chip, read_chips, read_outlines
from pipeline.write.report.report_html import Html, picture, tag
from pipeline.write.report.report_images import (
    STATUS_COLOURS,
    Shape,
    blank,
    chip_window,
    draw_shapes,
    fit,
    query_colour,
)
from pipeline.write.report.report_objects import ObjectSummary
from pipeline.write.run_dir import RunDir

OVERVIEW_PX = 1200
"""Longer side of the overview picture, in pixels."""

MAP_PX = 700
"""Width of the map of tiles, in pixels."""

CHIP_PX = 320
"""Longer side of a chip, in pixels."""

_MAX_CHIP_SOURCE_PX = 2048
"""Larger objects get their chip from the overview, because reading so much imagery is slow."""

_MAX_RATIONALE = 420

ReadRgb = Callable[[Window], NDArray[np.uint8]]
"""Reads a window of the grid: (h, w, 3) uint8 of exactly that window."""


class Pixels:
    """Pictures of windows of the grid, from the best source: imagery, overview or plain paper."""

    def __init__(self, grid: Window, overview: NDArray[np.uint8] | None, read_rgb: ReadRgb | None) -> None:
        """`overview` (h, w, 3): of the whole grid, decimated by any factor."""
        self.grid = grid
        self.overview = overview
        self._read_rgb = read_rgb

    def whole(self, side_px: int) -> NDArray[np.uint8]:
        """The whole grid; its longer side has `side_px` pixels."""
        return (
            blank(self.grid, side_px=side_px)
            if self.overview is None
            else fit(self.overview, side_px=side_px)
        )

    def cut(self, window: Window, side_px: int) -> NDArray[np.uint8]:
        """A window of the grid; its longer side has `side_px` pixels."""
        if self._read_rgb is not None and max(window.shape) <= _MAX_CHIP_SOURCE_PX:
            try:
                return fit(self._read_rgb(window), side_px=side_px)
            except (TerraqueryError, OSError):
                pass  # imagery that has gone since the run: the report is still worth writing
        if self.overview is None:
            return blank(window, side_px=side_px)
        rows = self.overview.shape[0] / self.grid.height
        cols = self.overview.shape[1] / self.grid.width
        top = int(window.row0 * rows)
        left = int(window.col0 * cols)
        part = self.overview[
            top : max(round(window.row1 * rows), top + 1), left : max(round(window.col1 * cols), left + 1)
        ]
        return fit(part, side_px=side_px)


def overview_section(
    run_dir: RunDir, objects: ObjectSummary, grid: RunGrid, pixels: Pixels, *, tiles: bytes
) -> Html:
    """Draw all objects over the imagery, beside a map of the tiles (WebP)."""
    outlined = objects.outlined
    image = pixels.whole(OVERVIEW_PX)
    half_pixel = 0.5 * grid.width / image.shape[1]
    tolerance_px = half_pixel if half_pixel > 1 else 0.0
    geometries, query_index = read_outlines(run_dir, outlined, grid, tolerance_px=tolerance_px)
    shapes = [
        Shape(geometry=g, colour=query_colour(int(q))) for g, q in zip(geometries, query_index, strict=True)
    ]
    drawn = picture(
        draw_shapes(image, grid.window, shapes), alt="overview of the imagery with outlines of all objects"
    )
    legend = tag(
        "p",
        *(
            tag("span", tag("i", style=f"background:{css(colour)}"), name)
            for name, colour in STATUS_COLOURS.items()
        ),
        class_="legend",
    )
    caption = f"{len(objects):,} objects" if outlined is None else f"the {len(outlined):,} largest objects"
    figures = [
        tag("figure", drawn, tag("figcaption", caption)),
        tag(
            "figure",
            picture(tiles, alt="map of tile statuses"),
            tag("figcaption", "what became of every tile ", legend),
        ),
    ]
    return tag("section", tag("h2", "Overview"), tag("div", *figures, class_="pair"))


def objects_section(run_dir: RunDir, objects: ObjectSummary, grid: RunGrid, pixels: Pixels) -> Html:
    """Show chosen objects as chips."""
    if len(objects) == 0:
        return tag("section", tag("h2", "Objects"), tag("p", "No objects were found."))
    keys = [key for group in objects.groups.values() for key in group]
    chips = dict(zip(keys, read_chips(run_dir, keys, grid), strict=True))
    groups = []
    for name, group in objects.groups.items():
        if group:
            cards = (_object_card(chips[key], grid.window, pixels) for key in group)
            groups += [tag("h3", name), tag("div", *cards, class_="chips")]
    return tag("section", tag("h2", "Objects"), *groups)


def distributions_section(objects: ObjectSummary) -> Html:
    """Draw histograms of scores and areas."""
    if len(objects) == 0:
        return Html("")
    areas, unit = (objects.px, "pixels") if objects.m2.n_unknown else (objects.m2, "m²")
    axis = area_axis(areas.smallest, areas.largest, unit=unit)
    charts = [histogram(objects.score_counts, score_axis()), histogram(bins_of(areas.counts, axis), axis)]
    return tag(
        "section",
        tag("h2", "Scores and sizes"),
        tag("div", *(tag("figure", c) for c in charts), class_="pair"),
    )


def nothing_section(cards: list[Html]) -> Html:
    """Show tiles in which nothing was found. Empty: there is none."""
    if not cards:
        return Html("")
    lead = tag(
        "p",
        "Random tiles that the prompter answered with “nothing here”. A missed object would show in these.",
    )
    return tag("section", tag("h2", "Where nothing was found"), lead, tag("div", *cards, class_="chips"))


def tile_card(name: str, rationale: str, drawn: bytes) -> Html:
    """Show one tile (WebP) and what was said of it."""
    return tag(
        "article",
        picture(drawn, alt=f"tile {name}"),
        tag("p", name, class_="name"),
        tag("p", short_text(rationale), class_="why"),
    )


def _object_card(chip: Chip, grid: Window, pixels: Pixels) -> Html:
    window = chip_window(chip.geometry.bounds, grid)
    colour = query_colour(chip.query_index)
    drawn = draw_shapes(
        pixels.cut(window, CHIP_PX),
        window,
        [Shape(geometry=chip.geometry, colour=colour)],
        box_xyxy=chip.box_px,
    )
    size = (
        f"{chip.area_px:,} px"
        if chip.area_m2 is None
        else f"{chip.area_m2:,.0f} m²"
        if chip.area_m2 >= 10
        else f"{chip.area_m2:.2g} m²"
    )
    marks = [
        f"score {chip.score:.2f}",
        size,
        *([f"{chip.n_tiles} tiles"] if chip.n_tiles > 1 else []),
        *(["cut off"] if chip.truncated else []),
    ]
    lines = [tag("p", tag("i", style=f"background:{css(colour)}"), chip.label or chip.query, class_="name")]
    if chip.label and chip.label != chip.query:
        lines.append(tag("p", chip.query, class_="marks"))
    lines += [
        tag("p", " · ".join(marks), class_="marks"),
        tag("p", short_text(chip.rationale), class_="why"),
    ]
    return tag(
        "article",
        picture(drawn, alt=f"object {chip.instance_id}"),
        *lines,
        id=f"q{chip.query_index}-{chip.instance_id}",
    )


def short_text(text: str) -> str:
    """A rationale on one line, without secrets, and not too long."""
    text = public_line(text)
    return text if len(text) <= _MAX_RATIONALE else text[: _MAX_RATIONALE - 1].rsplit(" ", 1)[0] + "…"


def css(colour: tuple[int, int, int]) -> str:
    """A colour as style sheets write it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
