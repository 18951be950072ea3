"""Records -> results: one document with every figure, its interval, and what it was computed under.

1. `build_results` computes the headline figures under the chosen convention with bootstrap intervals over images, the same
   figures under every other convention (values only: they show how much of a published difference is bookkeeping), the
   rejection table, GeoSeg's seven pixel metrics, and everything again per stratum.
2. Strata are the properties that the reader attached to targets and wordings (kind, class, domain, category, ...), and the
   size of the target as a share of its image, which is known for every data set.
3. False alarms per 100 km2 of empty land are counted where the ground size of a pixel is known: masks drawn on samples
   without a target, over the area of those samples; a sample that failed was not looked at. A question is a look of its own:
   the same land asked twice counts twice.

The document is a pure function of records and protocol: scoring the same parts again gives the same bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.boundary import DIAGONAL_SHARE
from pipeline.evaluate.intervals import BootstrapOptions, Interval, bootstrap
from pipeline.evaluate.metrics import (
    CONVENTIONS,
    ConventionName,
    Ratio,
    SampleCounts,
    rejection_figures,
    rejection_table,
    segmentation_figures,
)
from pipeline.evaluate.pixel_metrics import pixel_metrics
from pipeline.evaluate.sample_records import SampleRecord, counts_of, outlines_of
from pipeline.schema import TileStatus

RESULTS_VERSION = 1
"""Version of the document's layout."""

STRATUM_FIGURES = ("giou", "ciou", "p@0.5", "rejection", "false_rejection")
"""What is reported per stratum."""

MAX_STRATUM_VALUES = 60
"""A property with more values than this is an identifier, not a stratum."""

TARGET_SIZE = "target size"
SIZE_LIMITS = (("below 1 %", 0.01), ("1 to 10 %", 0.1), ("10 % and more", math.inf))
"""Names and upper limits of the target's share of its image."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How records become figures. None of this touches a model: parts can be scored again under another one."""

    convention: ConventionName = "paper"
    intervals: BootstrapOptions = field(default_factory=BootstrapOptions)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What was evaluated, as the document says it."""

    benchmark: Mapping[str, Any]
    models: Mapping[str, str]
    protocol: Mapping[str, Any]
    pixel_m: float | None = None
    notes: tuple[str, ...] = ()


def build_results(records: Sequence[SampleRecord], scoring: Scoring, subject: Subject) -> dict[str, Any]:
    """The document; None stands for a figure that does not exist (no empty target: no rejection rate)."""
    counts, groups = counts_of(records), image_groups(records)
    convention = CONVENTIONS[scoring.convention]
    figures = all_figures(counts, scoring.convention)
    sevens = pixel_metrics(counts, outlines_of(records))
    intervals = bootstrap({**figures, **sevens}, groups, scoring.intervals)
    return {
        "results_version": RESULTS_VERSION,
        "benchmark": dict(subject.benchmark),
        "models": dict(subject.models),
        "protocol": {
            **subject.protocol,
            "convention": convention.name,
            "convention_source": convention.source,
            "intervals": {**asdict(scoring.intervals), "method": "percentile bootstrap over images"},
        },
        "n_samples": len(records),
        "n_images": len(set(groups.tolist())),
        "figures": {name: _entry(ratio, intervals[name]) for name, ratio in figures.items()},
        "conventions": {name: _values(segmentation_figures(counts, other)) for name, other in CONVENTIONS.items()},
        "rejection": _rejection(counts),
        "false_alarms": _false_alarms(records, subject.pixel_m),
        "pixel_metrics": {name: _entry(ratio, intervals[name]) for name, ratio in sevens.items()},
        "strata": _strata(records, counts, groups, scoring),
        "outcomes": dict(sorted(Counter(f"{r.status}/{r.reason}" if r.reason else str(r.status) for r in records).items())),
        "notes": list(subject.notes),
    }


def all_figures(counts: SampleCounts, convention: ConventionName) -> dict[str, Ratio]:
    """Segmentation and rejection figures under one convention."""
    return {**segmentation_figures(counts, CONVENTIONS[convention]), **rejection_figures(counts)}


def image_groups(records: Sequence[SampleRecord]) -> NDArray[np.int64]:
    """(n,) which image a sample belongs to, for the bootstrap."""
    places: dict[str, int] = {}
    return np.array([places.setdefault(record.image_id, len(places)) for record in records], dtype=np.int64)


def size_stratum(record: SampleRecord) -> str:
    """The size class of a sample's target."""
    if record.true_px == 0:
        return "empty"
    share = record.true_px / (record.height * record.width)
    return next(name for name, limit in SIZE_LIMITS if share < limit)


def tolerance_text(share: float = DIAGONAL_SHARE) -> str:
    """How the boundary tolerance is stated in tables."""
    return f"{100 * share:g} % of the image diagonal"


def _strata(
    records: Sequence[SampleRecord], counts: SampleCounts, groups: NDArray[np.int64], scoring: Scoring
) -> dict[str, dict[str, Any]]:
    columns = {key: [record.strata.get(key, "") for record in records] for key in sorted({key for r in records for key in r.strata})}
    columns[TARGET_SIZE] = [size_stratum(record) for record in records]
    figures = all_figures(counts, scoring.convention)
    chosen = {name: figures[name] for name in STRATUM_FIGURES}
    tables: dict[str, dict[str, Any]] = {}
    for key, column in columns.items():
        values = sorted(set(column) - {""}, key=_size_order)
        if len(values) > MAX_STRATUM_VALUES:
            continue
        tables[key] = {}
        for value in values:
            inside = np.array([item == value for item in column], dtype=np.bool_)
            ratios = {name: ratio.subset(inside) for name, ratio in chosen.items()}
            intervals = bootstrap(ratios, groups[inside], scoring.intervals)
            entries = {name: _entry(ratio, intervals[name]) for name, ratio in ratios.items()}
            tables[key][value] = {"n": int(inside.sum()), **entries}
    return tables


def _size_order(value: str) -> tuple[int, str]:
    order = ["empty", *(name for name, _ in SIZE_LIMITS)]
    return (order.index(value) if value in order else 0, value)


def _rejection(counts: SampleCounts) -> dict[str, Any]:
    table = rejection_table(counts)
    return {
        "n_empty": table.n_empty,
        "true": table.true,
        "true_percent": _percent(table.true, table.n_empty),
        "false": table.false,
        "false_percent": _percent(table.false, table.n_empty),
        "failed_on_empty": table.failed_on_empty,
        "n_present": table.n_present,
        "falsely_rejected": table.falsely_rejected,
        "falsely_rejected_percent": _percent(table.falsely_rejected, table.n_present),
    }


def _false_alarms(records: Sequence[SampleRecord], pixel_m: float | None) -> dict[str, Any] | None:
    if pixel_m is None:
        return None
    empty = [record for record in records if record.true_px == 0 and record.status is not TileStatus.FAILED]
    area_km2 = sum(record.height * record.width for record in empty) * pixel_m**2 / 1e6
    masks = sum(len(record.mask_scores) for record in empty)
    return {"masks": masks, "empty_km2": round(area_km2, 4), "per_100_km2": round(100 * masks / area_km2, 1) if area_km2 else None}


def _entry(ratio: Ratio, interval: Interval) -> dict[str, Any]:
    return {"value": _rounded(ratio.value), "low": _rounded(interval[0]), "high": _rounded(interval[1]), "n": ratio.n}


def _values(figures: Mapping[str, Ratio]) -> dict[str, float | None]:
    return {name: _rounded(ratio.value) for name, ratio in figures.items()}


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 1) if whole else None
