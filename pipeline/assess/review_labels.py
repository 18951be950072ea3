"""Read the answers of a review, and check that they belong to the sample that was drawn.

The page saves JSON; sample.csv filled in is read too. Answers to units that were not drawn are refused: a
sample that somebody picked, or that of another design, supports no estimate. Units without an answer are not
refused, but counted (`estimate_run` says what is then assumed).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.files.text_file import read_text

Label = Literal["yes", "no", "unsure", "neither", "lost", "gained", "both"]

CHANGES: tuple[Label, ...] = ("neither", "lost", "gained", "both")
"""What a point at two dates can be: no object, one at the first date, one at the second, one at both."""

LABELS_VERSION = 1
"""Value of `terraquery_labels` in a file of the page."""

MOST_MISSED = 10_000
"""Largest number of missed objects that one square takes: more is a slip of the pen."""

_TAKES = {"cell": ("no", "missed", "unsure"), "change": (*CHANGES, "unsure")}

_REMEDY = (
    "give the file that the review page saved, or sample.csv with its columns label and n_missed filled in"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitAnswer:
    """What a person said of one unit."""

    label: Label
    """Of a square `no` with `n_missed`."""
    n_missed: int = 0
    """Of a square: objects that were missed."""


@dataclass(frozen=True, kw_only=True)
class ReviewAnswers:
    """The answers of one file."""

    answers: Mapping[str, UnitAnswer]
    """unit_id -> answer; units without one are left out."""
    reviewer: str = ""
    """Who answered, as the page was told."""


def read_answers(path: Path, kinds: Mapping[str, str], *, design_id: str) -> ReviewAnswers:
    """Read a file of answers. `kinds`: unit_id -> kind of all units that were drawn.

    Raises InputError for a file that is none, answers to other units or another design, two different answers
    to one unit, and answers that its kind does not take.
    """
    text = read_text(path, "--labels")
    given, reviewer = (
        _json(text, path, design_id) if text.lstrip().startswith("{") else (_csv(text, path), "")
    )
    answers: dict[str, UnitAnswer] = {}
    foreign: list[str] = []
    for unit_id, label, n_missed in given:
        if unit_id not in kinds:
            foreign.append(unit_id)
            continue
        answer = _answer(unit_id, kinds[unit_id], label, n_missed, path)
        if answers.get(unit_id, answer) != answer:
            raise InputError(
                "every unit must have one answer",
                came=f"two different ones for {unit_id} in {path}",
                remedy="keep one of them",
            )
        answers[unit_id] = answer
    if foreign:
        raise _not_drawn(foreign, design_id, path)
    if not answers:
        raise InputError("--labels must hold answers", came=f"none in {path}", remedy=_REMEDY)
    return ReviewAnswers(answers=answers, reviewer=reviewer)


def _not_drawn(foreign: list[str], design_id: str, path: Path) -> InputError:
    others = sorted({name.partition("-")[0] for name in foreign} - {design_id})
    of = f"of sample {others[0]}" if others else "that were not drawn"
    return InputError(
        f"--labels must answer units of sample {design_id}, and no others: what was picked by hand is no "
        "probability sample",
        came=f"{len(foreign)} units {of}, e.g. {foreign[0][:40]!r}, in {path}",
        remedy="give the answers to this sample, or the folder of the sample that was answered",
    )


def _json(text: str, path: Path, design_id: str) -> tuple[list[tuple[str, str, str]], str]:
    try:
        document = json.loads(text)
        if document["terraquery_labels"] != LABELS_VERSION:
            raise KeyError("terraquery_labels")
        given = [
            (str(name), str(each["label"]), str(each.get("n_missed", "")))
            for name, each in document["labels"].items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("--labels must be answers", came=f"{path}: {error!r}", remedy=_REMEDY) from error
    if document.get("design_id") != design_id:
        raise InputError(
            f"--labels must answer sample {design_id}",
            came=f"answers to sample {document.get('design_id')!r} in {path}",
            remedy="give the folder of that sample, or the answers to this one",
        )
    return given, str(document.get("reviewer") or "")


def _csv(text: str, path: Path) -> list[tuple[str, str, str]]:
    first = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=";" if first.count(";") > first.count(",") else ",")
    lacking = {"unit_id", "label"} - set(rows.fieldnames or ())
    if lacking:
        raise InputError(
            "--labels must have the columns unit_id and label",
            came=f"no {' and no '.join(sorted(lacking))} in {path}",
            remedy=_REMEDY,
        )
    return list(_filled(rows))


def _filled(rows: Iterator[dict[str | Any, str | Any]]) -> Iterator[tuple[str, str, str]]:
    """Rows with an answer."""
    for row in rows:
        label = (row.get("label") or "").strip().lower()
        n_missed = (row.get("n_missed") or "").strip()
        if label or n_missed:
            yield (row.get("unit_id") or "").strip(), label or "missed", n_missed


def _answer(unit_id: str, kind: str, label: str, n_missed: str, path: Path) -> UnitAnswer:
    takes = _TAKES.get(kind, ("yes", "no", "unsure"))
    if label not in takes:
        raise InputError(
            f"the answer to a unit of kind {kind} must be {', '.join(takes)}",
            came=f"{label[:40]!r} for {unit_id} in {path}",
            remedy="correct it; an empty label is a unit without an answer",
        )
    if label == "unsure":
        return UnitAnswer(label="unsure")
    for change in CHANGES:
        if label == change:
            return UnitAnswer(label=change)
    if kind != "cell":
        return UnitAnswer(label="yes" if label == "yes" else "no")
    number = _number(n_missed, default=1 if label == "missed" else 0)
    if number is None or (label == "missed") != (number > 0):
        raise InputError(
            "n_missed must be how many objects were missed: 0 with no, 1 or more with missed",
            came=f"{n_missed[:20]!r} with {label} for {unit_id} in {path}",
            remedy="correct it",
        )
    return UnitAnswer(label="no", n_missed=number)


def _number(text: str, *, default: int) -> int | None:
    """A whole number from 0 to MOST_MISSED. None: it is none."""
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if 0 <= value <= MOST_MISSED and value == int(value) else None
