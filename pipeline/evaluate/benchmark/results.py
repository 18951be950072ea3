"""Records -> results: one document with every figure, its interval, and what it was computed under.

1. `build_results` computes the headline figures under the chosen convention, the same figures under every
   other convention (values only: they show how much of a published difference is bookkeeping), the rejection
   table and GeoSeg's seven pixel metrics; and per stratum STRATUM_FIGURES and the seven again. Intervals are
   bootstrapped over images, those of rejection, false rejection and failure are Wilson's, that of false
   alarms per area is Poisson's (`intervals`).
2. Strata are the properties that the reader attached to targets and wordings (kind, class, domain, category,
   ...), and the size of the target as a share of its image, which is known for every data set.
3. False alarms per 100 km2 of empty land are counted where the ground size of a pixel is known: masks drawn
   on samples without a target, over the area of those samples; a sample that failed was not looked at. A
   query is a look of its own: the same land asked twice counts twice.
4. With a verifier the document has `verifier`: its options and what it did. The masks that it took away are
   in no figure, and an answer that keeps none counts as a rejection ("nothing here").

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

from pipeline.evaluate.benchmark.sample_records import SampleRecord, counts_of, outlines_of
from pipeline.evaluate.figures.boundary import DIAGONAL_SHARE
from pipeline.evaluate.figures.intervals import BootstrapOptions, Interval, bootstrap, poisson, wilson
from pipeline.evaluate.figures.metrics import (
    CONVENTIONS,
    ConventionName,
    Ratio,
    SampleCounts,
    rejection_figures,
    rejection_table,
    segmentation_figures,
)
from pipeline.evaluate.figures.pixel_metrics import PIXEL_METRICS, pixel_metrics
from pipeline.prompt.looks.verifier import VerifierOptions
from pipeline.prompt.reply.released_parser import ParserName
from pipeline.schema import Reason, TileStatus

RESULTS_VERSION = 2
"""Version of the document's layout."""

STRATUM_FIGURES = ("giou", "ciou", "p@0.5", "rejection", "false_rejection")
"""What is reported per stratum, beside the seven pixel metrics."""

SHARES = ("rejection", "false_rejection", "failure")
"""Figures that are a share of yes and no, with Wilson intervals."""

INTERVAL_METHODS = {
    "method": "percentile bootstrap over images",
    "exceptions": "Wilson for rejection, false rejection and no answer, exact Poisson for false alarms (both: as if independent)",
}
"""How the document names them."""

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
    parser: ParserName | None = None
    """How replies were read; None: no language model was asked."""
    retry: int = 0
    """Further attempts that a malformed reply was given."""
    verifier: VerifierOptions | None = None
    """None: no verifier looked at the masks."""
    pixel_m: float | None = None
    notes: tuple[str, ...] = ()


def build_results(records: Sequence[SampleRecord], scoring: Scoring, subject: Subject) -> dict[str, Any]:
    """The document; None stands for a figure that does not exist (no empty target: no rejection rate)."""
    counts = counts_of(records)
    groups = image_groups(records)
    convention = CONVENTIONS[scoring.convention]
    figures = all_figures(counts, scoring.convention)
    sevens = pixel_metrics(counts, outlines_of(records))
    entries = _entries({**figures, **sevens}, groups, scoring.intervals)
    return {
        "results_version": RESULTS_VERSION,
        "benchmark": dict(subject.benchmark),
        "models": dict(subject.models),
        "protocol": {
            **subject.protocol,
            "convention": convention.name,
            "convention_source": convention.source,
            "intervals": {**asdict(scoring.intervals), **INTERVAL_METHODS},
        },
        "n_samples": len(records),
        "n_images": len(set(groups.tolist())),
        "replies": _replies(records, subject),
        **({"verifier": _verifier(records, subject.verifier)} if subject.verifier is not None else {}),
        "figures": {name: entries[name] for name in figures},
        "conventions": {
            name: _values(segmentation_figures(counts, other)) for name, other in CONVENTIONS.items()
        },
        "rejection": _rejection(counts),
        "false_alarms": _false_alarms(records, subject.pixel_m, scoring.intervals.level),
        "pixel_metrics": {name: entries[name] for name in sevens},
        "strata": _strata(records, counts, groups, scoring),
        "outcomes": dict(
            sorted(Counter(f"{r.status}/{r.reason}" if r.reason else str(r.status) for r in records).items())
        ),
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
    columns = {
        key: [record.strata.get(key, "") for record in records]
        for key in sorted({key for r in records for key in r.strata})
    }
    columns[TARGET_SIZE] = [size_stratum(record) for record in records]
    figures = all_figures(counts, scoring.convention)
    chosen = {
        **{name: figures[name] for name in STRATUM_FIGURES},
        **pixel_metrics(counts, outlines_of(records)),
    }
    tables: dict[str, dict[str, Any]] = {}
    for key, column in columns.items():
        values = sorted(set(column) - {""}, key=_size_order)
        if len(values) > MAX_STRATUM_VALUES:
            continue
        tables[key] = {}
        for value in values:
            inside = np.array([item == value for item in column], dtype=np.bool_)
            entries = _entries(
                {name: ratio.subset(inside) for name, ratio in chosen.items()},
                groups[inside],
                scoring.intervals,
            )
            tables[key][value] = {
                "n": int(inside.sum()),
                **{name: entries[name] for name in STRATUM_FIGURES},
                "pixel_metrics": {name: entries[name] for name in PIXEL_METRICS},
            }
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


def _replies(records: Sequence[SampleRecord], subject: Subject) -> dict[str, Any] | None:
    """How the replies were read, and how many samples took more than one: `then_read` is how many of those
    were not lost.
    """
    if subject.parser is None:
        return None
    again = [record for record in records if record.n_calls > 1]
    then_read = sum(not record.failed for record in again)
    return {
        "parser": subject.parser,
        "retry": subject.retry,
        "asked_again": len(again),
        "then_read": then_read,
    }


def _verifier(records: Sequence[SampleRecord], options: VerifierOptions) -> dict[str, Any]:
    """`masks` were drawn, `taken_away` of them rejected; `not_judged` are looks that failed; `emptied`
    answers had masks and kept none.
    """
    masks = sum(record.n_drawn for record in records)
    judged = sum(p is not None for record in records for p in record.verified)
    return {
        **{name: getattr(options, name) for name in ("mode", "threshold", "pad", "min_side")},
        "masks": masks,
        "taken_away": sum(record.n_rejected for record in records),
        "not_judged": masks - judged,
        "emptied": sum(record.reason is Reason.VERIFIER for record in records),
    }


def _false_alarms(
    records: Sequence[SampleRecord], pixel_m: float | None, level: float
) -> dict[str, Any] | None:
    if pixel_m is None:
        return None
    empty = [record for record in records if record.true_px == 0 and record.status is not TileStatus.FAILED]
    area_km2 = sum(record.height * record.width for record in empty) * pixel_m**2 / 1e6
    masks = sum(len(record.mask_scores) for record in empty)
    rates = [
        round(100 * count / area_km2, 1) if area_km2 else None for count in (masks, *poisson(masks, level))
    ]
    return {
        "masks": masks,
        "empty_km2": round(area_km2, 4),
        **dict(zip(("per_100_km2", "low", "high"), rates, strict=True)),
    }


def _entries(
    figures: Mapping[str, Ratio], groups: NDArray[np.int64], options: BootstrapOptions
) -> dict[str, dict[str, Any]]:
    """Every figure with its interval; `groups` (n,) says which image a sample belongs to."""
    intervals = bootstrap(
        {name: ratio for name, ratio in figures.items() if name not in SHARES}, groups, options
    )
    intervals |= {name: wilson(ratio, options.level) for name, ratio in figures.items() if name in SHARES}
    return {name: _entry(ratio, intervals[name]) for name, ratio in figures.items()}


def _entry(ratio: Ratio, interval: Interval) -> dict[str, Any]:
    return {
        "value": _rounded(ratio.value),
        "low": _rounded(interval[0]),
        "high": _rounded(interval[1]),
        "n": ratio.n,
    }


def _values(figures: Mapping[str, Ratio]) -> dict[str, float | None]:
    return {name: _rounded(ratio.value) for name, ratio in figures.items()}


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 1) if whole else None
