"""The map as a section of report.html: controls, data, and the scripts that fill them.

1. `map_section` reads objects (`map_objects`) and ground (`map_ground`) and puts them into one JSON element.
2. `MAP_SCRIPTS` run in the page. Its policy names their hashes and allows nothing else: no other script, and
   no connection.
3. LATER is the place where `jobs/answer.py --report` puts what was learnt after the run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.files.public_text import public_line
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.report.map.map_ground import ground_text, picture_levels, place_text
from pipeline.write.report.map.map_mesh import mesh_text
from pipeline.write.report.map.map_objects import map_objects
from pipeline.write.report.map.map_outlines import outlines_text
from pipeline.write.report.report_html import Html, raw, tag
from pipeline.write.report.report_images import STATUS_COLOURS, Rgb, query_colour
from pipeline.write.report.report_objects import ObjectSummary
from pipeline.write.report.report_sections import Pixels, css
from pipeline.write.run_dir import RunDir

LATER_DATA = raw('<script type="application/json" id="later">{}</script>')
"""Once in a page with a map: what the map is told after the run, JSON."""

LATER_SECTIONS = raw('<div id="later-sections"></div>')
"""Once in such a page: sections of what was learnt after the run."""

_FILES = ("map_data.js", "map_view.js", "map_panel.js", "map_tiles.js", "map_start.js")

_GROUND: Sequence[tuple[str, str, Rgb]] = (
    ("found", "found", STATUS_COLOURS["found"]),
    ("nothing found", "empty", STATUS_COLOURS["empty"]),
    ("gate", "gate", (120, 95, 190)),
    ("no imagery", "no imagery", (90, 96, 105)),
    ("under clouds", "clouds", (245, 245, 250)),
    ("failed", "failed", STATUS_COLOURS["failed"]),
)
"""State of the ground, its name on the page, its colour."""

_PLACES = (
    ("all", "anywhere"),
    ("one", "in one tile"),
    ("joined", "joined over a seam"),
    ("cut", "cut off at an edge"),
    ("partly", "on a tile that was judged in part"),
    ("failed", "on or beside a failed tile"),
    ("gate", "on or beside a tile that the gate rejected"),
    ("bare", "on or beside ground without imagery"),
)

_SEAMS = "seams that objects were joined over"
_ZONE_SEAMS = "borders of zones"

_KEYS = (
    "drag, wheel, pinch; or with the map in focus: arrows move, + and - zoom, 0 shows all, n and p step "
    "through the list, Enter takes the middle, Escape lets go"
)


def own_page_file(name: str) -> str:
    """A script or style sheet of the map."""
    return files("pipeline.write.report.map").joinpath("page", name).read_text(encoding="utf-8")


def map_scripts() -> list[str]:
    """The scripts of the map, in their order."""
    return [own_page_file(name) for name in _FILES]


def script_sources() -> str:
    """What a content security policy says of the scripts: their hashes."""
    digests = (hashlib.sha256(script.encode()).digest() for script in map_scripts())
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def map_section(
    run_dir: RunDir,
    objects: ObjectSummary,
    pixels: Pixels,
    grid: RunGrid,
    *,
    queries: Sequence[str],
    states: NDArray[np.uint8],
    lattice: TileLattice | None,
    borders: NDArray[np.object_] | None = None,
) -> Html:
    """Make the map. `states`: codes of the ground (`report_data.state_codes`), of the tiles of `lattice`, or
    without one of equal cells of the grid. `borders`: polygons in pixels, over whose edges objects were
    joined, too.
    """
    rows, cols = states.shape
    side = lattice.core_px if lattice is not None else None
    cell = (grid.width / cols, grid.height / rows) if side is None else (float(side), float(side))
    area_unit = "px" if objects.m2.n_unknown else "m²"
    document: dict[str, Any] = {
        "place": place_text(grid),
        "area_unit": area_unit,
        "result": run_dir.snapshot,
        "queries": [
            {"text": public_line(query), "colour": css(query_colour(index))}
            for index, query in enumerate(queries)
        ],
        "levels": [] if pixels.overview is None else picture_levels(pixels.overview),
        "ground": {
            **ground_text(states, cell),
            "colours": {state: list(colour) for state, _, colour in _GROUND},
        },
        "lattice": None if lattice is None else {"core": lattice.core_px, "block": lattice.shard_px},
        "borders": None if borders is None else _border_text(borders),
        "objects": map_objects(run_dir, objects, grid),
    }
    if "squares" in document["objects"]:
        document["place"]["mesh"] = mesh_text(grid)
    data = tag("script", raw(script_json(document)), type="application/json", id="map-data")
    scripts = [tag("script", raw(script)) for script in map_scripts()]
    parts = [
        tag("h2", "Map"),
        _frame(queries, area_unit, _SEAMS if lattice is not None else _ZONE_SEAMS),
        data,
        LATER_DATA,
        *scripts,
    ]
    return tag("section", *parts, id="map")


def script_json(document: Mapping[str, Any]) -> str:
    """JSON that cannot end its element."""
    text = json.dumps(document, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _frame(queries: Sequence[str], area_unit: str, seams: str) -> Html:
    """What the scripts fill."""
    told = tag(
        "noscript", tag("p", "The map needs JavaScript. All below works without it.", class_="warning")
    )
    canvas = tag("canvas", id="map-canvas", tabindex="0", role="application", aria_label=f"Map: {_KEYS}")
    view = tag(
        "div",
        tag(
            "div",
            canvas,
            tag("div", tag("b", id="map-scale-bar"), tag("span", id="map-scale"), class_="mapscale"),
            class_="mapview",
        ),
        tag("p", tag("span", id="map-where"), " ", _KEYS, class_="kicker"),
        tag("p", id="map-notes", class_="kicker"),
        tag(
            "p",
            tag(
                "label",
                "vector tiles of all objects ",
                tag("input", type="file", id="map-file", accept=".pmtiles"),
            ),
            " ",
            tag("span", id="map-file-said", aria_live="polite"),
            id="map-file-part",
            hidden="",
        ),
    )
    panel = tag(
        "div",
        tag("p", id="map-count", aria_live="polite"),
        _filters(queries, area_unit),
        tag("div", id="map-object", aria_live="polite"),
        _layers(seams),
        class_="mappanel",
    )
    listed = tag(
        "div",
        tag("h3", id="map-list-title"),
        tag("div", id="map-list", class_="chips"),
        _button("map-more", "more"),
    )
    return tag("div", told, tag("div", view, panel, class_="mapframe"), listed, id="map-all")


def _filters(queries: Sequence[str], area_unit: str) -> Html:
    asked = [
        _check(f"map-query-{index}", public_line(query, most_chars=80), css(query_colour(index)))
        for index, query in enumerate(queries)
    ]
    places = [tag("option", told, value=name) for name, told in _PLACES]
    return tag(
        "fieldset",
        tag("legend", "Objects"),
        *asked,
        _range("score", "score", step="0.01"),
        _range("confidence", "confidence", step="0.01"),
        _range("area", f"area, {area_unit}", step="any"),
        tag("label", "where ", tag("select", *places, id="map-place")),
        _button("map-reset", "all objects"),
    )


def _layers(seams: str) -> Html:
    ground = [
        _check(f"map-ground-{state.replace(' ', '-')}", name, css(colour)) for state, name, colour in _GROUND
    ]
    more = {
        "map-picture": "imagery",
        "map-outlines": "outlines",
        "map-partly": "judged in part",
        "map-seams": seams,
    }
    return tag(
        "fieldset",
        tag("legend", "Tiles and layers"),
        *ground,
        *(_check(name, told) for name, told in more.items()),
    )


def _border_text(borders: NDArray[np.object_]) -> dict[str, Any]:
    """Polygons as the page draws them."""
    return {"step": 1.0, **asdict(outlines_text(borders, step_px=1.0))}


def _check(name: str, told: str, colour: str = "") -> Html:
    dot = [tag("i", style=f"background:{colour}")] if colour else []
    return tag("label", tag("input", type="checkbox", id=name), *dot, told)


def _range(name: str, told: str, *, step: str) -> Html:
    ends = [
        tag(
            "input",
            type="number",
            step=step,
            id=f"map-{name}-{end}",
            aria_label=f"{told}: {end}",
            placeholder=end,
        )
        for end in ("least", "most")
    ]
    return tag("div", tag("span", told), *ends, id=f"map-{name}", class_="maprange")


def _button(name: str, told: str) -> Html:
    return tag("button", told, type="button", id=name)
