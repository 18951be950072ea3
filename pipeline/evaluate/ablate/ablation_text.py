"""The document of an ablation in Markdown: our rows, the papers' rows marked as theirs, and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.evaluate.benchmark.results_text import markdown_table

TITLES = {
    "refinement": "Boxes refined or not",
    "routes": "Route A, route B, and both",
    "prompters": "Who gives the prompts",
    "segmenters": "Who draws the masks",
    "combinations": "Which prompts the segmenter gets",
    "negatives": "Negative points",
    "shapes": "Prompts after the shape of a target",
}

COLUMNS = {
    "giou": "gIoU",
    "giou_present": "gIoU, there",
    "ciou": "cIoU",
    "iou": "IoU",
    "precision": "Prec.",
    "recall": "Rec.",
    "boundary_f": "BF",
}
"""Figures in the table, in its order."""

_SHOWS = {
    "refinement": "With an oracle whose boxes drift by a known share it shows what margins are worth against "
    "that drift, and what they cost without one. Whether a real model drifts, it cannot show: measure that "
    "with jobs/calibrate_boxes.py.",
    "routes": "With the oracle it shows what the rule of fusion does with two routes that err apart, by our "
    "model of mistakes. It does not show how CLIP and SAM3 err on photographs, or whether they err apart.",
    "prompters": "It shows how much of a loss is the prompter's: between the truth and a model that answers "
    "lies what better prompts can gain. Order and size of language models on photographs it cannot show.",
    "segmenters": "It shows that a segmenter and its prompts go together, and by how much masks of the same "
    "prompts differ. Worlds are drawn: a model of photographs is a stranger there, and the embedded one at "
    "home. The papers' order of SAM2 sizes it can neither confirm nor contradict.",
    "combinations": "It shows what a frozen segmenter makes of the same true place, said in several ways. "
    "The paper trained a prompter for each way, which is another question: there the prompter learns, too.",
    "negatives": "It shows what negative points at a place that is truly outside do to a frozen segmenter. "
    "The paper's finding is that a language model does not learn where to put them; that needs training.",
    "shapes": "It shows what a frozen segmenter makes of long targets whose true outline chose the prompts. "
    "A prompter would have to see the shape first, which is not tested. The rivers are drawn over a world.",
}

_ALWAYS = (
    "A small world has nine classes, drawn and not photographed, of one ground size, and queries of a few "
    "words. So differences between rows are about the mechanism, and levels say nothing about real imagery. "
    "The papers' rows were measured on other samples, with other models: compare directions, never numbers "
    "across the two halves of the table. The intervals come from drawing pictures of this world again; "
    "another world can differ by more."
)


def ablation_markdown(document: Mapping[str, Any]) -> str:
    """Write the document as Markdown."""
    axis = str(document["axis"])
    noise = ", ".join(f"{name} {value:g}" for name, value in document["noise"].items())
    parts = [
        f"# {TITLES[axis]}",
        f"{document['benchmark']}{_limit(document)}. Mistakes of the oracle: {noise or 'none'}. In brackets: "
        "95 % intervals over pictures. Differences are paired: both rows answered the same samples.",
    ]
    parts.append(markdown_table(header(), [*our_rows(document), *published_rows(document)]))
    if rows := rows_by_stratum(document):
        head = ["models", "variant", "targets", "n", "gIoU", "difference", "changed"]
        parts.append(markdown_table(head, rows))
    parts += [
        published_text(document),
        "## What this can and cannot show",
        limits(axis),
    ]
    return "\n\n".join(parts) + "\n"


def header() -> list[str]:
    """Titles of the columns."""
    return ["models", "variant", "difference in gIoU", "the same, there", *COLUMNS.values(), "n"]


def our_rows(document: Mapping[str, Any]) -> list[list[str]]:
    """Cells of the rows that were measured here, or the reason why one was not."""
    rows = []
    for models, row in every_row(document):
        if "not_run" in row:
            rows.append([models, row["name"], f"not run: {row['not_run']}", *[""] * (len(COLUMNS) + 2)])
            continue
        rows.append(
            [
                models,
                row["name"],
                difference_text(row, "giou"),
                difference_text(row, "giou_present"),
                *(_percent(row["figures"][name]["value"]) for name in COLUMNS),
                str(row["samples"]) + (f" ({row['failed']} failed)" if row["failed"] else ""),
            ]
        )
    return rows


def published_rows(document: Mapping[str, Any]) -> list[list[str]]:
    """Cells of the papers' rows, in the same columns."""
    return [
        [
            f"published: {row['source']}",
            row["name"],
            "",
            "",
            *(f"{row['figures'][name]:.1f}" if name in row["figures"] else "" for name in COLUMNS),
            "",
        ]
        for row in document["published"]
    ]


def published_text(document: Mapping[str, Any]) -> str:
    """Say of what data the papers' rows are, or that there are none."""
    if not document["published"]:
        return "No paper has figures for this axis."
    lines = "\n".join(f"- {line}" for line in sources(document))
    return f"Rows whose models are *published* are the papers' own, on their data:\n\n{lines}"


def rows_by_stratum(document: Mapping[str, Any]) -> list[list[str]]:
    """Cells of the differences kind by kind, of benchmarks that have kinds of long targets."""
    return [
        [
            models,
            row["name"],
            name,
            str(entry["n"]),
            _percent(entry["giou"]),
            difference_text({"differences": {"giou": entry["difference"]}}, "giou"),
            str(entry["difference"]["changed"]) if entry["difference"] else "",
        ]
        for models, row in every_row(document)
        for name, entry in row.get("by_line", {}).items()
    ]


def sources(document: Mapping[str, Any]) -> list[str]:
    """Say of what data the papers' rows are."""
    return sorted({f"{row['source']}: {row['data']}" for row in document["published"]})


def limits(axis: str) -> str:
    """Say what an ablation on a small world can and cannot show."""
    return f"{_SHOWS[axis]} {_ALWAYS}"


def difference_text(row: Mapping[str, Any], name: str) -> str:
    """Write a paired difference in points, with its interval; of the reference a dash."""
    entry = row["differences"].get(name)
    if entry is None:
        return "reference"
    if entry["value"] is None:
        return "-"
    low, high = (100 * (entry[side] or 0.0) for side in ("low", "high"))
    return f"{100 * entry['value']:+.1f} [{low:+.1f}, {high:+.1f}]"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _limit(document: Mapping[str, Any]) -> str:
    return f", {document['limit']} queries" if document["limit"] else ""


def every_row(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """List the rows of all models, each with the name of its models."""
    return [(table["models"], row) for table in document["tables"] for row in table["rows"]]
