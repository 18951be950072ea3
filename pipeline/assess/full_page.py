"""The report of a run with all that was learnt after it: assessment, confidence, cost.

1. A run's own report never changes, and an assessment comes after it. So `full_page` takes that report as it
   is and fills the two places that it keeps free (`map_section.LATER_DATA`, `LATER_SECTIONS`).
2. The map is told the curve of each query, and so knows the confidence of every object.
3. `assessment_section` shows figures with intervals and the reliability diagram; `cost_section` what
   cost.json says. What is not there is said.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.assess.assessment_text import estimate_rows, notes
from pipeline.assess.confidence_files import reliability_svg
from pipeline.assess.estimate_run import read_assessment
from pipeline.errors import InputError
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.files.lasting_path import require_lasting
from pipeline.files.public_text import public_line
from pipeline.run.events.run_costs import duration_text
from pipeline.write.report.map.map_section import LATER_DATA, LATER_SECTIONS, script_json
from pipeline.write.report.report_html import Html, joined, raw, table, tag
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import existing_run
from pipeline.write.zoned.zoned_json import read_any_run


def write_full_page(run: str, out: Path) -> None:
    """Write the page. Raises InputError for a run without a report, or with one that has no map."""
    run_dir = existing_run(run, what="a page")
    require_lasting(str(out), "--report")
    if out.is_dir() or not out.resolve().parent.is_dir():
        raise InputError(
            "--report must be a file in a folder that is there", came=str(out), remedy="give another name"
        )
    if run_dir.path.is_local and out.resolve().is_relative_to(run_dir.path.local().resolve()):
        raise InputError(
            "--report must not lie in the run, which stays as it is",
            came=str(out),
            remedy="give a name elsewhere",
        )
    write_bytes_atomic(out, full_page(run_dir).encode())


def full_page(run_dir: RunDir) -> str:
    """Make the page of the result that counts."""
    try:
        page = run_dir.report.read_text()
    except FileNotFoundError as error:
        raise InputError(
            "a page is made from the run's report.html",
            came=f"no {run_dir.report}",
            remedy="let the run end: start its own command again, it resumes",
        ) from error
    if any(page.count(slot) != 1 for slot in (LATER_DATA, LATER_SECTIONS)):
        raise InputError(
            "a page is made from a report with a map",
            came=f"{run_dir.report} of an earlier version",
            remedy="make the report anew from the run's records: jobs/restitch_region.py --run RUN --out NEW",
        )
    kept = read_assessment(run_dir, read_any_run(run_dir.run_json))
    sections = joined([assessment_section(kept.document, kept.why_not), cost_section(_cost(run_dir))])
    data = tag("script", raw(script_json(_told(kept.document))), type="application/json", id="later")
    return page.replace(LATER_DATA, data).replace(LATER_SECTIONS, tag("div", sections, id="later-sections"))


def assessment_section(document: Mapping[str, Any] | None, why_not: str) -> Html:
    """Show an assessment (the content of assessment.json). None: there is none that counts, and why."""
    parts = [tag("h2", "Assessment")]
    if document is None:
        told = f"{why_not}: it does not count." if why_not else "Nobody has reviewed a sample of this run."
        return tag("section", *parts, tag("p", f"{told} jobs/assess.py draws one."))
    for query in document["queries"]:
        rows = estimate_rows(query)
        parts += [
            tag("h3", public_line(query["query"])),
            table(rows[0], rows[1:]),
            tag("ul", *(tag("li", f"{sentence}.") for sentence in notes(query))),
        ]
    if any(query.get("confidence") for query in document["queries"]):
        drawing = base64.b64encode(reliability_svg(document["queries"]).encode()).decode()
        image = tag("img", src=raw(f"data:image/svg+xml;base64,{drawing}"), alt="reliability diagram")
        told = (
            "How often objects are right, against what was told of them: on the dashed line both agree. "
            "Squares are the model's scores, dots the confidences, with their 95 % intervals."
        )
        parts.append(tag("figure", image, tag("figcaption", told), id="reliability"))
    parts.append(
        tag(
            "p",
            "These are of the ground that the run looked at. An interval covers the chance of the draw, and "
            "not mistakes of the review.",
            class_="kicker",
        )
    )
    return tag("section", *parts, id="assessment")


def cost_section(cost: Mapping[str, Any] | None) -> Html:
    """Show what a run cost (the content of cost.json). None: the run has none."""
    if cost is None:
        told = "The run has no cost.json: its times were fixed, or it lies in a store that did not take it."
        return tag("section", tag("h2", "Cost"), tag("p", told))
    km2 = cost["km2"]
    n = len(cost["starts"])
    rows: list[tuple[str, str]] = [
        ("time", f"{duration_text(cost['seconds'])} in {n} start{'s' if n != 1 else ''}"),
        ("tiles worked on", f"{cost['tiles']:,}"),
        ("ground in the plan's tiles", "not known" if km2 is None else f"{km2:,.4g} km²"),
        (
            "time of devices",
            duration_text(cost["gpu_seconds"]) if cost["gpu_seconds"] else "none was reserved",
        ),
        *((name.replace("_", " "), f"{number:,}") for name, number in sorted(cost["used"].items())),
        ("money", _money(cost)),
    ]
    parts = [table(("", ""), [(name, public_line(told)) for name, told in rows], class_="facts")]
    starts = [
        (
            public_line(start["name"].removesuffix(".jsonl")),
            public_line(start["end"]),
            *(duration_text(start[name]) for name in ("seconds", "starting_s", "working_s", "publishing_s")),
            start["tiles"],
        )
        for start in cost["starts"]
    ]
    head = ("start", "end", "time", "until the first block", "at work", "publishing", "tiles")
    return tag("section", tag("h2", "Cost"), *parts, tag("p", ""), table(head, starts), id="cost")


def _money(cost: Mapping[str, Any]) -> str:
    if cost["money"] is None:
        return "not known: the run was not told --price-per-hour"
    by_area = cost["money_per_1000_km2"]
    return f"{cost['money']:,.2f}" + ("" if by_area is None else f", {by_area:,.2f} per 1,000 km²")


def _told(document: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the map is told. With an assessment there are curves, if only none."""
    if document is None:
        return {}
    curves = {
        str(query["query_index"]): {name: query["confidence"][name] for name in ("slope", "intercept")}
        for query in document["queries"]
        if query["confidence"]
    }
    return {"curves": curves}


def _cost(run_dir: RunDir) -> Mapping[str, Any] | None:
    try:
        document: Mapping[str, Any] = json.loads(run_dir.costs.read_bytes())
    except FileNotFoundError:
        return None
    return document
