"""report.html: what a person looks at first. One file, offline, without script.

1. Pictures come first: the overview with every object outlined, and the coverage map.
2. Chips show random objects, the lowest scores and the largest. Then come tiles in which nothing was found: a
   wrong "nothing here" is the costlier mistake.
3. Histograms, the status table, failures, what of each scene was not judged and the facts of the run follow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import TerraqueryError
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.files.fingerprint import canonical
from pipeline.files.hrefs import public_href, public_text
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.schema.tiling import TileLattice, Window
from pipeline.write.coverage import Conservation
from pipeline.write.georeference import affine_or_identity, crs_of
from pipeline.write.report.report_charts import area_axis, bins_of, histogram, score_axis
from pipeline.write.report.report_data import (
    Chip,
    EmptyTile,
    read_chips,
    read_empty_tiles,
    read_failures,
    read_outlines,
    read_statuses,
)
from pipeline.write.report.report_html import Html, picture, raw, table, tag
from pipeline.write.report.report_images import (
    STATUS_COLOURS,
    Shape,
    blank,
    chip_window,
    coverage_map,
    draw_shapes,
    fit,
    query_colour,
)
from pipeline.write.report.report_objects import read_objects
from pipeline.write.report.report_scenes import scenes_section
from pipeline.write.report.report_style import CONTENT_SECURITY_POLICY, STYLE
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, kept_text

OVERVIEW_PX = 1200
"""Longer side of the overview picture, in pixels."""

_MAP_PX = 700
_CHIP_PX = 320
_MAX_CHIP_SOURCE_PX = 2048
"""Larger objects get their chip from the overview, because reading so much imagery is slow."""

_MAX_FAILURES = 50
_MAX_RATIONALE = 420

ReadRgb = Callable[[Window], NDArray[np.uint8]]
"""Reads a window of the run grid: (h, w, 3) uint8 of exactly that window."""


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """What the report needs beside the files of the run."""

    info: RunInfo
    conservation: Conservation
    overview_rgb: NDArray[np.uint8] | None = None
    """(h, w, 3) of the whole run grid, decimated by any factor. None: plain paper."""
    read_rgb: ReadRgb | None = None


def write_report(run_dir: RunDir, inputs: ReportInputs) -> Path:
    """Write report.html from instances/, coverage.parquet and block records, which must be complete.

    Memory does not grow with the number of objects (`report_objects`) and by a byte per tile (`report_data`).
    """
    page = _Page(run_dir, inputs)
    sections = [
        page.header(),
        page.overview(),
        page.chips(),
        page.nothing_found(),
        page.distributions(),
        page.tiles(),
        scenes_section(inputs.info),
        page.facts(),
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=CONTENT_SECURITY_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"Terraquery: {'; '.join(inputs.info.queries)}"),
        tag("style", raw(STYLE)),
    )
    document = "<!doctype html>\n" + tag("html", head, tag("body", tag("main", *sections)), lang="en")
    return write_bytes_atomic(run_dir.report, document.encode("utf-8", "replace"))


class _Page:
    """The sections of one report; holds what several of them need."""

    def __init__(self, run_dir: RunDir, inputs: ReportInputs) -> None:
        self.run_dir = run_dir
        self.info = inputs.info
        self.conservation = inputs.conservation
        self.lattice: TileLattice = inputs.info.lattice
        self.pixels = _Pixels(self.lattice.grid.window, inputs.overview_rgb, inputs.read_rgb)
        self.seed = int(inputs.info.fingerprint[:8] or "0", 16)
        self.objects = read_objects(run_dir, n_queries=len(self.info.queries), seed=self.seed)

    def header(self) -> Html:
        counts = self.objects.n_per_query
        pills = [
            tag(
                "li", tag("i", style=f"background:{_css(query_colour(i))}"), query, tag("b", f"{counts[i]:,}")
            )
            for i, query in enumerate(self.info.queries)
        ]
        c = self.conservation
        outside = c.reasons.get(f"{TileStatus.EMPTY.value}/{Reason.OUTSIDE_AOI.value}", 0)
        cards = [
            _card("objects", len(self.objects)),
            _card("tiles looked at", c.planned - outside),
            _card("found", c.found, class_="found"),
            _card("empty", c.empty - outside, class_="empty"),
            _card("failed", c.failed, class_="failed"),
            *([_card("outside the AOI", outside)] if outside else []),
            *([_card("not accounted for", c.n_missing, class_="failed")] if c.n_missing else []),
        ]
        notes = [
            tag("p", public_text(text), class_="warning") for text in (*self.info.warnings, *self.info.notes)
        ]
        name = tag("p", f"Terraquery run {self.info.run_id} · {self.info.status}", class_="kicker")
        return tag(
            "header", name, tag("ul", *pills, class_="queries"), tag("div", *cards, class_="cards"), *notes
        )

    def overview(self) -> Html:
        grid = self.lattice.grid
        outlined = self.objects.outlined
        image = self.pixels.whole(OVERVIEW_PX)
        half_pixel = 0.5 * grid.width / image.shape[1]
        tolerance_px = half_pixel if half_pixel > 1 else 0.0
        geometries, query_index = read_outlines(self.run_dir, outlined, grid, tolerance_px=tolerance_px)
        shapes = [
            Shape(geometry=g, colour=query_colour(int(q)))
            for g, q in zip(geometries, query_index, strict=True)
        ]
        drawn = picture(
            draw_shapes(image, grid.window, shapes),
            alt="overview of the imagery with outlines of all objects",
        )
        statuses = read_statuses(self.run_dir, self.lattice)
        map_rgb = self.pixels.whole(_MAP_PX) if self.pixels.overview is not None else None
        tiles = picture(
            coverage_map(self.lattice, statuses, rgb=map_rgb, width_px=_MAP_PX), alt="map of tile statuses"
        )
        legend = tag(
            "p",
            *(
                tag("span", tag("i", style=f"background:{_css(colour)}"), name)
                for name, colour in STATUS_COLOURS.items()
            ),
            class_="legend",
        )
        caption = (
            f"{len(self.objects):,} objects" if outlined is None else f"the {len(outlined):,} largest objects"
        )
        figures = [
            tag("figure", drawn, tag("figcaption", caption)),
            tag("figure", tiles, tag("figcaption", "what became of every tile ", legend)),
        ]
        return tag("section", tag("h2", "Overview"), tag("div", *figures, class_="pair"))

    def chips(self) -> Html:
        if len(self.objects) == 0:
            return tag("section", tag("h2", "Objects"), tag("p", "No objects were found."))
        chosen = self.objects.groups
        keys = [key for group in chosen.values() for key in group]
        chips = dict(zip(keys, read_chips(self.run_dir, keys, self.lattice.grid), strict=True))
        groups = []
        for name, group in chosen.items():
            if group:
                groups += [
                    tag("h3", name),
                    tag("div", *(self._chip(chips[key]) for key in group), class_="chips"),
                ]
        return tag("section", tag("h2", "Objects"), *groups)

    def nothing_found(self) -> Html:
        fingerprint = self.info.fingerprint
        tiles = read_empty_tiles(self.run_dir, self.lattice, fingerprint=fingerprint, seed=self.seed)
        if not tiles:
            return Html("")
        lead = tag(
            "p",
            "Random tiles that the prompter answered with “nothing here”. "
            "A missed object would show in these.",
        )
        cards = [self._empty(tile) for tile in tiles]
        return tag("section", tag("h2", "Where nothing was found"), lead, tag("div", *cards, class_="chips"))

    def distributions(self) -> Html:
        objects = self.objects
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

    def tiles(self) -> Html:
        c = self.conservation
        rows: list[Sequence[object]] = []
        for key, count in c.reasons.items():
            status, _, reason = key.partition("/")
            rows.append(
                (
                    tag("span", status, class_=f"status {status}"),
                    reason,
                    count,
                    f"{count / max(c.planned, 1):.1%}",
                )
            )
        rows.append((tag("b", "planned"), "", c.planned, ""))
        parts = [tag("h2", "Tiles"), table(("status", "reason", "tiles", "share"), rows)]
        if c.searched is not None:
            parts.append(tag("p", f"Searched: {c.searched.text(self.info.queries)}."))
        failures = read_failures(self.run_dir, limit=_MAX_FAILURES)
        if failures:
            first = f"Failed tiles (first {_MAX_FAILURES})" if c.failed > _MAX_FAILURES else "Failed tiles"
            parts += [
                tag("h3", first),
                table(("tile", "reason", "error"), [(t, r, public_text(e)[:300]) for t, r, e in failures]),
            ]
        return tag("section", *parts)

    def facts(self) -> Html:
        info = self.info
        grid = self.lattice.grid
        lattice = self.lattice
        crs = crs_of(grid)
        affine = affine_or_identity(grid)
        pixel = "×".join(f"{np.hypot(x, y):g}" for x, y in ((affine[0], affine[3]), (affine[1], affine[4])))
        rows: list[Sequence[object]] = [
            (
                "run grid",
                f"{grid.width:,} × {grid.height:,} px, "
                f"{pixel} {'px' if crs is None else crs.axis_info[0].unit_name} per pixel",
            ),
            ("CRS", "none (pixel space)" if crs is None else crs.name),
            (
                "tiles",
                f"{lattice.tile_px} px with a halo of {lattice.halo_px} px, "
                f"{lattice.block_tiles} × {lattice.block_tiles} per block",
            ),
            (
                "scenes",
                tag(
                    "ul",
                    *(
                        tag("li", f"{s.scene_id}: {public_href(s.href)} {s.datetime or ''}")
                        for s in info.scenes[:20]
                    ),
                ),
            ),
            *((role, _model_text(model)) for role, model in info.models.items()),
            *((key.replace("_", " "), f"{value:,}") for key, value in info.counters.items()),
            *((f'masks of "{query}"', text) for query in info.queries if (text := kept_text(info, query))),
            *((f"time, {key.replace('_', ' ')}", f"{value:,.1f} s") for key, value in info.timings_s.items()),
            ("started", info.started),
            ("ended", info.ended),
            ("fingerprint", tag("code", info.fingerprint)),
        ]
        folded = [_folded("Parameters", canonical(info.parameters)), _folded("Versions", dict(info.versions))]
        if info.stretches:
            folded.append(_folded("Stretch per scene", canonical(info.stretches)))
        return tag("section", tag("h2", "Run"), table(("", ""), rows, class_="facts"), *folded)

    def _chip(self, chip: Chip) -> Html:
        window = chip_window(chip.geometry.bounds, self.lattice.grid.window)
        colour = query_colour(chip.query_index)
        drawn = draw_shapes(
            self.pixels.cut(window, _CHIP_PX),
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
        lines = [
            tag("p", tag("i", style=f"background:{_css(colour)}"), chip.label or chip.query, class_="name")
        ]
        lines += [tag("p", " · ".join(marks), class_="marks"), tag("p", _short(chip.rationale), class_="why")]
        return tag(
            "article",
            picture(drawn, alt=f"object {chip.instance_id}"),
            *lines,
            id=f"q{chip.query_index}-{chip.instance_id}",
        )

    def _empty(self, tile: EmptyTile) -> Html:
        core = self.lattice.tile(tile.tile_row, tile.tile_col).core
        drawn = picture(draw_shapes(self.pixels.cut(core, _CHIP_PX), core, []), alt=f"tile {tile.tile_id}")
        return tag(
            "article",
            drawn,
            tag("p", tile.tile_id, class_="name"),
            tag("p", _short(tile.rationale), class_="why"),
        )


class _Pixels:
    """Pictures of windows of the run grid, from the best source: imagery, overview or plain paper."""

    def __init__(self, grid: Window, overview: NDArray[np.uint8] | None, read_rgb: ReadRgb | None) -> None:
        self.grid = grid
        self.overview = overview
        self._read_rgb = read_rgb

    def whole(self, side_px: int) -> NDArray[np.uint8]:
        return (
            blank(self.grid, side_px=side_px)
            if self.overview is None
            else fit(self.overview, side_px=side_px)
        )

    def cut(self, window: Window, side_px: int) -> NDArray[np.uint8]:
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


def _card(name: str, count: int, *, class_: str = "") -> Html:
    return tag("div", tag("b", f"{count:,}"), tag("span", name), class_=f"card {class_}")


def _model_text(model: object) -> Html:
    text = (
        json.dumps(canonical(model), ensure_ascii=False) if not isinstance(model, str) else public_text(model)
    )
    return tag("code", text)


def _folded(title: str, content: object) -> Html:
    return tag(
        "details", tag("summary", title), tag("pre", json.dumps(content, indent=2, ensure_ascii=False))
    )


def _short(text: str) -> str:
    text = " ".join(public_text(text).split())
    return text if len(text) <= _MAX_RATIONALE else text[: _MAX_RATIONALE - 1].rsplit(" ", 1)[0] + "…"


def _css(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
