"""Compute a judge's mean marks with their intervals, for all answers and by their properties.

Means are over readable verdicts alone. How many are missing stands beside every mean, because a mean of what
is left may flatter: what a judge cannot rate is rarely its best.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from pipeline.evaluate.figures.intervals import BootstrapOptions, bootstrap
from pipeline.evaluate.figures.metrics import Ratio
from pipeline.evaluate.judge.verdict import CRITERIA

MOST_VALUES = 60
"""A property with more values than this is an identifier, and gets no table."""


class Judgement(StrEnum):
    """What became of one answer."""

    RATED = "rated"
    UNREADABLE = "unreadable"
    """The judge replied, and its marks cannot be read: missing."""
    NO_REPLY = "no_reply"
    """The engine gave none: missing."""
    NOTHING_TO_SHOW = "nothing_to_show"
    """Nothing is there and nothing was marked; no judge was asked."""


@dataclass(frozen=True, kw_only=True)
class JudgedSample:
    """One answer, and a judge's marks for it."""

    sample_id: str
    image_id: str
    query: str
    strata: Mapping[str, str] = field(default_factory=dict)
    judgement: Judgement
    faithfulness: int | None = None
    """1 to 5, as the two after it. None: missing."""
    localization: int | None = None
    robustness: int | None = None
    reply: str = ""
    error: str = ""


def judge_document(samples: Sequence[JudgedSample], *, judge: str) -> dict[str, Any]:
    """Build the content of judge.json."""
    keys = sorted({key for sample in samples for key in sample.strata})
    strata: dict[str, dict[str, Any]] = {}
    for key in keys:
        values = sorted({sample.strata[key] for sample in samples if sample.strata.get(key)})
        if len(values) <= MOST_VALUES:
            strata[key] = {
                value: _means([sample for sample in samples if sample.strata.get(key) == value])
                for value in values
            }
    return {
        "judge": judge,
        "criteria": list(CRITERIA),
        "scale": [1, 5],
        "all": _means(samples),
        "strata": strata,
    }


def _means(samples: Sequence[JudgedSample]) -> dict[str, Any]:
    """Compute counts, and mean, low and high of each criterion (95 % bootstrap over images)."""
    counts = Counter(sample.judgement for sample in samples)
    rated = [sample for sample in samples if sample.judgement is Judgement.RATED]
    places: dict[str, int] = {}
    groups = np.array([places.setdefault(sample.image_id, len(places)) for sample in rated], dtype=np.int64)
    ones = np.ones(len(rated))
    ratios = {
        name: Ratio(
            numerator=np.array([getattr(sample, name) for sample in rated], dtype=np.float64),
            denominator=ones,
        )
        for name in CRITERIA
    }
    intervals = bootstrap(ratios, groups, BootstrapOptions())
    return {
        **{judgement.value: counts[judgement] for judgement in Judgement},
        **{
            name: {
                "mean": _rounded(ratio.value),
                "low": _rounded(intervals[name][0]),
                "high": _rounded(intervals[name][1]),
            }
            for name, ratio in ratios.items()
        },
    }


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def judge_markdown(document: Mapping[str, Any]) -> str:
    """Write the tables of judge.md."""
    head = ["of", *document["criteria"], "rated", "unreadable", "no reply", "nothing to show"]
    lines = [
        f"# Verdicts of {document['judge']}",
        "",
        "Mean marks from 1 to 5, with 95 % intervals over images. Missing verdicts enter no mean.",
        "",
        "| " + " | ".join(head) + " |",
        "| --- |" + " ---: |" * (len(head) - 1),
        _row("all", document["all"], document["criteria"]),
    ]
    for key, values in document["strata"].items():
        lines += [_row(f"{key}: {value}", means, document["criteria"]) for value, means in values.items()]
    return "\n".join(lines) + "\n"


def _row(name: str, means: Mapping[str, Any], criteria: Sequence[str]) -> str:
    marks = [
        "-"
        if means[item]["mean"] is None
        else f"{means[item]['mean']:.2f} [{means[item]['low']:.2f}, {means[item]['high']:.2f}]"
        for item in criteria
    ]
    counts = [str(means[judgement.value]) for judgement in Judgement]
    return "| " + " | ".join([name.replace("|", "/"), *marks, *counts]) + " |"
