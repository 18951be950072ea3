"""report.html: what a person looks at first. One file, offline.

1. The map comes first (`map.map_section`), then what shows without a script: the overview with every object
   outlined, and the coverage map.
2. Chips show random objects, the lowest scores and the largest. Then come tiles in which nothing was found: a
   wrong "nothing here" is the costlier mistake.
3. Histograms, the status table, failures, what of each scene was not judged and the facts of the run follow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.files.fingerprint import canonical
from pipeline.files.hrefs import public_href
from pipeline.files.public_text import cut
from pipeline.files.store.store_path import StorePath
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.schema.tiling import TileLattice
from pipeline.write.coverage import Conservation
from pipeline.write.georeference import affine_or_identity, crs_of
from pipeline.write.records.record_keys import RecordKeys
from pipeline.write.report.map.map_section import LATER_SECTIONS, map_section
from pipeline.write.report.report_data import (
    EmptyTile,
    read_empty_tiles,
    read_failures,
    read_states,
    statuses_of,
)
from pipeline.write.report.report_html import Html, table, tag
from pipeline.write.report.report_images import (
    coverage_map,
    draw_shapes,
    query_colour,
)
from pipeline.write.report.report_objects import read_objects
from pipeline.write.report.report_page import report_page
from pipeline.write.report.report_scenes import scenes_section
from pipeline.write.report.report_sections import (
    CHIP_PX,
    MAP_PX,
    Pixels,
    ReadRgb,
    css,
    distributions_section,
    nothing_section,
    objects_section,
    overview_section,
    tile_card,
)
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, kept_text

_MAX_FAILURES = 50
_MAX_ERROR = 300


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """What the report needs beside the files of the run."""

    info: RunInfo
    keys: RecordKeys
    """Of the block records, in which it is looked up what was said of a tile."""
    conservation: Conservation
    overview_rgb: NDArray[np.uint8] | None = None
    """(h, w, 3) of the whole run grid, decimated by any factor. None: plain paper."""
    read_rgb: ReadRgb | None = None


def write_report(run_dir: RunDir, inputs: ReportInputs) -> StorePath:
    """Write report.html from instances/, coverage.parquet and block records, which must be complete.

    Memory does not grow with the number of objects (`report_objects`) and by a byte per tile (`report_data`).
    """
    page = _Page(run_dir, inputs)
    sections = [
        page.header(),
        page.map(),
        LATER_SECTIONS,
        page.overview(),
        objects_section(run_dir, page.objects, page.lattice.grid, page.pixels),
        page.nothing_found(),
        distributions_section(page.objects),
        page.tiles(),
        scenes_section(inputs.info),
        page.facts(),
    ]
    return run_dir.report.write_bytes(report_page(inputs.info.queries, sections, mapped=True))


class _Page:
    """The sections of one report; holds what several of them need."""

    def __init__(self, run_dir: RunDir, inputs: ReportInputs) -> None:
        self.run_dir = run_dir
        self.info = inputs.info
        self.keys = inputs.keys
        self.conservation = inputs.conservation
        self.lattice: TileLattice = inputs.info.lattice
        self.pixels = Pixels(self.lattice.grid.window, inputs.overview_rgb, inputs.read_rgb)
        self.seed = int(inputs.info.fingerprint[:8] or "0", 16)
        self.objects = read_objects(run_dir, n_queries=len(self.info.queries), seed=self.seed)
        self.states = read_states(run_dir, self.lattice)

    def header(self) -> Html:
        counts = self.objects.n_per_query
        pills = [
            tag("li", tag("i", style=f"background:{css(query_colour(i))}"), query, tag("b", f"{counts[i]:,}"))
            for i, query in enumerate(self.info.queries)
        ]
        c = self.conservation
        outside = c.reasons.get(f"{TileStatus.EMPTY.value}/{Reason.OUTSIDE_AOI.value}", 0)
        cards = [
            _card("objects", len(self.objects)),
            _card("tiles looked at", c.planned - outside),
            _card("found", c.found, class_="found"),
            _card("empty", c.empty - outside, class_="empty"),
            _card("failed", c.failed, class_="failed" if c.failed else ""),
            *([_card("outside the AOI", outside)] if outside else []),
            *([_card("not accounted for", c.n_missing, class_="failed")] if c.n_missing else []),
        ]
        notes = [tag("p", text, class_="warning") for text in (*self.info.warnings, *self.info.notes)]
        name = tag("p", f"Terraquery run {self.info.run_id} · {self.info.status}", class_="kicker")
        return tag(
            "header", name, tag("ul", *pills, class_="queries"), tag("div", *cards, class_="cards"), *notes
        )

    def map(self) -> Html:
        return map_section(
            self.run_dir,
            self.objects,
            self.pixels,
            self.lattice.grid,
            queries=self.info.queries,
            states=self.states,
            lattice=self.lattice,
        )

    def overview(self) -> Html:
        statuses = statuses_of(self.states)
        map_rgb = self.pixels.whole(MAP_PX) if self.pixels.overview is not None else None
        tiles = coverage_map(self.lattice, statuses, rgb=map_rgb, width_px=MAP_PX)
        return overview_section(self.run_dir, self.objects, self.lattice.grid, self.pixels, tiles=tiles)

    def nothing_found(self) -> Html:
        tiles = read_empty_tiles(self.run_dir, self.lattice, keys=self.keys, seed=self.seed)
        return nothing_section([self._empty(tile) for tile in tiles])

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
                table(("tile", "reason", "error"), [(t, r, cut(e, _MAX_ERROR)) for t, r, e in failures]),
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
            ("fingerprint", tag("code", info.fingerprint)),
        ]
        folded = [_folded("Parameters", canonical(info.parameters)), _folded("Versions", dict(info.versions))]
        if info.stretches:
            folded.append(_folded("Stretch per scene", canonical(info.stretches)))
        return tag("section", tag("h2", "Run"), table(("", ""), rows, class_="facts"), *folded)

    def _empty(self, tile: EmptyTile) -> Html:
        core = self.lattice.tile(tile.tile_row, tile.tile_col).core
        return tile_card(tile.tile_id, tile.rationale, draw_shapes(self.pixels.cut(core, CHIP_PX), core, []))


def _card(name: str, count: int, *, class_: str = "") -> Html:
    return tag("div", tag("b", f"{count:,}"), tag("span", name), class_=f"card {class_}")


def _model_text(model: object) -> Html:
    text = json.dumps(canonical(model), ensure_ascii=False) if not isinstance(model, str) else model
    return tag("code", text)


def _folded(title: str, content: object) -> Html:
    return tag(
        "details", tag("summary", title), tag("pre", json.dumps(content, indent=2, ensure_ascii=False))
    )
