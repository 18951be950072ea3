"""An assessment in words: each figure with its interval, what was unsure, and what is assumed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.assess.plan_text import columns
from pipeline.files.public_text import public_line

_SHARES = ("precision", "recall", "covered")
_TOLD = {
    "precision": "precision (objects)",
    "recall": "recall (objects)",
    "count": "objects in truth",
    "missed": "objects missed",
    "covered": "share of the ground",
    "area_m2": "area",
    "near_area_m2": "area on and beside what was published",
}


def assessment_text(assessment: Mapping[str, Any]) -> str:
    """Tell an assessment (the content of assessment.json)."""
    lines = []
    for query in assessment["queries"]:
        lines.append(f'"{public_line(query["query"])}"')
        lines += [f"  {line}" for line in columns(estimate_rows(query))]
        lines += [f"  {sentence}." for sentence in notes(query)]
    lines.append(
        "These are of the ground that the run looked at. An interval covers the chance of the draw, and not "
        "mistakes of the review."
    )
    return "\n".join(lines)


def estimate_rows(query: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The figures of one query as a table, its head first."""
    rows = [("figure", "estimate", "95 % interval")]
    rows += [
        (told, figure(name, query[name]["value"]), interval(name, query[name]))
        for name, told in _TOLD.items()
        if query[name] is not None
    ]
    return rows


def notes(query: Mapping[str, Any]) -> list[str]:
    """What a reader of the figures of one query must know, a sentence each without its end."""
    told = list(query["not_estimated"])
    if query["published"] is not None:
        told.append(f"published objects: {query['published']:,}")
    if query["n_unsure"]:
        told.append(f"{query['n_unsure']} answers were unsure and are left out; {_bounds(query['unsure'])}")
    curve = query.get("confidence")
    if curve:
        told.append(
            f"a confidence was learnt from {curve['n']:.0f} objects: mean squared error "
            f"{curve['brier_of_confidence']:.3f}, that of the scores {curve['brier_of_score']:.3f} "
            "(confidence.parquet beside the run, reliability.svg beside the sample)"
        )
    return told + list(query["assumed"])


def figure(name: str, value: float) -> str:
    """A number with its unit, to as many digits as it deserves."""
    if name in _SHARES:
        return f"{100 * value:.3g} %"
    if name.endswith("area_m2"):
        return area(value)
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.2g}"


def area(m2: float) -> str:
    """Square metres, hectares or square kilometres."""
    if m2 >= 1e6:
        return f"{m2 / 1e6:,.2f} km2"
    return f"{m2 / 1e4:,.2f} ha" if m2 >= 1e4 else f"{m2:,.0f} m2"


def interval(name: str, estimate: Mapping[str, float]) -> str:
    """The two limits."""
    if estimate["low"] == estimate["high"]:
        return "none: all were reviewed"
    return f"{figure(name, estimate['low'])} to {figure(name, estimate['high'])}"


def _bounds(unsure: Mapping[str, Any]) -> str:
    """The estimates with all unsure answers as no, and as yes."""
    low = unsure["as_no"]
    high = unsure["as_yes"]
    pairs = [
        f"{name.replace('area_m2', 'area')} {figure(name, ends[0])} to {figure(name, ends[1])}"
        for name in ("precision", "recall", "count", "area_m2")
        if low[name] and high[name]
        for ends in [sorted((low[name]["value"], high[name]["value"]))]
    ]
    return "counted all as no, then all as yes, the estimates are " + ", ".join(pairs)


def change_text(assessment: Mapping[str, Any]) -> str:
    """Tell the assessment of a comparison (the content of change_assessment.json)."""
    rows = [("ground", "as compared", "estimate", "95 % interval", "precision", "recall")]
    rows += [
        (
            kind,
            area(told["mapped_m2"]),
            area(told["area_m2"]["value"]),
            interval("area_m2", told["area_m2"]),
            _share_text("precision", told["precision"]),
            _share_text("recall", told["recall"]),
        )
        for kind, told in assessment["changes"].items()
    ]
    lines = [f'"{public_line(assessment["query"])}"', *(f"  {line}" for line in columns(rows))]
    if assessment["n_unsure"]:
        lines.append(f"  {assessment['n_unsure']} answers were unsure and are left out.")
    if assessment["n_unanswered"]:
        lines.append(
            f"  {assessment['n_unanswered']} points have no answer: it is assumed that they are like others "
            "of their stratum."
        )
    lines.append(
        f"These are of the {area(assessment['compared_m2'])} that were judged at both dates. An interval "
        "covers the chance of the draw, and not mistakes of the review."
    )
    return "\n".join(lines)


def _share_text(name: str, told: Mapping[str, float] | None) -> str:
    return "-" if told is None else f"{figure(name, told['value'])} ({interval(name, told)})"
