"""Areas gained, lost and kept between two dates, with intervals, from the answers to a sample of points.

1. Each area: the share of points that a person says are so, times the ground of their stratum, added up
   (Olofsson et al., Remote Sensing of Environment 148, 2014, equations 9 to 11). So areas that the comparison
   missed count, and those that it made up do not.
2. How right the comparison is: of what it says was lost, how much was (precision), and of what was lost, how
   much it says (recall).
3. `estimate_changes` writes change_assessment.json into the folder of the comparison.

Unsure answers are left out and counted. Limits are those of `survey_estimators`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.assess.change.plan_changes import comparison_of
from pipeline.assess.draw_units import DrawnStratum
from pipeline.assess.review_labels import UnitAnswer, read_answers
from pipeline.assess.sample_design import SampleDesign
from pipeline.assess.survey_estimators import (
    LEVEL,
    Estimated,
    part_of_sum,
    rare_share_of,
    share_of,
    weighted_sum,
)
from pipeline.errors import InputError
from pipeline.files.output_folder import writing_to
from pipeline.files.public_text import public_json, public_text
from pipeline.write.run_json import finite

CHANGE_ASSESSMENT = "change_assessment.json"
VERSION = 1

TRUTHS = {"lost": "lost", "gained": "gained", "both": "kept"}
"""Answer -> the stratum in which the comparison says the same."""


@dataclass(frozen=True, kw_only=True)
class PointAnswers:
    """The sure answers in one stratum of the comparison."""

    stratum: DrawnStratum
    labels: NDArray[np.str_]
    """(n,): lost, gained, both or neither."""
    n_unsure: int
    n_unanswered: int


@dataclass(frozen=True, kw_only=True)
class ChangeEstimate:
    """Of one kind of change."""

    area_m2: Estimated
    precision: Estimated | None
    """None: the comparison says it nowhere."""
    recall: Estimated | None
    """None: nobody saw it anywhere."""


def estimate_change(given: Sequence[PointAnswers], truth: str) -> ChangeEstimate:
    """Estimate one kind of change (a key of TRUTHS). Every stratum must have an answer."""
    areas = {each.stratum.name: each.stratum.area_m2 for each in given}
    hits = {each.stratum.name: each.labels == truth for each in given}
    sizes = {each.stratum.name: each.stratum.size for each in given}
    same = TRUTHS[truth]
    parts = {name: (areas[name], rare_share_of(hits[name], sizes[name])) for name in areas}
    area = weighted_sum(list(parts.values())).least(0.0).most(sum(areas.values()))
    right = weighted_sum([parts[same]] if same in parts else []).least(0.0)
    rest = weighted_sum([part for name, part in parts.items() if name != same]).least(0.0)
    return ChangeEstimate(
        area_m2=area,
        precision=share_of(hits[same], sizes[same]) if same in hits else None,
        recall=part_of_sum(right, rest),
    )


def estimate_changes(
    design: SampleDesign, table: pa.Table, labels: Path, *, comparison: str | None = None
) -> dict[str, Any]:
    """Estimate, write change_assessment.json into the comparison's folder, and return its content.

    `comparison`: where it lies now. None: where the design says. Raises InputError for another comparison
    than the sampled one, strata without an answer, and ground without a CRS.
    """
    place = comparison_of(Path(comparison or design.run))
    if place.fingerprint != design.fingerprint:
        raise InputError(
            "an estimate is about the comparison that was sampled",
            came=f"another one in {place.folder}",
            remedy="draw a sample of this one (jobs/assess.py plan), or give the one that was sampled",
        )
    rows = table.to_pylist()
    answers = read_answers(labels, {row["unit_id"]: row["kind"] for row in rows}, design_id=design.design_id)
    given = [_answers_in(stratum, rows, answers.answers) for stratum in design.strata[0]]
    _require_answers(given)
    document = finite(
        {
            "change_assessment_version": VERSION,
            "design_id": design.design_id,
            "fingerprint": design.fingerprint,
            "query": public_text(design.queries[0]),
            "level": LEVEL,
            "reviewer": public_text(answers.reviewer),
            "labels_sha256": hashlib.sha256(labels.read_bytes()).hexdigest(),
            "compared_m2": sum(each.stratum.area_m2 for each in given),
            "changes": {TRUTHS[truth]: _entry(given, truth) for truth in TRUTHS},
            "n_unsure": sum(each.n_unsure for each in given),
            "n_unanswered": sum(each.n_unanswered for each in given),
            "strata": [_stratum_entry(each) for each in given],
        }
    )
    assert isinstance(document, dict)
    with writing_to(place.folder, "CHANGES"):
        (place.folder / CHANGE_ASSESSMENT).write_bytes((public_json(document) + "\n").encode())
    return document


def _answers_in(
    stratum: DrawnStratum, rows: Sequence[Mapping[str, Any]], answers: Mapping[str, UnitAnswer]
) -> PointAnswers:
    units = [row["unit_id"] for row in rows if row["stratum"] == stratum.name]
    told = [answers[unit].label for unit in units if unit in answers]
    sure = [label for label in told if label != "unsure"]
    return PointAnswers(
        stratum=stratum,
        labels=np.array(sure, dtype=np.str_),
        n_unsure=len(told) - len(sure),
        n_unanswered=len(units) - len(told),
    )


def _require_answers(given: Sequence[PointAnswers]) -> None:
    empty = [each.stratum.name for each in given if not len(each.labels)]
    if empty:
        raise InputError(
            "areas of change need sure answers in every stratum",
            came=f"none in {', '.join(map(repr, empty))}",
            remedy="go on with the review: its points come in random order",
        )
    if any(np.isnan(each.stratum.area_m2) for each in given):
        raise InputError(
            "areas of change need ground",
            came="runs without a CRS",
            remedy="compare runs of imagery that says where it lies",
        )


def _entry(given: Sequence[PointAnswers], truth: str) -> dict[str, Any]:
    estimate = estimate_change(given, truth)
    mapped = [each.stratum.area_m2 for each in given if each.stratum.name == TRUTHS[truth]]
    return {
        "mapped_m2": round(sum(mapped), 2),
        "area_m2": _rounded(estimate.area_m2),
        "precision": _rounded(estimate.precision),
        "recall": _rounded(estimate.recall),
    }


def _stratum_entry(each: PointAnswers) -> dict[str, Any]:
    names, counts = np.unique(each.labels, return_counts=True)
    return {
        "stratum": each.stratum.name,
        "size": each.stratum.size,
        "area_m2": round(each.stratum.area_m2, 2),
        **dict.fromkeys((*TRUTHS, "neither"), 0),
        **dict(zip(names.tolist(), counts.tolist(), strict=True)),
        "unsure": each.n_unsure,
        "unanswered": each.n_unanswered,
    }


def _rounded(estimate: Estimated | None) -> dict[str, float] | None:
    if estimate is None:
        return None
    return {name: float(f"{getattr(estimate, name):.6g}") for name in ("value", "low", "high")}
