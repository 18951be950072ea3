"""One page about a comparison: what could not be compared first, then a picture, then what changed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from PIL import Image

from pipeline.compare.match import CHANGES
from pipeline.compare.pixel_overlap import GAINED, KEPT, LOST, NOT_COMPARABLE, NOTHING
from pipeline.write.export.cog_file import Rgba
from pipeline.write.report.report_html import Html, joined, picture, raw, table, tag
from pipeline.write.report.report_style import STYLE

COLOURS: Mapping[int, Rgba] = {
    NOTHING: (238, 238, 236, 255),
    KEPT: (120, 124, 134, 255),
    LOST: (209, 73, 40, 255),
    GAINED: (29, 112, 184, 255),
    NOT_COMPARABLE: (255, 255, 255, 255),
}
"""Colours of the raster and of the picture; blue and orange differ for everybody."""

_NAMES = {KEPT: "object at both dates", LOST: "lost", GAINED: "gained", NOTHING: "no object"}

_PICTURE_PX = 1100
"""Longer side of the picture."""


def change_page(summary: Mapping[str, Any], raster: Path) -> str:
    """Write the page.

    summary: content of summary.json. raster: the GeoTIFF of changes.
    """
    head = tag("head", tag("meta", charset="utf-8"), tag("title", f"Changes: {summary['query']}"), _style())
    body = tag(
        "main",
        tag("h1", f"What changed: {summary['query']}"),
        tag("p", _dates(summary)),
        tag("h2", "What could not be compared"),
        *(tag("p", line) for line in not_compared(summary)),
        tag("h2", "Where"),
        _picture(raster),
        tag("p", joined([*_legend(), " White: not comparable."])),
        tag("h2", "What became of the objects"),
        _counts(summary),
        tag("h2", "Ground under objects"),
        _areas(summary),
        tag(
            "p",
            "Counts and areas are what the models said. How sure they are is for an assessment to say.",
        ),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", body), lang="en") + "\n"


def not_compared(summary: Mapping[str, Any]) -> list[str]:
    """What was not compared, and why, as sentences."""
    ground = summary["ground"]
    lines = []
    if ground["common_km2"] is not None:
        lines.append(
            f"{ground['compared_km2']:,.4g} of {ground['common_km2']:,.4g} km2 that both runs cover "
            "were judged at both dates."
        )
    else:
        lines.append(
            f"{ground['compared_px']:,} of {ground['common_px']:,} pixels were judged at both dates."
        )
    if not summary["one_area"]:
        lines.append("Both runs had different areas of interest: only ground in both is compared.")
    squares = summary["registration"]
    lines.append(
        f"Registration: {squares['registered']} of {squares['squares']} squares fit, {squares['off']} "
        f"are shifted by more than {summary['rules']['most_shift_px']:g} pixels, {squares['not known']} have "
        "too few common objects to tell."
    )
    reasons = summary["reasons"]
    if reasons:
        told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        lines.append(f"Objects that are not comparable: {told}.")
    return lines


def _style() -> Html:
    return tag("style", raw(STYLE + "\nmain img{max-width:100%;image-rendering:pixelated}"))


def _dates(summary: Mapping[str, Any]) -> str:
    told = []
    for side in ("before", "after"):
        run = summary[side]
        when = "no date" if run["dates"] is None else " to ".join(dict.fromkeys(t[:10] for t in run["dates"]))
        told.append(f"{side}: {when} (run {run['run_id'][:12]}, {run['objects']:,} objects)")
    return "; ".join(told) + "."


def _counts(summary: Mapping[str, Any]) -> Html:
    rows = [
        (change, summary["changes"][change]["objects"], *_two_areas(summary["changes"][change]))
        for change in CHANGES
    ]
    return table(("", "objects", "m² before", "m² after"), rows)


def _two_areas(entry: Mapping[str, Any]) -> tuple[object, object]:
    return tuple(  # type: ignore[return-value]
        "" if entry[f"{side}_m2"] is None else f"{entry[f'{side}_m2']:,.1f}" for side in ("before", "after")
    )


def _areas(summary: Mapping[str, Any]) -> Html:
    ground = summary["ground"]
    names = ("kept", "lost", "gained")
    if ground["common_km2"] is None:
        return table(("", "pixels"), [(name, ground[f"{name}_px"]) for name in names])
    return table(("", "m²"), [(name, f"{ground[f'{name}_m2']:,.1f}") for name in names])


def _legend() -> list[Html]:
    return [
        joined([tag("span", " ", style=f"background:rgb{COLOURS[value][:3]};padding:0 .6em"), f" {name}. "])
        for value, name in _NAMES.items()
    ]


def _picture(raster: Path) -> Html:
    with rasterio.open(raster) as file:
        scale = max(file.width, file.height, 1) / _PICTURE_PX
        shape = (max(round(file.height / max(scale, 1)), 1), max(round(file.width / max(scale, 1)), 1))
        states = file.read(1, out_shape=shape)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for value, (red, green, blue, _) in COLOURS.items():
        colours[value] = red, green, blue
    sink = io.BytesIO()
    Image.fromarray(colours[states]).save(sink, format="WEBP", lossless=True)
    return picture(sink.getvalue(), alt="map of kept, lost and gained ground")
