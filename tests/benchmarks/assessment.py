"""How often do the intervals of an assessment hold the truth? Simulated regions, drawn and estimated.

python tests/benchmarks/assessment.py [--regions 1000] [--seed 0] [--case NAME]

1. A region is invented: objects with scores, right or wrong; squares of ground with objects that were missed;
   pixels on objects, beside and away from them. Every region of a case has other rates, drawn around those of
   the case, and the mistakes are drawn anew. So no guess of the allocation is right.
2. `draw` draws from it, the truth answers, and `estimate_query` estimates: the code of jobs/assess.py without
   its files.
3. The table counts, per case, how many intervals hold the truth. 93 to 97 % are good; the chance of the
   simulation alone is 1.4 points (two standard errors at 1,000 regions).
4. Beside it stands the usual interval, estimate +- 1.96 standard errors from the sample's own variances
   (linearised for recall), of the same answers.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.assess.draw_units import DrawnStratum, DrawnUnit, Wanted, draw, object_strata
from pipeline.assess.query_estimates import QueryAnswers, StratumAnswers, estimate_query
from pipeline.assess.sampling_frame import FAR, INSIDE, NEAR, GroundFrame, ObjectsFrame

FIGURES = ("precision", "recall", "count", "area_m2")
Z = 1.959964
CELL_PX = 192 * 192


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the regions of a case have in common."""

    objects: int
    cells: int
    wanted: Wanted
    precision: float = 0.8
    missed: float = 0.1
    """Objects missed per square with objects; away from them a tenth and a fiftieth of it."""
    clumps: bool = False
    """Whether missed objects come in groups."""
    object_px: int = 600
    spread: float = 0.5
    """How far rates of regions lie from those of the case: times 1 - spread to 1 + spread."""


USUAL = Case(objects=900, cells=4000, wanted=Wanted(objects=200, cells=300, points=300))
CASES: Mapping[str, Case] = {
    "usual": USUAL,
    "the defaults of the job": replace(USUAL, wanted=Wanted()),
    "large sample": replace(USUAL, wanted=Wanted(objects=400, cells=1000, points=1000)),
    "large region": replace(USUAL, objects=30_000, cells=200_000),
    "small region": replace(USUAL, objects=60, cells=250, wanted=Wanted(objects=60, cells=120, points=200)),
    "missed in clumps": replace(USUAL, clumps=True),
    "many wrong": replace(USUAL, precision=0.3, missed=0.3),
    "almost perfect": replace(USUAL, precision=0.985, missed=0.01),
    "rare class": replace(USUAL, objects=40, cells=20_000, missed=0.05),
    "small sample": replace(USUAL, wanted=Wanted(objects=40, cells=40, points=60)),
}


@dataclass(frozen=True, kw_only=True)
class Region:
    """A simulated region with its truth."""

    objects: ObjectsFrame
    right: NDArray[np.bool_]
    ground: GroundFrame
    missed: NDArray[np.int64]
    """Per cell."""
    true_px: NDArray[np.int64]
    """(cells, 4): pixels of each class that lie on a true object."""

    @property
    def truth(self) -> dict[str, float]:
        count = float(self.right.sum() + self.missed.sum())
        return {
            "precision": float(self.right.mean()),
            "recall": float(self.right.sum()) / count if count else math.nan,
            "count": count,
            "area_m2": float(self.true_px.sum()),
        }


def invent(case: Case, rng: np.random.Generator) -> Region:
    """Draw a region of a case."""

    def around(rate: float) -> float:
        return rate * rng.uniform(1 - case.spread, 1 + case.spread)

    score = rng.beta(5, 2, case.objects)
    edge = rng.random(case.objects) < 0.25
    odds = math.log(case.precision / (1 - case.precision)) + rng.normal(0, case.spread)
    slope = rng.uniform(0, 6)
    right = rng.random(case.objects) < 1 / (1 + np.exp(-(odds + slope * (score - 0.71) - 0.3 * edge)))
    per_cell = np.bincount(rng.integers(0, max(case.cells // 8, 1), case.objects), minlength=case.cells)
    state = np.where(np.arange(case.cells) < case.cells // 5, 0, 1 + (np.arange(case.cells) % 7 == 0))
    busy = per_cell > 0
    shares = np.where(busy, 1.0, np.where(state == 0, around(0.1), around(0.02)))
    rate = around(case.missed) * shares
    if case.clumps:
        rate = rate * rng.gamma(0.3, 1 / 0.3, case.cells)
    missed = rng.poisson(rate)
    n_px = np.zeros((case.cells, 4), dtype=np.int64)
    n_px[:, INSIDE] = np.minimum(per_cell * case.object_px, CELL_PX // 2)
    n_px[:, NEAR] = np.minimum(per_cell * case.object_px, CELL_PX // 3)
    n_px[:, FAR] = CELL_PX - n_px.sum(axis=1)
    true_px = np.zeros_like(n_px)
    true_px[:, INSIDE] = rng.binomial(n_px[:, INSIDE], min(around(case.precision), 1.0))
    true_px[:, NEAR] = rng.binomial(n_px[:, NEAR], around(0.1))
    true_px[:, FAR] = np.minimum(missed * case.object_px, n_px[:, FAR])
    ids = np.arange(1, case.objects + 1, dtype=np.uint64)
    return Region(
        objects=ObjectsFrame(
            instance_id=ids, score=score, at_edge=edge, area_px=np.full(len(ids), case.object_px)
        ),
        right=right,
        ground=GroundFrame(
            window=np.zeros((case.cells, 4), dtype=np.int32),
            state=state.astype(np.uint8),
            n_px=n_px.astype(np.int32),
            px_m2=np.ones(case.cells),
        ),
        missed=missed,
        true_px=true_px,
    )


def answered(region: Region, strata: Sequence[DrawnStratum], units: Sequence[DrawnUnit]) -> QueryAnswers:
    """The truth's answers to a sample."""
    values: list[list[float]] = [[] for _ in strata]
    for unit in units:
        if unit.kind == "object":
            value = float(region.right[unit.row])
        elif unit.kind == "cell":
            value = float(region.missed[unit.row])
        else:  # which pixels of a cell are true does not matter: say the first ones of each class
            value = float(unit.ordinal < region.true_px[unit.row, unit.pixel_class])
        values[unit.stratum].append(value)

    def of(kind: str) -> list[StratumAnswers]:
        return [
            StratumAnswers(name=s.name, size=s.size, values=np.asarray(v), area_m2=s.area_m2)
            for s, v in zip(strata, values, strict=True)
            if s.kind == kind
        ]

    return QueryAnswers(objects=of("object"), cells=of("cell"), points=of("point"))


def usual_intervals(given: QueryAnswers) -> dict[str, tuple[float, float]]:
    """Estimate +- 1.96 standard errors, from the sample's own variances."""

    def total(strata: Sequence[StratumAnswers] | None, weights: Sequence[float]) -> tuple[float, float]:
        parts = list(zip(strata or (), weights, strict=True))
        value = sum(w * s.values.mean() for s, w in parts)
        variance = sum(
            w**2 * (1 - len(s.values) / s.size) * s.values.var(ddof=1) / len(s.values)
            for s, w in parts
            if len(s.values) > 1
        )
        return float(value), float(variance)

    right, var_right = total(given.objects, [s.size for s in given.objects or ()])
    missed, var_missed = total(given.cells, [s.size for s in given.cells or ()])
    area, var_area = total(given.points, [s.area_m2 for s in given.points or ()])
    n = sum(s.size for s in given.objects or ())
    count = right + missed
    var_recall = (missed**2 * var_right + right**2 * var_missed) / count**4 if count else 0.0
    middles = {
        "precision": (right / n, var_right / n**2),
        "recall": (right / count if count else math.nan, var_recall),
        "count": (count, var_right + var_missed),
        "area_m2": (area, var_area),
    }
    return {k: (m - Z * math.sqrt(v), m + Z * math.sqrt(v)) for k, (m, v) in middles.items()}


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What came of the regions of a case; shares per figure."""

    held: dict[str, float]
    held_usual: dict[str, float]
    width: dict[str, float]
    """Median width of the interval, over the truth."""


def simulate(case: Case, *, regions: int, seed: int) -> Coverage:
    """Draw and estimate so many regions."""
    held: dict[str, list[bool]] = {name: [] for name in FIGURES}
    usual: dict[str, list[bool]] = {name: [] for name in FIGURES}
    widths: dict[str, list[float]] = {name: [] for name in FIGURES}
    for number in range(regions):
        region = invent(case, np.random.default_rng([seed, number]))
        strata, units = draw(region.objects, region.ground, case.wanted, seed=number, query_index=seed)
        given = answered(region, strata, units)
        estimates = estimate_query(given)
        simple = usual_intervals(given)
        for name, true in region.truth.items():
            estimate = getattr(estimates, name)
            if estimate is None or math.isnan(true):
                continue
            slack = 1e-9 * max(abs(true), 1)
            held[name].append(estimate.low - slack <= true <= estimate.high + slack)
            usual[name].append(simple[name][0] - slack <= true <= simple[name][1] + slack)
            widths[name].append((estimate.high - estimate.low) / true if true else math.inf)
    return Coverage(
        held={name: float(np.mean(each)) for name, each in held.items()},
        held_usual={name: float(np.mean(each)) for name, each in usual.items()},
        width={name: float(np.median(each)) for name, each in widths.items()},
    )


def prediction_powered(case: Case, *, regions: int, seed: int) -> tuple[float, float]:
    """Standard errors of precision: stratified, and with the score's regression on top (PPI++)."""
    errors: list[tuple[float, float]] = []
    for number in range(regions):
        region = invent(case, np.random.default_rng([seed, number]))
        wanted = replace(case.wanted, cells=0, points=0)
        strata, units = draw(region.objects, region.ground, wanted, seed=number, query_index=seed)
        members = [each for each in object_strata(region.objects) if each.size]
        score = region.objects.score
        drawn = [np.array([u.row for u in units if u.stratum == k]) for k in range(len(strata))]
        share = [s.size / len(score) for s in strata]
        plain = sum(w * region.right[rows].mean() for w, rows in zip(share, drawn, strict=True))
        above = below = moved = 0.0
        for w, rows, all_of in zip(share, drawn, members, strict=True):
            centred = score[rows] - score[rows].mean()
            above += w**2 * float((centred * region.right[rows]).sum()) / len(rows) ** 2
            below += w**2 * float((centred**2).sum()) / len(rows) ** 2
            moved += w * float(score[all_of.rows].mean() - score[rows].mean())
        true = region.truth["precision"]
        errors.append((plain - true, plain + above / below * moved - true))
    simple, powered = np.std(np.asarray(errors), axis=0).tolist()
    return float(simple), float(powered)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--regions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", choices=tuple(CASES))
    parser.add_argument("--prediction-powered", action="store_true", help="what scores add to precision")
    args = parser.parse_args()
    if args.prediction_powered:
        for name in ("usual", "many wrong", "almost perfect"):
            simple, powered = prediction_powered(CASES[name], regions=args.regions, seed=args.seed)
            print(f"{name}: standard error {simple:.4f}, with scores {powered:.4f} ({powered / simple:.3f})")
        return
    print("| case | " + " | ".join(FIGURES) + " | usual interval: | " + " | ".join(FIGURES[1:]) + " |")
    print("| --- |" + " ---: |" * (2 * len(FIGURES)))
    for name, case in CASES.items():
        if args.case not in (None, name):
            continue
        found = simulate(case, regions=args.regions, seed=args.seed)
        cells = [f"{100 * found.held[figure]:.1f} ({100 * found.width[figure]:.0f} %)" for figure in FIGURES]
        cells += [f"{100 * found.held_usual[figure]:.1f}" for figure in FIGURES]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
