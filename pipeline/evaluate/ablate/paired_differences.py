"""How far two variants lie apart on the same samples.

`differences` takes the records of both, sample by sample, and draws whole pictures for the interval, as
`figures.intervals` does. Paired, because both answered the same: what makes a sample hard for both falls out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from pipeline.errors import RecordError
from pipeline.evaluate.benchmark.results import all_figures, image_groups
from pipeline.evaluate.benchmark.sample_records import SampleRecord, counts_of
from pipeline.evaluate.figures.intervals import BootstrapOptions, bootstrap
from pipeline.evaluate.figures.metrics import Ratio

COMPARED = ("giou", "giou_present", "p@0.5", "rejection", "false_rejection")
"""Figures whose difference is a mean over samples: their denominators depend on the truth alone."""


class Difference(TypedDict):
    """A figure of a variant less that of the reference, from -1 to 1. None: undefined."""

    value: float | None
    low: float | None
    high: float | None
    changed: int
    """Samples whose contribution differs."""


def differences(
    records: Sequence[SampleRecord], reference: Sequence[SampleRecord], options: BootstrapOptions
) -> dict[str, Difference]:
    """Compute every figure of COMPARED, under the paper's convention.

    Raises RecordError when the two did not answer the same samples.
    """
    keys = [[(one.image_id, one.sample_id, one.true_px) for one in side] for side in (records, reference)]
    if keys[0] != keys[1]:
        raise RecordError("two variants of an ablation must have answered the same samples, in one order")
    ours = all_figures(counts_of(records), "paper")
    theirs = all_figures(counts_of(reference), "paper")
    ratios = {
        name: Ratio(
            numerator=ours[name].numerator - theirs[name].numerator, denominator=ours[name].denominator
        )
        for name in COMPARED
    }
    intervals = bootstrap(ratios, image_groups(records), options)
    return {
        name: {
            "value": _rounded(ratio.value),
            "low": _rounded(intervals[name][0]),
            "high": _rounded(intervals[name][1]),
            "changed": int((ratio.numerator != 0).sum()),
        }
        for name, ratio in ratios.items()
    }


def figures_by_line(
    records: Sequence[SampleRecord], reference: Sequence[SampleRecord] | None
) -> dict[str, dict[str, Any]]:
    """Compute gIoU, and its difference to a reference, for every kind of long target. Empty: there are none.

    The kinds are those of the stratum `line`, as the benchmark world-lines gives it.
    """
    kinds = sorted({one.strata["line"] for one in records if "line" in one.strata})
    found = {}
    for kind in kinds:
        chosen = [place for place, one in enumerate(records) if one.strata.get("line") == kind]
        ours = [records[place] for place in chosen]
        theirs = None if reference is None else [reference[place] for place in chosen]
        found[kind] = {
            "n": len(ours),
            "giou": _rounded(all_figures(counts_of(ours), "paper")["giou"].value),
            "difference": None if theirs is None else differences(ours, theirs, BootstrapOptions())["giou"],
        }
    return found


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)
