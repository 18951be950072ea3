"""Compare the two answers of every pair of queries that exclude each other.

`pair_figures` takes records whose strata name a pair. The overlap of a pair is the IoU of its two predicted
masks; right answers have 0. A pair whose two answers mark nothing has no overlap and is counted apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from pipeline.evaluate.benchmark.sample_records import SampleRecord, unpack_mask
from pipeline.evaluate.figures.intervals import BootstrapOptions, bootstrap
from pipeline.evaluate.figures.metrics import Ratio

DISJOINT = 0.01
"""Overlap up to which two answers count as disjoint."""


class PairFigures(TypedDict):
    """How the answers of pairs overlap. Without pairs that mark anything the figures are None."""

    pairs: int
    without_masks: int
    """Pairs of which neither answer marks a pixel."""
    overlap: float | None
    overlap_low: float | None
    overlap_high: float | None
    disjoint: float | None
    """Share of the other pairs with an overlap of at most DISJOINT."""


def pair_figures(records: Sequence[SampleRecord], options: BootstrapOptions) -> PairFigures | None:
    """Compute overlap (with its interval over images) and share of disjoint pairs. None: no pairs."""
    by_pair: dict[str, list[SampleRecord]] = {}
    for record in records:
        if record.strata.get("pair"):
            by_pair.setdefault(record.strata["pair"], []).append(record)
    pairs = [pair for pair in by_pair.values() if len(pair) == 2]
    if not pairs:
        return None
    overlaps = []
    images = []
    for first, second in pairs:
        masks = [unpack_mask(record.mask_png, (record.height, record.width)) for record in (first, second)]
        union = int((masks[0] | masks[1]).sum())
        if union:
            overlaps.append(int((masks[0] & masks[1]).sum()) / union)
            images.append(first.image_id)
    values = np.array(overlaps)
    places = {name: number for number, name in enumerate(dict.fromkeys(images))}
    ratio = Ratio(numerator=values, denominator=np.ones(len(values)))
    groups = np.array([places[name] for name in images], dtype=np.int64)
    low, high = bootstrap({"overlap": ratio}, groups, options)["overlap"]
    some = len(values) > 0
    return {
        "pairs": len(pairs),
        "without_masks": len(pairs) - len(values),
        "overlap": round(float(values.mean()), 6) if some else None,
        "overlap_low": round(low, 6) if some else None,
        "overlap_high": round(high, 6) if some else None,
        "disjoint": round(float((values <= DISJOINT).mean()), 6) if some else None,
    }


def pairs_text(figures: PairFigures | None) -> str:
    """Say how the answers of pairs overlap. Empty without pairs."""
    if figures is None:
        return ""
    about = f"{figures['pairs']} pairs of queries that exclude each other"
    if figures["overlap"] is None:
        return f"{about}: no answer marks anything."
    low, high = (100 * (figures[name] or 0) for name in ("overlap_low", "overlap_high"))
    return (
        f"{about}: their answers overlap by {100 * figures['overlap']:.1f} % [{low:.1f}, {high:.1f}] (mean "
        f"IoU; right answers by none), {100 * (figures['disjoint'] or 0):.1f} % are disjoint, and in "
        f"{figures['without_masks']} neither answer marks anything."
    )
