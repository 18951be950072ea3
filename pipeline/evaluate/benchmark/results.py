"""Compute the results of an evaluation from its records: every figure with its interval.

1. Headline figures follow the chosen convention; the values under all others stand beside them. Then come
   GeoSeg's seven pixel metrics and the rejection table.
2. Strata are properties that the reader gave to targets and wordings, and the target's size.
3. False alarms are masks on samples without a target, counted per area.

Scoring the same parts again gives the same bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.benchmark.paired_answers import PairFigures, pair_figures
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
from pipeline.schema.tile_answers import Reason, TileStatus

RESULTS_VERSION = 2
"""Version of the document's layout."""

STRATUM_FIGURES = ("giou", "ciou", "p@0.5", "rejection", "false_rejection")
"""Figures per stratum, besides the seven pixel metrics."""

SHARES = ("rejection", "false_rejection", "failure")
"""Figures that count yes and no; they have Wilson intervals."""

INTERVAL_METHODS = {
    "method": "percentile bootstrap over images",
    "exceptions": "Wilson for rejection, false rejection and no answer, exact Poisson for false alarms "
    "(both: as if independent)",
}
"""Methods of the intervals, in the words of the document."""

MAX_STRATUM_VALUES = 60
"""A property with more values than this is an identifier, not a stratum."""

TARGET_SIZE = "target size"
SIZE_LIMITS = (("below 1 %", 0.01), ("1 to 10 %", 0.1), ("10 % and more", math.inf))
"""Names and upper limits of the target's share of its image."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How records become figures. This needs no model, so parts can be scored again in another way."""

    convention: ConventionName = "paper"
    intervals: BootstrapOptions = field(default_factory=BootstrapOptions)


class Entry(TypedDict):
    """A figure with its interval. None: undefined, such as a rejection rate without empty targets."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Intervals(TypedDict):
    """How intervals were computed."""

    draws: int
    seed: int
    level: float
    method: str
    exceptions: str


class Asked(TypedDict):
    """What was asked of the models, in words."""

    questions: str
    size: str
    limit: int | None
    boundary_tolerance: str


class FigureProtocol(Asked):
    """What was asked, and how the figures were computed."""

    convention: ConventionName
    convention_source: str
    intervals: Intervals


class Replies(TypedDict):
    """What was asked and how replies were read: the profile, which has text, image size and frame, and the
    parser. Of the queries `asked_again`, `then_read` had a readable reply in the end.
    """

    profile: str
    parser: ParserName
    retry: int
    asked_again: int
    then_read: int


class Verified(TypedDict):
    """A verifier's options and what it did. `emptied`: answers that had masks and lost all of them.

    Masks that were taken away enter no figure. An emptied answer counts as a rejection.
    """

    mode: str
    threshold: float
    pad: float
    min_side: float
    masks: int
    taken_away: int
    not_judged: int
    emptied: int


class Rejection(TypedDict):
    """Answers "nothing here" about targets that are absent (empty) and about those that are present."""

    n_empty: int
    true: int
    true_percent: float | None
    false: int
    false_percent: float | None
    failed_on_empty: int
    n_present: int
    falsely_rejected: int
    falsely_rejected_percent: float | None


class FalseAlarms(TypedDict):
    """Masks on empty land. Without such land the rate and its interval are None.

    Failed samples are left out. Land counts once per query about it.
    """

    masks: int
    empty_km2: float
    per_100_km2: float | None
    low: float | None
    high: float | None


type Stratum = dict[str, Any]
"""`n`, an `Entry` per STRATUM_FIGURES, and `pixel_metrics` with one per metric."""


class _Looks(TypedDict, total=False):
    verifier: Verified
    pairs: PairFigures


class Results(_Looks):
    """The document. It has `verifier` only if one looked at the masks, `pairs` only if there are some."""

    results_version: int
    benchmark: dict[str, str]
    models: dict[str, str]
    protocol: FigureProtocol
    n_samples: int
    n_images: int
    replies: Replies | None
    """None: no language model was asked."""
    figures: dict[str, Entry]
    conventions: dict[str, dict[str, float | None]]
    rejection: Rejection
    false_alarms: FalseAlarms | None
    """None: the ground size of a pixel is not known."""
    pixel_metrics: dict[str, Entry]
    strata: dict[str, dict[str, Stratum]]
    """Property -> value -> figures."""
    outcomes: dict[str, int]
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What was evaluated, in the words of the document."""

    benchmark: Mapping[str, str]
    models: Mapping[str, str]
    protocol: Asked
    parser: ParserName | None = None
    """How replies were read; None: no language model was asked."""
    profile: str = ""
    """Name of the profile: what was asked, of which image, in which frame."""
    retry: int = 0
    """Further attempts after a malformed reply."""
    verifier: VerifierOptions | None = None
    """Options of the verifier. None: none looked at the masks."""
    pixel_m: float | None = None
    notes: tuple[str, ...] = ()


def build_results(records: Sequence[SampleRecord], scoring: Scoring, subject: Subject) -> Results:
    """Build the document of an evaluation. Equal records give equal content, in equal order."""
    counts = counts_of(records)
    groups = image_groups(records)
    convention = CONVENTIONS[scoring.convention]
    figures = all_figures(counts, scoring.convention)
    sevens = pixel_metrics(counts, outlines_of(records))
    entries = _entries({**figures, **sevens}, groups, scoring.intervals)
    looks: _Looks = {}
    if subject.verifier is not None:
        looks["verifier"] = _verifier(records, subject.verifier)
    if (pairs := pair_figures(records, scoring.intervals)) is not None:
        looks["pairs"] = pairs
    return {
        "results_version": RESULTS_VERSION,
        "benchmark": dict(subject.benchmark),
        "models": dict(subject.models),
        "protocol": {
            **subject.protocol,
            "convention": convention.name,
            "convention_source": convention.source,
            "intervals": {
                "draws": scoring.intervals.draws,
                "seed": scoring.intervals.seed,
                "level": scoring.intervals.level,
                "method": INTERVAL_METHODS["method"],
                "exceptions": INTERVAL_METHODS["exceptions"],
            },
        },
        "n_samples": len(records),
        "n_images": len(set(groups.tolist())),
        "replies": _replies(records, subject),
        **looks,
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
    """Compute segmentation and rejection figures under one convention."""
    return {**segmentation_figures(counts, CONVENTIONS[convention]), **rejection_figures(counts)}


def image_groups(records: Sequence[SampleRecord]) -> NDArray[np.int64]:
    """Number the images of samples, for the bootstrap; (n,)."""
    places: dict[str, int] = {}
    return np.array([places.setdefault(record.image_id, len(places)) for record in records], dtype=np.int64)


def size_stratum(record: SampleRecord) -> str:
    """Choose the size class of a sample's target."""
    if record.true_px == 0:
        return "empty"
    share = record.true_px / (record.height * record.width)
    return next(name for name, limit in SIZE_LIMITS if share < limit)


def tolerance_text(share: float = DIAGONAL_SHARE) -> str:
    """Word the boundary tolerance for tables."""
    return f"{100 * share:g} % of the image diagonal"


def _strata(
    records: Sequence[SampleRecord], counts: SampleCounts, groups: NDArray[np.int64], scoring: Scoring
) -> dict[str, dict[str, Stratum]]:
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
    tables: dict[str, dict[str, Stratum]] = {}
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


def _rejection(counts: SampleCounts) -> Rejection:
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


def _replies(records: Sequence[SampleRecord], subject: Subject) -> Replies | None:
    if subject.parser is None:
        return None
    again = [record for record in records if record.n_calls > 1]
    then_read = sum(not record.failed for record in again)
    return {
        "profile": subject.profile,
        "parser": subject.parser,
        "retry": subject.retry,
        "asked_again": len(again),
        "then_read": then_read,
    }


def _verifier(records: Sequence[SampleRecord], options: VerifierOptions) -> Verified:
    masks = sum(record.n_drawn for record in records)
    judged = sum(p is not None for record in records for p in record.verified)
    return {
        "mode": options.mode,
        "threshold": options.threshold,
        "pad": options.pad,
        "min_side": options.min_side,
        "masks": masks,
        "taken_away": sum(record.n_rejected for record in records),
        "not_judged": masks - judged,
        "emptied": sum(record.reason is Reason.VERIFIER for record in records),
    }


def _false_alarms(records: Sequence[SampleRecord], pixel_m: float | None, level: float) -> FalseAlarms | None:
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
        "per_100_km2": rates[0],
        "low": rates[1],
        "high": rates[2],
    }


def _entries(
    figures: Mapping[str, Ratio], groups: NDArray[np.int64], options: BootstrapOptions
) -> dict[str, Entry]:
    """Compute every figure with its interval; `groups` (n,): number of a sample's image."""
    intervals = bootstrap(
        {name: ratio for name, ratio in figures.items() if name not in SHARES}, groups, options
    )
    intervals |= {name: wilson(ratio, options.level) for name, ratio in figures.items() if name in SHARES}
    return {name: _entry(ratio, intervals[name]) for name, ratio in figures.items()}


def _entry(ratio: Ratio, interval: Interval) -> Entry:
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
