"""Show a calibration (calibration.json) as a page and as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluate.calibrate.curves import EMPTY_SHARE, TARGETS, choose, why_none
from pipeline.files.atomic_file import atomic_path

_GATE_COLUMNS = {
    "threshold": "threshold",
    "recall": "recall",
    "interval": "95 %",
    "recall_of_found": "of what is found",
    "passed_empty": "empty passed",
    "asked": "asked",
    "cost": "cost",
    "cost_rare": f"cost, {100 * EMPTY_SHARE:g} % empty",
}
_RARE = f"{100 * EMPTY_SHARE:g} % empty"
_VERIFIER_COLUMNS = {
    "threshold": "threshold",
    "recall": "right masks kept",
    "interval": "95 %",
    "kept_wrong": "wrong masks kept",
    "precision": "precision",
    "cost": "cost",
}


def calibration_markdown(document: Mapping[str, Any]) -> str:
    """Write the document as a Markdown page: what was measured, proposed thresholds, curves as tables."""
    counts = document["counts"]
    costs = document["costs"]
    parts = [
        f"# Gate and verifier: {document['prompter']}, world {document['world']}",
        f"{counts['pairs']} (tile, query) pairs, {counts['present']} hold the class, "
        f"{counts['absent']} hold none of it, something was found in {counts['found']}; "
        f"{counts['masks']} masks, {counts['right']} fit a true object (IoU >= 0.5).",
        _seconds(costs),
        "recall: share of pairs that hold the class and pass. of what is found: share of pairs in which the "
        "full examination found something and that pass; a run's audit estimates this. cost: seconds with "
        "the gate over seconds without; above 1 it does not pay. "
        f"cost, {_RARE}: the same on land where {100 * EMPTY_SHARE:g} % of the pairs belong to a picture "
        "(a tile, or the whole block of a parent look) that shows nothing of the class.",
        "The intervals take the pairs of one picture together. A threshold is proposed where the lower end "
        "of the interval reaches the recall, at it and at every smaller one above 0, so that the true one is "
        "below it in at most about one world of forty.",
    ]
    for name, curve in document["gate"].items():
        parts += [
            f"## Gate, look = {name}",
            _proposals(curve, "asked", "pairs"),
            _table(curve, _GATE_COLUMNS),
        ]
    if curve := document["verifier"]:
        parts += [
            "## Verifier",
            _verifier_cost(costs),
            _proposals(curve, "kept_wrong", "masks"),
            _table(curve, _VERIFIER_COLUMNS),
        ]
    return "\n\n".join(parts) + "\n"


def draw_calibration(document: Mapping[str, Any], path: Path) -> None:
    """Draw the curves to a PNG: recall over cost for both looks, and right masks over wrong masks kept.

    Needs matplotlib.
    """
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for name, curve in document["gate"].items():
        for axis, figure_name in ((left, "cost"), (middle, "cost_rare")):
            rows = [row for row in curve if row["recall"] is not None and row[figure_name] is not None]
            x, y = ([row[key] for row in rows] for key in (figure_name, "recall"))
            axis.plot(x, y, marker=".", label=f"look = {name}")
            axis.fill_between(
                x, [row["recall_low"] for row in rows], [row["recall_high"] for row in rows], alpha=0.15
            )
    for axis, title in ((left, "on this world"), (middle, f"{100 * EMPTY_SHARE:g} % of the tiles empty")):
        axis.axvline(1.0, color="grey", linewidth=0.8)
        axis.set(
            title=f"gate, {title}",
            xlabel="cost with the gate / cost without",
            ylabel="recall",
            ylim=(0, 1.02),
        )
        axis.set_xlim(left=0)
        if axis.lines:
            axis.legend(fontsize=8)
    rows = [
        row for row in document["verifier"] if row["recall"] is not None and row["kept_wrong"] is not None
    ]
    right.plot([row["kept_wrong"] for row in rows], [row["recall"] for row in rows], marker=".")
    cost = document["costs"]["verifier_cost"]["median"]
    right.set(
        title=f"verifier, at {cost:.2f} times the seconds",
        xlabel="wrong masks kept",
        ylabel="right masks kept",
        xlim=(0, 1.02),
        ylim=(0, 1.02),
    )
    for axis in (left, middle, right):
        axis.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _seconds(costs: Mapping[str, Any]) -> str:
    """Write the timed seconds on one line, each with its range."""
    looks = (f"a look ({name}) {_spread(seconds)}" for name, seconds in costs["look_s"].items())
    timed = [
        *looks,
        f"the prompter {_spread(costs['prompter_s'])}",
        f"the segmenter {_spread(costs['segmenter_s'])}",
    ]
    verifier = costs["verifier_s"]
    per_mask = (
        f"Seconds per mask: the verifier {_spread(verifier)}."
        if verifier
        else "No timed block had a mask for the verifier."
    )
    often = f"median of {costs['repeats']} blocks [smallest, largest]"
    return f"Seconds per pair, {often}: {', '.join(timed)}. {per_mask}"


def _verifier_cost(costs: Mapping[str, Any]) -> str:
    return (
        "cost: seconds of prompter, segmenter and verifier over seconds without it, "
        f"{_spread(costs['verifier_cost'])}, with {costs['masks_per_pair']:.3g} masks per pair. "
        "Every mask is looked at, so it is the same at every threshold."
    )


def _spread(values: Mapping[str, float]) -> str:
    return f"{values['median']:.4g} [{values['low']:.4g}, {values['high']:.4g}]"


def _proposals(curve: Sequence[Mapping[str, Any]], price: str, things: str) -> str:
    lines = []
    for target in TARGETS:
        row = choose(curve, target)
        if row is None:
            said = f"no threshold: {why_none(curve, target, things)}"
        else:
            sure = f"at least {row['recall_low']:g}, {price.replace('_', ' ')} {_cell(row[price])}"
            said = f"threshold = {row['threshold']:g} ({sure})"
        lines.append(f"- recall {target:g}: {said}")
    return "\n".join(lines)


def _table(curve: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    lines = ["| " + " | ".join(columns.values()) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    for row in curve:
        cells = {**row, "interval": f"{row['recall_low']:.3f}-{row['recall_high']:.3f}"}
        lines.append("| " + " | ".join(_cell(cells[key]) for key in columns) + " |")
    return "\n".join(lines)


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
