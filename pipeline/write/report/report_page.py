"""The document that a report is: head, style sheet and policy around its sections.

A page with a map runs the map's own scripts, named by their hashes in its policy. No page may connect, load
or send anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.write.report.map.map_section import own_page_file, script_sources
from pipeline.write.report.report_html import Html, raw, tag
from pipeline.write.report.report_style import CONTENT_SECURITY_POLICY, STYLE


def report_page(queries: Sequence[str], sections: Sequence[Html], *, mapped: bool) -> bytes:
    """Make the page. `mapped`: whether one of the sections is a map."""
    policy = CONTENT_SECURITY_POLICY
    style = STYLE
    if mapped:
        policy += f"; script-src {script_sources()}"
        style += own_page_file("map.css")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=raw(policy)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"Terraquery: {'; '.join(queries)}"),
        tag("style", raw(style)),
    )
    document = "<!doctype html>\n" + tag("html", head, tag("body", tag("main", *sections)), lang="en")
    return document.encode("utf-8", "replace")
