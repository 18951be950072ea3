"""The page of an ablation: first a picture of the differences, then the table, then what it can show.

The page is self-contained and has no script.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.evaluate.ablate.ablation_text import (
    TITLES,
    difference_text,
    every_row,
    header,
    limits,
    our_rows,
    published_rows,
    sources,
)
from pipeline.write.report.report_html import Html, joined, raw, table, tag
from pipeline.write.report.report_style import CONTENT_SECURITY_POLICY, STYLE

ROW_PX = 26
_NAMES_PX = 330
_PLOT_PX = 420
_FIGURE = "giou_present"
_LEAST_SPAN = 0.02
"""Least half width of the plot, so that nothing looks large that is not."""

_PAGE_STYLE = "svg text { font: 12.5px system-ui, sans-serif; } table { font-size: 12.5px; }"


def ablation_page(document: Mapping[str, Any]) -> str:
    """Write the page of a document."""
    axis = str(document["axis"])
    body = [
        tag("p", f"{document['benchmark']}, paired differences in gIoU where the target is there"),
        differences_svg(document),
    ]
    body += [
        table(header(), [*our_rows(document), *published_rows(document)]),
        tag("p", "Rows whose models are published are the papers' own, on their data."),
        tag("ul", *(tag("li", line) for line in sources(document))),
        tag("h2", "What this can and cannot show"),
        tag("p", limits(axis)),
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=CONTENT_SECURITY_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", TITLES[axis]),
        tag("style", raw(STYLE + _PAGE_STYLE)),
    )
    main = tag("main", tag("h1", TITLES[axis]), *body)
    return f"<!doctype html>\n{tag('html', head, tag('body', main), lang='en')}\n"


def differences_svg(document: Mapping[str, Any]) -> Html:
    """Draw every measured row: a dot at its difference to the reference, and a line over the interval."""
    rows = [(models, row) for models, row in every_row(document) if "not_run" not in row]
    ends = [
        abs(entry[side])
        for _, row in rows
        if (entry := row["differences"].get(_FIGURE)) is not None
        for side in ("low", "high")
        if entry[side] is not None
    ]
    span = max([_LEAST_SPAN, *ends]) * 1.05
    height = ROW_PX * (len(rows) + 1)
    middle = _NAMES_PX + _PLOT_PX / 2
    drawn = [
        _line(middle, 0, middle, height - ROW_PX, "#999"),
        _text(middle, height - 8, "0", "middle"),
        _text(_NAMES_PX, height - 8, f"-{100 * span:.1f} points", "start"),
        _text(_NAMES_PX + _PLOT_PX, height - 8, f"+{100 * span:.1f}", "end"),
    ]
    for place, (models, row) in enumerate(rows):
        y = ROW_PX * (place + 0.5)
        drawn.append(_text(_NAMES_PX - 12, y + 4, f"{models}: {row['name']}", "end"))
        entry = row["differences"].get(_FIGURE)
        at = {"value": 0.0} if entry is None else entry
        if at["value"] is None:
            continue
        x = middle + at["value"] / span * _PLOT_PX / 2
        if entry is not None and entry["low"] is not None and entry["high"] is not None:
            low, high = (middle + entry[side] / span * _PLOT_PX / 2 for side in ("low", "high"))
            drawn.append(_line(low, y, high, y, "#2563eb"))
        drawn.append(tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="4", fill="#2563eb"))
        drawn.append(_text(_NAMES_PX + _PLOT_PX + 12, y + 4, difference_text(row, _FIGURE), "start"))
    width = _NAMES_PX + _PLOT_PX + 170
    return tag("svg", joined(drawn), viewBox=f"0 0 {width} {height}", width="100%", role="img")


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> Html:
    return tag(
        "line",
        x1=f"{x1:.1f}",
        y1=f"{y1:.1f}",
        x2=f"{x2:.1f}",
        y2=f"{y2:.1f}",
        stroke=colour,
        stroke_width="2",
    )


def _text(x: float, y: float, text: str, anchor: str) -> Html:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, fill="currentColor")
