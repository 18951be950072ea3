"""From a sample and its answers to assessment.json beside the run.

1. `read_design` and `read_answers` refuse what is no probability sample.
2. `_require_same_result` refuses answers about another result than the one that counts now.
3. `_grouped` counts answers by stratum: answered, unsure, without an answer.
4. `estimate_query` estimates; unsure answers are left out, then counted as no, then as yes.
5. From the reviewed objects follows the confidence of all others (`confidence`).
6. `_assumed` says what is taken for granted where units have no answer.

`read_assessment` gives it back to whoever tells the run's figures, as long as it is of the same result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.assess.confidence import ConfidenceCurve, confidence_entry
from pipeline.assess.confidence_files import curve_of, reliability_svg, write_confidence
from pipeline.assess.draw_units import KINDS, NEAR_STRATA, Kind
from pipeline.assess.query_estimates import (
    QueryAnswers,
    QueryEstimates,
    StratumAnswers,
    Unsure,
    estimate_query,
    gaps,
)
from pipeline.assess.review_labels import UnitAnswer, read_answers
from pipeline.assess.sample_design import SampleDesign, read_design
from pipeline.assess.survey_estimators import LEVEL, Estimated
from pipeline.errors import InputError
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.files.output_folder import writing_to
from pipeline.files.public_text import public_json, public_text
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import finished_run
from pipeline.write.run_json import RunInfo, finite, read_run_json
from pipeline.write.zoned.zoned_json import ZonedInfo

ASSESSMENT_VERSION = 1

ASSESSMENT_NAME = "assessment.json"
"""File in the run directory."""

RELIABILITY_NAME = "reliability.svg"
"""Drawing in the folder of the sample."""

METHOD = (
    "stratified random sampling without replacement; stratified estimates; limits per stratum (mid-p for "
    "objects, Jeffreys for squares and points) with finite-population corrections, joined by the method of "
    "variance estimates recovery (Olofsson et al. 2014; Cochran 1977; Zou and Donner 2008; Donner and Zou "
    "2012)"
)

_FIGURES = ("precision", "recall", "count", "missed", "covered", "area_m2", "near_area_m2")
_UNITS = {"object": "objects", "cell": "squares", "point": "points"}


def estimate_assessment(folder: Path, labels: Path, *, run: str | None = None) -> dict[str, Any]:
    """Estimate, write assessment.json beside the run, and return its content.

    `run`: where the run lies now. None: where the design says. Raises InputError for what is no probability
    sample of this result, and for answers that support no figure at all.
    """
    design, table = read_design(folder)
    run_dir, info = _run_of(run or design.run)
    _require_same_result(design, info, run_dir)
    rows = table.to_pylist()
    given = read_answers(labels, {row["unit_id"]: row["kind"] for row in rows}, design_id=design.design_id)
    queries = [_query_entry(design, index, rows, given.answers) for index in design.chosen]
    if all(entry[name] is None for entry in queries for name in _FIGURES):
        raise InputError(
            "an estimate needs answers in every stratum of a kind of unit",
            came=queries[0]["not_estimated"][0] if queries[0]["not_estimated"] else "no answers",
            remedy="go on with the review: its units come in random order",
        )
    document = finite(
        {
            "assessment_version": ASSESSMENT_VERSION,
            "design_id": design.design_id,
            "run_id": design.run_id,
            "fingerprint": design.fingerprint,
            "snapshot": design.snapshot,
            "level": LEVEL,
            "method": METHOD,
            "reviewer": public_text(given.reviewer),
            "labels_sha256": hashlib.sha256(labels.read_bytes()).hexdigest(),
            "queries": queries,
        }
    )
    assert isinstance(document, dict)
    curves = {each["query_index"]: curve_of(each["confidence"]) for each in queries if each["confidence"]}
    with writing_to(run_dir.path, "RUN"):
        if curves:
            write_confidence(run_dir, info, curves)
        (run_dir.path / ASSESSMENT_NAME).write_bytes((public_json(document) + "\n").encode())
    if curves:
        with writing_to(folder, "DIR"):
            write_bytes_atomic(folder / RELIABILITY_NAME, reliability_svg(queries).encode())
    return document


@dataclass(frozen=True, kw_only=True)
class KeptAssessment:
    """assessment.json of a run, if it can be used."""

    document: Mapping[str, Any] | None
    """None: there is none for the result that counts."""
    why_not: str = ""
    """Why one that is there does not count. Empty: there is none at all, or it counts."""


def confidence_curves(run_dir: RunDir, info: RunInfo | ZonedInfo) -> dict[int, ConfidenceCurve]:
    """Query index -> curve, of a run whose assessment counts and could learn one. Empty: there is none."""
    document = read_assessment(run_dir, info).document
    if document is None:
        return {}
    return {
        int(entry["query_index"]): curve_of(entry["confidence"])
        for entry in document["queries"]
        if entry["confidence"]
    }


def read_assessment(run_dir: RunDir, info: RunInfo | ZonedInfo) -> KeptAssessment:
    """Read the assessment of the result that counts."""
    path = run_dir.path / ASSESSMENT_NAME
    try:
        document = json.loads(path.read_bytes())
        same = (document["fingerprint"], document["snapshot"]) == (info.fingerprint, info.snapshot)
        known = document["assessment_version"] == ASSESSMENT_VERSION
    except FileNotFoundError:
        return KeptAssessment(document=None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return KeptAssessment(document=None, why_not=f"{ASSESSMENT_NAME} cannot be read: {error!r}")
    if not known:
        return KeptAssessment(document=None, why_not=f"{ASSESSMENT_NAME} is of another version")
    if not same:
        return KeptAssessment(document=None, why_not=f"{ASSESSMENT_NAME} is of an earlier result of this run")
    return KeptAssessment(document=document)


def _run_of(place: str) -> tuple[RunDir, RunInfo]:
    run_dir = finished_run(place)
    if not run_dir.run_json.is_file():
        raise InputError(
            "an estimate needs the run that was sampled",
            came=f"{run_dir.path} without a run.json",
            remedy="say where it lies now: --run RUN",
        )
    return run_dir, read_run_json(run_dir.run_json)


def _require_same_result(design: SampleDesign, info: RunInfo, run_dir: RunDir) -> None:
    if (design.fingerprint, design.snapshot) == (info.fingerprint, info.snapshot):
        return
    changed = "another run" if design.fingerprint != info.fingerprint else "another result of the same run"
    raise InputError(
        "an estimate is about the result that was sampled",
        came=f"{changed} in {run_dir.path}: fingerprint {info.fingerprint[:12]}, snapshot {info.snapshot}; "
        f"sampled were {design.fingerprint[:12]} and {design.snapshot}",
        remedy="draw a sample of what is there now (jobs/assess.py plan), or give the run that was sampled",
    )


def _query_entry(
    design: SampleDesign, index: int, rows: Sequence[Mapping[str, Any]], answers: Mapping[str, UnitAnswer]
) -> dict[str, Any]:
    """The entry of one query in assessment.json."""
    mine = [row for row in rows if row["query_index"] == index]
    grouped = {kind: _grouped(design, index, kind, mine, answers) for kind in KINDS}
    given = QueryAnswers(objects=grouped["object"], cells=grouped["cell"], points=grouped["point"])
    all_strata = [(kind, stratum) for kind in KINDS for stratum in grouped[kind] or ()]
    published = sum(stratum.size for stratum in grouped["object"] or ())
    on_objects = sum(s.area_m2 for s in grouped["point"] or () if s.name == NEAR_STRATA[0])
    entry: dict[str, Any] = {
        "query_index": index,
        "query": public_text(design.queries[index]),
        "published": published if grouped["object"] is not None else None,
        "published_area_m2": round(on_objects, 2) if on_objects > 0 else None,
        **_figures(estimate_query(given)),
        "not_estimated": _not_estimated(grouped),
        "n_unsure": sum(stratum.n_unsure for _, stratum in all_strata),
        "n_unanswered": sum(stratum.n_unanswered for _, stratum in all_strata),
    }
    if entry["recall"] is None and entry["count"] is not None:
        entry["not_estimated"].append("no recall: neither a right object nor a missed one was seen")
    if entry["n_unsure"]:
        kinds: tuple[Unsure, Unsure] = ("as no", "as yes")
        entry["unsure"] = {how.replace(" ", "_"): _figures(estimate_query(given, how)) for how in kinds}
    entry["confidence"] = _confidence(mine, answers)
    entry["assumed"] = _assumed(mine, answers)
    entry["strata"] = [
        {
            "kind": kind,
            "stratum": stratum.name,
            "size": stratum.size,
            "answered": len(stratum.values),
            "unsure": stratum.n_unsure,
            "unanswered": stratum.n_unanswered,
            "missed" if kind == "cell" else "yes": int(stratum.values.sum()),
        }
        for kind, stratum in all_strata
    ]
    return entry


def _confidence(
    rows: Sequence[Mapping[str, Any]], answers: Mapping[str, UnitAnswer]
) -> dict[str, Any] | None:
    """The confidence that the reviewed objects support."""
    told = sorted(
        (row for row in rows if row["kind"] == "object" and row["unit_id"] in answers),
        key=lambda row: row["review_order"],
    )
    sure = [row for row in told if answers[row["unit_id"]].label != "unsure"]
    return confidence_entry(
        np.array([row["score"] for row in sure], dtype=np.float64),
        np.array([answers[row["unit_id"]].label == "yes" for row in sure], dtype=np.bool_),
        np.array([row["weight"] for row in sure], dtype=np.float64),
    )


def _grouped(
    design: SampleDesign,
    index: int,
    kind: Kind,
    rows: Sequence[Mapping[str, Any]],
    answers: Mapping[str, UnitAnswer],
) -> list[StratumAnswers] | None:
    """The answers to one kind, by stratum. None: the kind was not drawn."""
    if not design.wanted.of(kind):
        return None
    made = []
    for stratum in design.strata[index]:
        if stratum.kind != kind:
            continue
        units = [row["unit_id"] for row in rows if row["kind"] == kind and row["stratum"] == stratum.name]
        told = [answers[unit] for unit in units if unit in answers]
        sure = [answer for answer in told if answer.label != "unsure"]
        values = [float(a.n_missed if kind == "cell" else a.label == "yes") for a in sure]
        made.append(
            StratumAnswers(
                name=stratum.name,
                size=stratum.size,
                values=np.asarray(values, dtype=np.float64),
                n_unsure=len(told) - len(sure),
                n_unanswered=len(units) - len(told),
                area_m2=stratum.area_m2,
            )
        )
    return made


def _not_estimated(grouped: Mapping[Kind, Sequence[StratumAnswers] | None]) -> list[str]:
    """Why a figure is missing, a sentence per kind of unit."""
    needs = {"object": "precision, recall and count", "cell": "recall and count", "point": "area"}
    told = []
    for kind, strata in grouped.items():
        if strata is None:
            told.append(f"no {needs[kind]}: no {_UNITS[kind]} were drawn")
        elif gaps(strata):
            names = ", ".join(f"'{name}'" for name in gaps(strata))
            told.append(f"no {needs[kind]}: no {_UNITS[kind]} have an answer in {names}")
    return told


def _assumed(rows: Sequence[Mapping[str, Any]], answers: Mapping[str, UnitAnswer]) -> list[str]:
    """What is taken for granted where units have no answer, a sentence per kind of unit."""
    told = []
    for kind in KINDS:
        order = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["review_order"])
        there = [row["unit_id"] in answers for row in order]
        n = sum(there)
        if not order or n == len(order):
            continue
        if all(there[:n]):
            told.append(
                f"{n} of {len(order)} {_UNITS[kind]} have an answer, the first ones in their random order: "
                "still a random sample, and a smaller one"
            )
        else:
            told.append(
                f"{n} of {len(order)} {_UNITS[kind]} have an answer, and some before others were skipped: it "
                "is assumed that the skipped ones are like the others of their stratum, and nothing shows it"
            )
    return told


def _figures(estimates: QueryEstimates) -> dict[str, Any]:
    return {name: _rounded(getattr(estimates, name)) for name in _FIGURES}


def _rounded(estimate: Estimated | None) -> dict[str, float] | None:
    if estimate is None:
        return None
    return {name: float(f"{getattr(estimate, name):.6g}") for name in ("value", "low", "high")}
