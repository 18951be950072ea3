"""review.html: one file, offline, on which a person answers the units of a sample by keys.

1. `review_page` puts design, chips, script and style sheet into one document. It loads nothing: its content
   security policy names the hash of its own script, and allows no connection.
2. The script (`review/page.js`) shows a unit at a time. Answers stay in the browser, and are saved as a file
   that `jobs/assess.py estimate` reads.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files

from pipeline.assess.review_chips import ReviewChip
from pipeline.assess.sample_design import SampleDesign, SampleUnit
from pipeline.files.public_text import public_text
from pipeline.write.report.report_html import Html, raw, tag


@dataclass(frozen=True, kw_only=True)
class ReviewItem:
    """A unit and its picture."""

    unit: SampleUnit
    chip: ReviewChip


def review_page(design: SampleDesign, items: Sequence[ReviewItem]) -> str:
    """Make the page. Queries and messages in it are text, whatever they hold."""
    script = _own_file("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=raw(policy)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"Review {design.design_id}"),
        tag("style", raw(_own_file("page.css"))),
    )
    data = tag("script", raw(_data(design, items)), type="application/json", id="design")
    body = tag("body", _frame(design), data, tag("script", raw(script)))
    return "<!doctype html>\n" + tag("html", head, body, lang="en")


def _frame(design: SampleDesign) -> Html:
    """What the script fills."""
    return tag(
        "main",
        tag("p", id="kind"),
        tag("h1", id="query"),
        tag("p", id="question"),
        tag("div", id="pictures"),
        tag("div", id="keys"),
        tag("p", id="said", aria_live="polite"),
        tag("p", "Everything is answered: save the file (s).", id="end", hidden=""),
        tag("progress", id="bar", value="0", max="1"),
        tag("p", id="done"),
        tag(
            "div",
            tag("input", type="text", id="reviewer", placeholder="who answers", aria_label="who answers"),
            tag("button", tag("kbd", "s"), " save the answers", id="save"),
            tag(
                "label",
                "load a saved file",
                tag("input", type="file", id="load", accept=".json"),
                class_="file",
            ),
            class_="row",
        ),
        tag("p", id="kept", aria_live="polite"),
        tag(
            "footer",
            f"Sample {design.design_id} of run {design.run_id}. Units come in random order, so an early stop "
            "leaves a random sample; units that were skipped do not. Then: ",
            tag("code", "python jobs/assess.py estimate DIR --labels FILE"),
        ),
    )


def _data(design: SampleDesign, items: Sequence[ReviewItem]) -> str:
    """What the script reads, as JSON that cannot end its element."""
    document = {
        "design_id": design.design_id,
        "fingerprint": design.fingerprint,
        "queries": [public_text(query) for query in design.queries],
        "items": [
            {
                "id": item.unit.unit_id,
                "kind": item.unit.kind,
                "query_index": item.unit.query_index,
                **_rounded(item.chip),
            }
            for item in items
        ],
    }
    text = json.dumps(document, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _rounded(chip: ReviewChip) -> dict[str, object]:
    fields = asdict(chip)
    for name in ("frame", "cross"):
        if fields[name] is not None:
            fields[name] = [round(number, 1) for number in fields[name]]
    return {**fields, "problem": public_text(chip.problem)}


def _own_file(name: str) -> str:
    return files("pipeline.assess").joinpath("review", name).read_text(encoding="utf-8")
