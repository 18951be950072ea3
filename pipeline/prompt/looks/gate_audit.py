"""Estimate how much a gate lost, from the audited sample of rejected tiles.

1. `GateCounts.add` counts the judged (tile, query) pairs: passed, rejected, audited.
2. `gate_figures` estimates the gate's recall. P pairs passed and found something, R were rejected. Of A
   audited and answered pairs, `a` found something. So

       missed = R * a / A,    recall = P / (P + missed)

3. Failed pairs are taken to find something as often as answered ones.
4. The interval of a / A is that of Clopper and Pearson (Biometrika 26, 1934). If passed pairs failed, P has
   an interval too (`_found_between`).

Recall is agreement with a run without a gate, not with the truth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.schema.tile_answers import Reason, TileStatus

LEVEL = 0.95
"""Probability between the ends of an interval."""

RECALL_OF = "what is found without the gate"
"""What the recall is a share of. It is not a share of what is there."""


class JudgedRow(Protocol):
    """What is read here of a block record's row for one tile and one query."""

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
    """Counts of (tile, query) pairs by what the gate did with them."""

    passed: int = 0
    """Failed ones included."""
    passed_found: int = 0
    passed_failed: int = 0
    rejected: int = 0
    """Audited ones included."""
    audited: int = 0
    audited_found: int = 0
    audited_failed: int = 0
    not_judged: int = 0
    """Pairs that the prompter was asked although the gate gave no answer."""

    @property
    def judged(self) -> int:
        return self.passed + self.rejected

    def add(self, rows: Iterable[JudgedRow]) -> None:
        """Count the rows of a block record.

        Pairs of a crashed block are not counted: nobody knows which of them the gate rejected.
        """
        for row in rows:
            if row.reason is Reason.CRASHED:
                continue
            if row.gate_p is None:
                self.not_judged += row.reason not in (
                    Reason.NODATA,
                    Reason.UNREADABLE,
                    Reason.OUTSIDE_AOI,
                    Reason.CLOUD,
                )
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
                self.passed_failed += row.status is TileStatus.FAILED


def clopper_pearson(k: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Compute the exact interval of a share of which k of n were seen; (0, 1) for n = 0.

    k and n need not be whole. Raises ValueError unless 0 <= k <= n.
    """
    if not 0 <= k <= n:
        raise ValueError(f"k of n needs 0 <= k <= n, got {k} of {n}")
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, k, n - k + 1)) if k else 0.0
    high = float(beta.ppf(1 - tail, k + 1, n - k)) if k < n else 1.0
    return low, high


def gate_figures(counts: GateCounts) -> dict[str, Any]:
    """Compute the recall and its interval; returned with the counts as plain values for run.json.

    The recall is None where nothing is known. Each of its ends takes the worse ends of the intervals of P and
    of a / A, so it holds with at least the stated probability. Pairs of one parent look are drawn one by one,
    so they count as independent. Without an audited pair the interval reaches down to P / (P + R).
    """
    looked_at = counts.audited - counts.audited_failed
    answered = counts.passed - counts.passed_failed
    low, high = clopper_pearson(counts.audited_found, looked_at)
    share = counts.audited_found / looked_at if looked_at else None
    known = (share is not None or not counts.rejected) and (answered or not counts.passed)
    found = counts.passed_found * counts.passed / answered if answered else 0.0
    found_low, found_high = _found_between(counts)
    return {
        **{name: getattr(counts, name) for name in GateCounts.__dataclass_fields__},
        "recall": _recall(found, _missed(counts, share or 0.0)) if known else None,
        "recall_of": RECALL_OF,
        "recall_low": _recall(found_low, _missed(counts, high)),
        "recall_high": _recall(found_high, _missed(counts, low)),
        "interval": f"{100 * LEVEL:g} %, Clopper-Pearson of the audited share"
        + (", and of the found share of passed pairs" if counts.passed_failed else ""),
    }


def gate_text(figures: dict[str, Any]) -> str:
    """Write the figures as one line of the final table."""
    judged = figures["passed"] + figures["rejected"]
    share = f" ({100 * figures['rejected'] / judged:.1f} %)" if judged else ""
    silent = f"; about {figures['not_judged']} the gate gave no answer" if figures["not_judged"] else ""
    audit = f"audited {figures['audited']}, found {figures['audited_found']}"
    if figures["passed_failed"] or figures["audited_failed"]:
        audit += (
            f"; failed {figures['passed_failed']} of the passed, {figures['audited_failed']} of the audited"
        )
    recall, low, high = (figures[name] for name in ("recall", "recall_low", "recall_high"))
    if low is None or high is None:
        said = f"recall of {RECALL_OF}: unknown, nothing was found"
    else:
        said = (
            f"recall of {RECALL_OF}: {'unknown' if recall is None else f'{recall:.3f}'}, "
            f"{100 * LEVEL:g} % [{low:.3f}, {high:.3f}]"
        )
    return f"rejected {figures['rejected']} of {judged} (tile, query) pairs{share}; {audit}; {said}{silent}"


def _found_between(counts: GateCounts) -> tuple[float, float]:
    """Bound the passed pairs that would find something if none had failed; equal ends when none did."""
    low, high = clopper_pearson(counts.passed_found, counts.passed - counts.passed_failed)
    most = counts.passed_found + counts.passed_failed
    return max(low * counts.passed, float(counts.passed_found)), min(high * counts.passed, float(most))


def _missed(counts: GateCounts, share: float) -> float:
    """Estimate how many rejected pairs hold something if `share` of them do; never fewer than were seen."""
    return max(share * counts.rejected, float(counts.audited_found))


def _recall(found: float, missed: float) -> float | None:
    return round(found / (found + missed), 6) if found + missed else None
