"""The answer of a run as a paragraph, a table, JSON or CSV. What was not looked at comes first."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.assess.answer_run import AnswerRow, RunAnswer
from pipeline.assess.assessment_text import area, figure, interval
from pipeline.assess.looked_at import SearchedGround
from pipeline.assess.plan_text import columns
from pipeline.files.public_text import public_line

CSV_COLUMNS = (
    "query",
    "district",
    "objects",
    "area_m2",
    "per_km2",
    "ground_km2",
    "looked_at_km2",
    "not_looked_at_km2",
    "true_objects",
    "true_objects_low",
    "true_objects_high",
)
"""Columns of `--csv`. The last three come from an assessment, for the whole run; empty: there is none."""


def answer_text(answer: RunAnswer) -> str:
    """Tell the answer in plain words, and a table."""
    paragraphs = []
    if not answer.complete:
        paragraphs.append(
            "This run is NOT complete: tiles are not accounted for, and the numbers are too low."
        )
    for row in answer.rows:
        if row.district is None:
            paragraphs.append(_paragraph(row, answer))
    parts = [*paragraphs, "\n".join(_table(answer.rows)), _last(answer)]
    return "\n\n".join(part for part in parts if part)


def answer_document(answer: RunAnswer) -> dict[str, Any]:
    """The answer, JSON-ready."""
    return {
        "run": answer.run,
        "run_id": answer.run_id,
        "complete": answer.complete,
        "assessment": answer.not_assessed or ("counts" if answer.assessed else "none"),
        "answers": [
            {
                "query": public_line(row.query),
                "district": row.district,
                "not_looked_at_km2": {why: round(km2, 6) for why, km2 in row.ground.not_looked_at.items()},
                "ground_km2": round(row.ground.area_km2, 6),
                "looked_at_km2": round(row.ground.searched_km2, 6),
                "objects": row.objects,
                "area_m2": None if row.area_m2 is None else round(row.area_m2, 2),
                "per_km2": None if row.per_km2 is None else round(row.per_km2, 4),
                "assessed": _entry(row, answer),
            }
            for row in answer.rows
        ],
    }


def answer_csv(answer: RunAnswer) -> str:
    """The answer as a table for other tools."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in answer.rows:
        entry = _entry(row, answer)
        count = entry["count"] if entry else None
        writer.writerow(
            [
                _cell(row.query),
                _cell(row.district or ""),
                row.objects,
                "" if row.area_m2 is None else round(row.area_m2, 2),
                "" if row.per_km2 is None else round(row.per_km2, 4),
                round(row.ground.area_km2, 6),
                round(row.ground.searched_km2, 6),
                round(row.ground.area_km2 - row.ground.searched_km2, 6),
                *([count["value"], count["low"], count["high"]] if count else ["", "", ""]),
            ]
        )
    return sink.getvalue().rstrip("\n")


def _paragraph(row: AnswerRow, answer: RunAnswer) -> str:
    sentences = [f'"{public_line(row.query)}"', _ground(row.ground)]
    size = "" if row.area_m2 is None else f", {area(row.area_m2)} in all"
    density = (
        "" if row.per_km2 is None else f", {_density(row.per_km2)} per km2 of the ground that was looked at"
    )
    things = "1 object was" if row.objects == 1 else f"{row.objects:,} objects were"
    sentences.append(f"{things} found{size}{density}.")
    sentences.append(_sure(_entry(row, answer)))
    return "\n".join([sentences[0], " ".join(sentences[1:])])


def _ground(ground: SearchedGround) -> str:
    """What was not looked at, and what was."""
    if not ground.area_km2:
        return "How much ground was looked at is unknown: the run has no CRS."
    reasons = sorted(ground.not_looked_at.items(), key=lambda item: -item[1])
    told = [f"{_km2(km2)} km2 {why}" for why, km2 in reasons if km2 > 1e-9]
    if not told:
        sentence = f"All {_km2(ground.area_km2)} km2 were looked at."
    else:
        left = ground.area_km2 - ground.searched_km2
        sentence = (
            f"Of {_km2(ground.area_km2)} km2, {_km2(left)} were NOT looked at ({'; '.join(told)}): what is "
            "there is not known, and in no number below."
        )
    if ground.gate_km2 > 1e-9:
        sentence += f" {_km2(ground.gate_km2)} km2 had the gate's cheap look alone."
    return sentence


def _sure(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "How many there are in truth nobody has checked, so there is no interval."
    if entry["count"] is None:
        return f"A review gives no interval of the number: {'; '.join(entry['not_estimated'])}."
    told = (
        "A review of a random sample puts the true number on that ground at "
        f"{figure('count', entry['count']['value'])} ({_limits('count', entry['count'])})"
    )
    if entry["area_m2"] is not None:
        told += (
            f" and their area at {area(entry['area_m2']['value'])} ({_limits('area_m2', entry['area_m2'])})"
        )
    if entry["precision"] is not None:
        told += f"; {figure('precision', entry['precision']['value'])} of what was found is right"
    if entry["recall"] is not None:
        told += f", and {figure('recall', entry['recall']['value'])} of what is there was found"
    unsure = f" {entry['n_unsure']} answers were unsure, and are left out." if entry["n_unsure"] else ""
    return f"{told}.{unsure}"


def _limits(name: str, estimate: Mapping[str, float]) -> str:
    if estimate["low"] == estimate["high"]:
        return "exactly: all was reviewed"
    return f"95 % interval {interval(name, estimate)}"


def _table(rows: Sequence[AnswerRow]) -> list[str]:
    parted = any(row.district is not None for row in rows)
    head = (
        "query",
        *(("district",) if parted else ()),
        "objects",
        "area",
        "per km2",
        "looked at km2",
        "not km2",
    )
    lines = [
        (
            public_line(row.query, most_chars=48),
            *((row.district or "all",) if parted else ()),
            f"{row.objects:,}",
            "-" if row.area_m2 is None else area(row.area_m2),
            "-" if row.per_km2 is None else _density(row.per_km2),
            _km2(row.ground.searched_km2) if row.ground.area_km2 else "-",
            _km2(row.ground.area_km2 - row.ground.searched_km2) if row.ground.area_km2 else "-",
        )
        for row in rows
    ]
    return columns([head, *lines])


def _last(answer: RunAnswer) -> str:
    parted = any(row.district is not None for row in answer.rows)
    lines = []
    if answer.not_assessed:
        lines.append(f"{answer.not_assessed}: it does not count.")
    if len(answer.assessed) < len({row.query for row in answer.rows}):
        lines.append(f"For an interval: python jobs/assess.py plan {answer.run} --out DIR")
    if parted:
        lines.append(
            "An object counts where a point on it lies. An assessment is of the whole run, and gives no "
            "interval of a district."
        )
    return "\n".join(lines)


def _entry(row: AnswerRow, answer: RunAnswer) -> Mapping[str, Any] | None:
    return answer.assessed.get(row.query) if row.district is None else None


def _density(per_km2: float) -> str:
    return f"{per_km2:,.0f}" if per_km2 >= 100 else f"{per_km2:.3g}"


def _km2(km2: float) -> str:
    return f"{km2:,.2f}" if km2 >= 0.1 or km2 == 0 else f"{km2:.2g}"


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    line = public_line(text)
    return f"'{line}" if line[:1] in ("=", "+", "-", "@") else line
