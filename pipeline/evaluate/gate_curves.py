"""Recall against cost, threshold by threshold: pure arithmetic on probabilities and truths.

1. `gate_curve`: of the pairs (tile, question) whose core holds the class, the share that passes (recall, with an exact interval);
   of those that a full examination found something in, the share that passes (what the audit of a run estimates); of
   those that hold none, the share that passes; and the cost.
2. Cost is seconds per pair with the gate over seconds without it: (look + share asked * prompter) / prompter, on the labelled world and, by
   the same formula, on land of which 99 % is empty (`EMPTY_SHARE`). Above 1 the gate costs more than it saves. Looks and prompter
   are timed on different tiles: where both see the same picture, a tile that passes costs less than this, as its encoding is shared.
3. `verifier_curve`: of the masks that fit a true object (IoU >= 0.5) and of the others the share that is kept, and the precision.
4. `choose` reads the largest threshold of a curve that keeps a wanted recall.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.gate_audit import clopper_pearson

THRESHOLDS = (
    0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0,
)  # fmt: skip
"""Where curves are drawn: close together at both ends."""

EMPTY_SHARE = 0.99
"""Share of empty tiles of the land that `cost_rare` is about."""

TARGETS = (0.99, 0.98, 0.95, 0.9)
"""Recalls for which a threshold is proposed."""


@dataclass(frozen=True, kw_only=True)
class JudgedPairs:
    """(tile, question) pairs; all columns (n,)."""

    p: NDArray[np.float64]
    """The gate's probability."""
    present: NDArray[np.bool_]
    """The tile's core holds enough pixels of the class."""
    absent: NDArray[np.bool_]
    """Its read window holds none. A pair may be neither: a sliver, or a part in the halo alone."""
    found: NDArray[np.bool_]
    """The full examination found something."""

    def __len__(self) -> int:
        return int(self.p.size)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds per (tile, question) pair, with all questions asked together."""

    look_s: float
    prompter_s: float

    def relative(self, share_asked: float) -> float:
        """With the gate over without it."""
        return (self.look_s + share_asked * self.prompter_s) / self.prompter_s


def gate_curve(pairs: JudgedPairs, costs: Costs, thresholds: Sequence[float] = THRESHOLDS) -> list[dict[str, Any]]:
    """One row per threshold; figures over no pair at all are None."""
    rows = []
    for threshold in thresholds:
        passes = pairs.p >= threshold
        n_present, kept = int(pairs.present.sum()), int((passes & pairs.present).sum())
        low, high = clopper_pearson(kept, n_present)
        recall, on_empty = _share(passes, pairs.present), _share(passes, pairs.absent)
        rare = None if recall is None or on_empty is None else EMPTY_SHARE * on_empty + (1 - EMPTY_SHARE) * recall
        asked = float(passes.mean()) if len(pairs) else 0.0
        rows.append(
            {
                "threshold": threshold,
                "recall": _rounded(recall),
                "recall_low": _rounded(low),
                "recall_high": _rounded(high),
                "recall_of_found": _rounded(_share(passes, pairs.found)),
                "passed_empty": _rounded(on_empty),
                "asked": _rounded(asked),
                "cost": _rounded(costs.relative(asked)),
                "cost_rare": None if rare is None else _rounded(costs.relative(rare)),
            }
        )
    return rows


def verifier_curve(p: NDArray[np.float64], right: NDArray[np.bool_], thresholds: Sequence[float] = THRESHOLDS) -> list[dict[str, Any]]:
    """One row per threshold: masks (n,) with their probability and whether they fit a true object of the class."""
    rows = []
    for threshold in thresholds:
        kept = p >= threshold
        low, high = clopper_pearson(int((kept & right).sum()), int(right.sum()))
        rows.append(
            {
                "threshold": threshold,
                "recall": _rounded(_share(kept, right)),
                "recall_low": _rounded(low),
                "recall_high": _rounded(high),
                "kept_wrong": _rounded(_share(kept, ~right)),
                "precision": _rounded(_share(right, kept)),
            }
        )
    return rows


def choose(curve: Sequence[Mapping[str, Any]], recall: float, *, figure: str = "recall") -> Mapping[str, Any] | None:
    """The row of the largest threshold whose `figure` is at least `recall`; None when even threshold 0 is not."""
    fitting = [row for row in curve if row[figure] is not None and row[figure] >= recall]
    return max(fitting, key=lambda row: row["threshold"], default=None)


def _share(chosen: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
    return float(chosen[among].mean()) if among.any() else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
