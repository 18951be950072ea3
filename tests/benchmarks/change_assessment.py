"""How often do the intervals of changed areas hold the truth? Simulated comparisons, drawn and estimated.

python tests/benchmarks/change_assessment.py [--regions 1000] [--seed 0]

1. A comparison is invented: how many pixels it has as lost, gained, kept, beside objects and away from them,
   and how many of each are truly lost, gained, kept or none of these. Every region of a case has other rates.
2. `draw_kind` shares the points out, a draw without replacement gives the answers, and `estimate_change`
   estimates: the code of jobs/assess.py without its files.
3. The table counts how many 95 % intervals hold the truth. The chance of the simulation alone is 1.4 points
   (two standard errors at 1,000 regions). Beside it: the usual interval, estimate +- 1.96 standard errors.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.assess.change.change_estimates import TRUTHS, PointAnswers, estimate_change
from pipeline.assess.change.change_frame import CLASSES, ChangeFrame, change_strata
from pipeline.assess.draw_units import DrawnStratum, draw_kind

LABELS = ("lost", "gained", "both", "neither")
Z = 1.959964


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the regions of a case have in common."""

    size_px: tuple[int, int, int, int, int]
    """Pixels of each class of CLASSES."""
    wrong: tuple[float, float, float, float, float]
    """Share of each class that is truly something else."""
    points: int = 250


USUAL = (60_000, 60_000, 900_000, 3_000_000, 60_000_000)
CASES: Mapping[str, Case] = {
    "usual": Case(size_px=USUAL, wrong=(0.3, 0.3, 0.1, 0.05, 0.0005)),
    "many wrong": Case(size_px=USUAL, wrong=(0.8, 0.8, 0.3, 0.15, 0.003)),
    "almost perfect": Case(size_px=USUAL, wrong=(0.02, 0.02, 0.01, 0.005, 0.00001)),
    "small region": Case(size_px=(400, 300, 3_000, 9_000, 60_000), wrong=(0.3, 0.3, 0.1, 0.05, 0.002)),
    "large sample": Case(size_px=USUAL, wrong=(0.3, 0.3, 0.1, 0.05, 0.0005), points=1000),
}


def region(case: Case, rng: np.random.Generator) -> NDArray[np.int64]:
    """(5, 4) pixels of each class by what they truly are."""
    true = np.zeros((len(CLASSES), len(LABELS)), dtype=np.int64)
    own = (0, 1, 2, 3, 3)
    for row, (size, share) in enumerate(zip(case.size_px, case.wrong, strict=True)):
        n_wrong = rng.binomial(size, min(share * rng.uniform(0.5, 1.5), 1.0))
        others = np.array([0.0 if col == own[row] else 1.0 for col in range(len(LABELS))])
        shares = others * rng.uniform(0.2, 1.0, len(LABELS))
        true[row] = rng.multinomial(n_wrong, shares / shares.sum())
        true[row, own[row]] += size - n_wrong
    return true


def answered(
    strata: Sequence[DrawnStratum], true: NDArray[np.int64], rng: np.random.Generator
) -> list[PointAnswers]:
    """Draw the points of every stratum, and answer with the truth."""
    given = []
    for stratum in strata:
        drawn = rng.multivariate_hypergeometric(
            true[CLASSES.index(stratum.name)], stratum.drawn, method="marginals"
        )
        labels = np.repeat(np.array(LABELS), drawn)
        given.append(PointAnswers(stratum=stratum, labels=labels, n_unsure=0, n_unanswered=0))
    return given


def usual_interval(given: Sequence[PointAnswers], truth: str) -> tuple[float, float]:
    """Estimate +- 1.96 standard errors (Cochran 1977, equation 5.6 for shares)."""
    value = 0.0
    variance = 0.0
    for each in given:
        share = float((each.labels == truth).mean())
        n = len(each.labels)
        value += each.stratum.area_m2 * share
        rest = 1 - n / each.stratum.size
        variance += each.stratum.area_m2**2 * rest * share * (1 - share) / max(n - 1, 1)
    width = Z * math.sqrt(variance)
    return value - width, value + width


def measure(case: Case, n: int, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Per kind of change: share of intervals that hold the truth, and of usual ones."""
    held = {truth: [0, 0] for truth in TRUTHS}
    frame = ChangeFrame(
        window=np.array([[0, 0, 1, 1]], dtype=np.int32),
        n_px=np.array([case.size_px], dtype=np.int64),
        px_m2=np.ones(1),
    )
    for _ in range(n):
        true = region(case, rng)
        strata, _units = draw_kind("change", change_strata(frame), case.points, rng)
        given = answered(strata, true, rng)
        for truth in TRUTHS:
            area = float(true[:, LABELS.index(truth)].sum())
            estimate = estimate_change(given, truth).area_m2
            low, high = usual_interval(given, truth)
            held[truth][0] += estimate.low <= area <= estimate.high
            held[truth][1] += low <= area <= high
    return {truth: (ours / n, usual / n) for truth, (ours, usual) in held.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--regions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(f"| case | {' | '.join(TRUTHS.values())} | usual: {' | usual: '.join(TRUTHS.values())} |")
    print("| --- |" + " ---: |" * 2 * len(TRUTHS))
    for number, (name, case) in enumerate(CASES.items()):
        held = measure(case, args.regions, np.random.default_rng([args.seed, number]))
        ours = " | ".join(f"{100 * held[truth][0]:.1f}" for truth in TRUTHS)
        usual = " | ".join(f"{100 * held[truth][1]:.1f}" for truth in TRUTHS)
        print(f"| {name} | {ours} | {usual} |", flush=True)


if __name__ == "__main__":
    main()
