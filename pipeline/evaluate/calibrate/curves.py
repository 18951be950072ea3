"""Compute recall against cost, threshold by threshold, from probabilities and truths.

1. `gate_curve`: the gate's recall is the share that passes of the pairs whose tile core holds the class. Its
   interval respects that pairs of one picture are alike (`clustered_intervals`).
2. `Costs.relative`: seconds per pair with the gate over seconds without it. Above 1 the gate does not pay.
3. `verifier_curve`: the shares of right and of wrong masks that a verifier keeps.
4. `choose`: the largest threshold up to which the lower end of every interval reaches the target (Bates et
   al., Distribution-free, risk-controlling prediction sets, Journal of the ACM 68, 2021).
5. `why_none`: the reason, if there is no such threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.calibrate.clustered_intervals import Share, clustered_share, independent_needed

THRESHOLDS = (
    0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2,
    0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0,
)  # fmt: skip
"""Thresholds of the curves, close together at both ends."""

EMPTY_SHARE = 0.99
"""Share of pairs, on the land of `cost_rare`, whose picture shows nothing of the class.

These pairs and the others are taken to pass as often as such pairs do in this world.
"""

TARGETS = (0.99, 0.98, 0.95, 0.9)
"""Recalls for which a threshold is proposed."""


@dataclass(frozen=True, kw_only=True)
class JudgedPairs:
    """Columns (n,) over (tile, query) pairs that the gate judged."""

    p: NDArray[np.float64]
    """The gate's probability."""
    present: NDArray[np.bool_]
    """The tile's core holds enough pixels of the class."""
    absent: NDArray[np.bool_]
    """The picture that the gate saw holds none of the class.

    A pair may be neither present nor absent: the class is a sliver in the core, or lies only in the halo or
    in another tile of the block.
    """
    found: NDArray[np.bool_]
    """The full examination found something."""
    picture: NDArray[np.int64]
    """Number of the picture that the gate saw: a tile, or the whole block of a parent look.

    Pairs of one picture are not independent.
    """

    def __len__(self) -> int:
        return int(self.p.size)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds per (tile, query) pair when all queries are asked together.

    Looks and prompter are timed on different tiles. In a run both may see the same picture; they then share
    its encoding, and a tile that passes costs less than this.
    """

    look_s: float
    prompter_s: float

    def relative(self, share_asked: float) -> float:
        """Compute seconds with the gate over seconds without it, if it passes `share_asked` of the pairs."""
        return (self.look_s + share_asked * self.prompter_s) / self.prompter_s


@dataclass(frozen=True, kw_only=True)
class JudgedMasks:
    """Columns (n,) over masks of single tiles that a verifier judged."""

    p: NDArray[np.float64]
    right: NDArray[np.bool_]
    """The mask fits a true object: IoU >= 0.5."""
    picture: NDArray[np.int64]
    """Number of the tile."""


def gate_curve(
    pairs: JudgedPairs, costs: Costs, thresholds: Sequence[float] = THRESHOLDS
) -> list[dict[str, Any]]:
    """Compute one row of figures per threshold. A figure that no pair enters is None.

    `recall_of_found`: the share that passes of the pairs in which the full examination found something. The
    audit of a run estimates this figure.
    """
    rows = []
    for threshold in thresholds:
        passes = pairs.p >= threshold
        on_empty = _share(passes, pairs.absent)
        on_others = _share(passes, ~pairs.absent)
        rare = (
            None
            if on_empty is None or on_others is None
            else EMPTY_SHARE * on_empty + (1 - EMPTY_SHARE) * on_others
        )
        asked = float(passes.mean()) if len(pairs) else 0.0
        rows.append(
            {
                "threshold": threshold,
                **_recall(clustered_share(passes[pairs.present], pairs.picture[pairs.present])),
                "recall_of_found": _rounded(_share(passes, pairs.found)),
                "passed_empty": _rounded(on_empty),
                "asked": _rounded(asked),
                "cost": _rounded(costs.relative(asked)),
                "cost_rare": None if rare is None else _rounded(costs.relative(rare)),
            }
        )
    return rows


def verifier_curve(
    masks: JudgedMasks, cost: float, thresholds: Sequence[float] = THRESHOLDS
) -> list[dict[str, Any]]:
    """Compute one row of figures per threshold. A figure that no mask enters is None.

    `cost`: seconds with the verifier over seconds without it. A verifier looks at every mask, so the cost is
    the same in every row.
    """
    rows = []
    for threshold in thresholds:
        kept = masks.p >= threshold
        rows.append(
            {
                "threshold": threshold,
                **_recall(clustered_share(kept[masks.right], masks.picture[masks.right])),
                "kept_wrong": _rounded(_share(kept, ~masks.right)),
                "precision": _rounded(_share(masks.right, kept)),
                "cost": _rounded(cost),
            }
        )
    return rows


def choose(curve: Sequence[Mapping[str, Any]], recall: float) -> Mapping[str, Any] | None:
    """Choose the row of the largest threshold up to which `recall_low` is at least `recall` in every row.

    None: the smallest threshold above 0 already falls short.

    True recall can only fall as the threshold grows. So a threshold with too little recall is chosen only if
    the interval at the smallest such threshold is wrong, which is as rare as the level says. Every row up to
    the threshold counts, because a lower end may rise again: one more picture with a miss tells more about
    how alike its pairs are. And the lower end counts, not the share itself, which would choose too large a
    threshold about half the time.
    """
    chosen = None
    for row in sorted((row for row in curve if row["threshold"] > 0), key=lambda row: row["threshold"]):
        if not row["n"] or row["recall_low"] < recall:
            break
        chosen = row
    return chosen


def why_none(curve: Sequence[Mapping[str, Any]], recall: float, things: str) -> str:
    """Say why `choose` found no threshold: the recall is too low, or there are too few `things`.

    `things`: what is counted, "pairs" or "masks".
    """
    row = min((row for row in curve if row["threshold"] > 0), key=lambda row: row["threshold"], default=None)
    if row is None or not row["n"]:
        return f"there are no {things} to judge by"
    seen = f"at {row['threshold']:g} it is {row['recall']:g}"
    if row["recall"] <= recall:
        return seen
    needed = independent_needed(row["recall"], recall)
    if needed is None:
        return f"{seen}, too close to the target to tell"
    like_these = math.ceil(needed * row["n"] / row["independent"])
    return (
        f"{seen}, but {row['n']} {things} are worth {row['independent']:.0f} independent ones, "
        f"as those of one picture are alike, and {needed} are needed: about {like_these} like these"
    )


def _recall(share: Share) -> dict[str, Any]:
    """Write a share and its interval as columns of a curve."""
    return {
        "recall": _rounded(share.value),
        "recall_low": _rounded(share.low),
        "recall_high": _rounded(share.high),
        "n": share.n,
        "independent": round(share.independent, 1),
    }


def _share(chosen: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
    return float(chosen[among].mean()) if among.any() else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
