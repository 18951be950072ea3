"""report.html of a run of several zones: pictures and sums of all, and a way to the report of each zone.

Pictures are made by `zoned_pictures`. Failures are on the zones' own pages, which are made as for any run.

A browser resolves links by the address of a page, and this one has several: it lies in a snapshot, of which a
local folder has a second name (`current/`), and is shown in the run directory. So its links lead to places
below it that all of them have: `zones/<name>/report.html`. In a snapshot that is a copy, in the run directory
the zone's own. A snapshot that was moved, or loaded from a bucket, has all that its pages lead to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from pipeline.files.store.store_path import StorePath
from pipeline.write.coverage import Conservation
from pipeline.write.report.report_html import Html, table, tag
from pipeline.write.report.report_images import query_colour
from pipeline.write.report.report_page import report_page
from pipeline.write.report.report_sections import css
from pipeline.write.run_dir import RunDir
from pipeline.write.zoned.zoned_json import ZonedInfo


def write_zoned_page(
    root: RunDir,
    info: ZonedInfo,
    conservation: Conservation,
    *,
    n_instances: Sequence[int],
    reports: Sequence[str | None],
    pictures: Sequence[Html] = (),
) -> StorePath:
    """Write report.html into the snapshot of `root`.

    `n_instances`: per query; `reports`: per zone, the path of its report below this page (None: it has none);
    `pictures`: sections that are shown first, of which one is a map.
    """
    sections = [
        _header(info, conservation, n_instances),
        *pictures,
        _zones(info, reports),
        _seams(info),
        _tiles(info, conservation),
        _facts(info),
    ]
    return root.report.write_bytes(report_page(info.queries, sections, mapped=bool(pictures)))


def _header(info: ZonedInfo, conservation: Conservation, n_instances: Sequence[int]) -> Html:
    queries = tag(
        "ul",
        *(
            tag("li", tag("i", style=f"background:{css(query_colour(i))}"), query, tag("b", f"{count:,}"))
            for i, (query, count) in enumerate(zip(info.queries, n_instances, strict=True))
        ),
        class_="queries",
    )
    cards = [
        ("zones", len(info.zones), ""),
        ("found", conservation.found, "found"),
        ("empty", conservation.empty, "empty"),
        ("failed", conservation.failed, "failed"),
    ]
    drawn = (
        tag("div", tag("b", f"{count:,}"), tag("span", name), class_=f"card {kind}")
        for name, count, kind in cards
    )
    return tag(
        "section",
        tag("p", f"Terraquery run {info.run_id}, {info.status}", class_="kicker"),
        queries,
        tag("div", *drawn, class_="cards"),
    )


def _zones(info: ZonedInfo, reports: Sequence[str | None]) -> Html:
    rows = [
        (
            zone.name if report is None else tag("a", zone.name, href=quote(report)),
            zone.crs,
            zone.n_scenes,
            zone.n_tiles,
            f"{zone.id_offset:,}",
            zone.status,
        )
        for zone, report in zip(info.zones, reports, strict=True)
    ]
    lead = tag(
        "p",
        "Every zone was looked at in its own pixels and has a report of its own, in the folder zones beside "
        f"this page. Objects over a seam are counted once here, in {info.crs}.",
    )
    header = ("zone", "CRS", "scenes", "tiles", "added to its ids", "status")
    return tag("section", tag("h2", "Zones"), lead, table(header, rows))


def _seams(info: ZonedInfo) -> Html:
    names = {
        "near_a_seam": "near a seam, in all zones",
        "joined": "joined with another",
        "left_to_the_owner": "left to the owner of the ground",
        "beyond_the_seam": "kept beyond the seam",
        "disputed": "pairs refused",
    }
    rows = []
    for query in info.queries:
        figures = info.qa.get(query)
        found: Mapping[str, object] = figures if isinstance(figures, Mapping) else {}
        rows.append((query, *(int(str(found.get(name, 0))) for name in names)))
    return tag("section", tag("h2", "Objects at the seams"), table(("query", *names.values()), rows))


def _tiles(info: ZonedInfo, conservation: Conservation) -> Html:
    rows: list[Sequence[object]] = []
    for key, count in conservation.reasons.items():
        status, _, reason = key.partition("/")
        rows.append((tag("span", status, class_=f"status {status}"), reason, count))
    rows.append((tag("b", "planned"), "", conservation.planned))
    parts = [tag("h2", "Tiles of all zones"), table(("status", "reason", "tiles"), rows)]
    if conservation.searched is not None:
        parts.append(tag("p", f"Searched, every place once: {conservation.searched.text(info.queries)}."))
    return tag("section", *parts)


def _facts(info: ZonedInfo) -> Html:
    rows = [
        ("CRS", info.crs),
        ("rasters", info.masks),
        *((key.replace("_", " "), f"{value:,}") for key, value in info.counters.items()),
        ("fingerprint", tag("code", info.fingerprint)),
    ]
    return tag("section", tag("h2", "Run"), table(("", ""), rows, class_="facts"))
