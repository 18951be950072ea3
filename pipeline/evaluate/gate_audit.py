"""What a gate cost in found things, estimated from the sample of rejected tiles that was examined all the same.

1. `GateCounts.add` sorts every judged (tile, question) pair of a run: passed, rejected and audited, rejected and not.
2. `gate_figures` estimates the gate's recall: of the pairs in which a full examination finds something, the share that the gate
   let through. With P pairs passed and found, R rejected, and `a` found among the A audited ones,

       missed = R * a / A,    recall = P / (P + missed).

3. The interval is the exact one of Clopper and Pearson (Biometrika 26, 1934) for the share a / A, carried through the same formula,
   which falls as the share grows; missed is never below `a`. All passed pairs are examined, so P is no estimate. The sample is drawn
   pair by pair, whatever their blocks, so pairs of one parent look may be counted as independent draws. Without an audited pair the
   interval reaches down to P / (P + R): nothing is known.

"Found" is what prompter, segmenter and verifier make of a tile, not the truth: the recall is agreement with the same run without a
gate, and a thing that they overlook anyway is no loss of the gate's. Audited pairs that failed are left out of A. The figures say what
was lost in the tiles that stayed unexamined: what the audit finds is part of the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.schema import Reason, TileStatus

LEVEL = 0.95
"""Probability between the ends of an interval."""

RECALL_OF = "what is found without the gate"
"""What the recall is a share of; not of what is there."""


class JudgedRow(Protocol):
    """One tile and one question of a block record, as far as it matters here."""

    @property
    def status(self) -> TileStatus: ...
    @property
    def reason(self) -> Reason: ...
    @property
    def gate_p(self) -> float | None: ...
    @property
    def audited(self) -> bool: ...


@dataclass(kw_only=True)
class GateCounts:
    """(tile, question) pairs by what the gate did with them."""

    passed: int = 0
    passed_found: int = 0
    rejected: int = 0
    """Audited ones included."""
    audited: int = 0
    audited_found: int = 0
    audited_failed: int = 0
    not_judged: int = 0
    """Asked although the gate gave no answer."""

    @property
    def judged(self) -> int:
        return self.passed + self.rejected

    def add(self, rows: Iterable[JudgedRow]) -> None:
        """Count the rows of a block record."""
        for row in rows:
            if row.gate_p is None:
                self.not_judged += row.reason not in (Reason.NODATA, Reason.UNREADABLE, Reason.CRASHED, Reason.OUTSIDE_AOI, Reason.CLOUD)
            elif row.audited:
                self.rejected += 1
                self.audited += 1
                self.audited_found += row.status is TileStatus.FOUND
                self.audited_failed += row.status is TileStatus.FAILED
            elif row.reason is Reason.GATE:
                self.rejected += 1
            else:
                self.passed += 1
                self.passed_found += row.status is TileStatus.FOUND


def clopper_pearson(k: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Exact interval for a share of which k of n were seen; (0, 1) for n = 0. Need not be whole. Raises ValueError unless 0 <= k <= n."""
    if not 0 <= k <= n:
        raise ValueError(f"k of n needs 0 <= k <= n, got {k} of {n}")
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, k, n - k + 1)) if k else 0.0
    high = float(beta.ppf(1 - tail, k + 1, n - k)) if k < n else 1.0
    return low, high


def gate_figures(counts: GateCounts) -> dict[str, Any]:
    """The counts and the recall with its interval, as plain values for run.json; recall is None where nothing is known."""
    looked_at = counts.audited - counts.audited_failed
    low, high = clopper_pearson(counts.audited_found, looked_at)
    share = counts.audited_found / looked_at if looked_at else None
    recall = _recall(counts, share) if share is not None or not counts.rejected else None
    return {
        **{name: getattr(counts, name) for name in GateCounts.__dataclass_fields__},
        "recall": recall,
        "recall_of": RECALL_OF,
        "recall_low": _recall(counts, high),
        "recall_high": _recall(counts, low),
        "interval": f"{100 * LEVEL:g} %, Clopper-Pearson of the audited share",
    }


def gate_text(figures: dict[str, Any]) -> str:
    """The figures on one line of the final table."""
    judged = figures["passed"] + figures["rejected"]
    share = f" ({100 * figures['rejected'] / judged:.1f} %)" if judged else ""
    silent = f"; about {figures['not_judged']} the gate gave no answer" if figures["not_judged"] else ""
    audit = f"audited {figures['audited']}, found {figures['audited_found']}"
    recall, low, high = (figures[name] for name in ("recall", "recall_low", "recall_high"))
    if low is None or high is None:
        said = f"recall of {RECALL_OF}: unknown, nothing was found"
    else:
        said = f"recall of {RECALL_OF}: {'unknown' if recall is None else f'{recall:.3f}'}, {100 * LEVEL:g} % [{low:.3f}, {high:.3f}]"
    return f"rejected {figures['rejected']} of {judged} (tile, question) pairs{share}; {audit}; {said}{silent}"


def _recall(counts: GateCounts, missed_share: float | None) -> float | None:
    """Passed and found / (that + missed); `missed_share`: of the rejected pairs, None when none was rejected."""
    missed = max((missed_share or 0.0) * counts.rejected, float(counts.audited_found))
    found = counts.passed_found + missed
    return round(counts.passed_found / found, 6) if found else None
