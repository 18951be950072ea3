"""Precision, recall, count and area of one query, from the answers to its sample.

1. Precision: share of right objects among those that were published, a stratified share.
2. Right objects: precision times the number published. Missed objects: mean per square times squares.
3. Count: right and missed together. Recall: right over both; the two samples are drawn independently.
4. Area: share of points on an object times the ground of each stratum (Olofsson et al., Remote Sensing of
   Environment 148, 2014, equations 9 to 11, with intervals that also hold where a stratum shows no error).

Left out: prediction-powered estimates (Angelopoulos et al., Science 382, 2023), with the score as the
prediction. In strata by score they change the standard error of precision by less than 1 %
(tests/benchmarks/assessment.py --prediction-powered).

Unsure answers are left out of the estimate. `unsure` counts all of them as no, or as yes (of a square: one
missed object): the truth lies between, as far as they go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.assess.draw_units import NEAR_STRATA
from pipeline.assess.survey_estimators import (
    Estimated,
    mean_count,
    part_of_sum,
    rare_share_of,
    share_of,
    weighted_sum,
)

Unsure = Literal["left out", "as no", "as yes"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StratumAnswers:
    """What was answered of one stratum."""

    name: str
    size: int
    values: NDArray[np.float64]
    """(n,): 1 for yes and 0 for no; of squares the missed objects."""
    n_unsure: int = 0
    n_unanswered: int = 0
    area_m2: float = 0.0
    """Of points: the ground of the stratum; NaN without a CRS."""

    def counted(self, unsure: Unsure) -> NDArray[np.float64]:
        """The values with unsure ones."""
        if unsure == "left out" or not self.n_unsure:
            return self.values
        more = np.full(self.n_unsure, 1.0 if unsure == "as yes" else 0.0)
        return np.concatenate([self.values, more])


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryAnswers:
    """The answers to the sample of one query, by kind of unit. None: that kind was not drawn."""

    objects: Sequence[StratumAnswers] | None
    """Empty: nothing was published."""
    cells: Sequence[StratumAnswers] | None
    points: Sequence[StratumAnswers] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryEstimates:
    """Estimates of one query. None: the answers do not support it."""

    precision: Estimated | None
    recall: Estimated | None
    count: Estimated | None
    missed: Estimated | None
    covered: Estimated | None
    """Share of the judged ground that lies on an object."""
    area_m2: Estimated | None
    near_area_m2: Estimated | None
    """The part of it on published objects and beside them."""


def estimate_query(given: QueryAnswers, unsure: Unsure = "left out") -> QueryEstimates:
    """Estimate everything that the answers support."""
    right = _right(given.objects, unsure)
    missed = _missed(given.cells, unsure)
    covered = _points(given.points, unsure, by_area=False)
    near = [stratum for stratum in given.points or () if stratum.name in NEAR_STRATA]
    n_published = sum(stratum.size for stratum in given.objects or ())
    both = right is not None and missed is not None
    return QueryEstimates(
        precision=None if right is None or not n_published else right.times(1 / n_published),
        recall=part_of_sum(right, missed) if right is not None and missed is not None else None,
        count=weighted_sum([(1.0, each) for each in (right, missed) if each is not None]) if both else None,
        missed=missed,
        covered=covered,
        area_m2=_known(_points(given.points, unsure, by_area=True)),
        near_area_m2=_known(_points(near, unsure, by_area=True)),
    )


def _known(area: Estimated | None) -> Estimated | None:
    """None where there is no CRS, and so no area."""
    return None if area is None or np.isnan(area.value) else area


def gaps(strata: Sequence[StratumAnswers] | None) -> list[str]:
    """Names of strata without a single answer that counts: nothing can be said of the whole then."""
    return [stratum.name for stratum in strata or () if not len(stratum.values)]


def _right(strata: Sequence[StratumAnswers] | None, unsure: Unsure) -> Estimated | None:
    """Total of right objects."""
    if strata is None or gaps(strata):
        return None
    parts = [(s.size, share_of(s.counted(unsure) > 0, s.size)) for s in strata]
    seen = sum(float((s.counted(unsure) > 0).sum()) for s in strata)
    most = sum(s.size - float((s.counted(unsure) == 0).sum()) for s in strata)
    return weighted_sum(parts).least(seen).most(most)


def _missed(strata: Sequence[StratumAnswers] | None, unsure: Unsure) -> Estimated | None:
    """Total of missed objects."""
    if not strata or gaps(strata):
        return None
    total = weighted_sum([(s.size, mean_count(s.counted(unsure), s.size)) for s in strata])
    return total.least(sum(float(s.counted(unsure).sum()) for s in strata))


def _points(strata: Sequence[StratumAnswers] | None, unsure: Unsure, *, by_area: bool) -> Estimated | None:
    """Ground on objects in m2, or as a share of all."""
    if not strata or gaps(strata):
        return None
    whole = sum(s.size for s in strata)
    ground = [s.area_m2 if by_area else s.size / whole for s in strata]
    parts = [
        (weight, rare_share_of(s.counted(unsure) > 0, s.size))
        for weight, s in zip(ground, strata, strict=True)
    ]
    return weighted_sum(parts).least(0.0).most(sum(ground))
