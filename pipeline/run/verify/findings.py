"""What was found to be wrong with a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

MOST_SHOWN = 20
"""Findings of one check that are kept; the rest are counted."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    check: str
    """Name of the check (`verify_run.CHECKS`)."""
    place: str
    """File, tile, object or window."""
    text: str
    """What was expected there, and what was found."""

    def __str__(self) -> str:
        return f"{self.check}: {self.place}: {self.text}"


class Findings:
    """Collects findings within a bounded memory."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._counts: Counter[str] = Counter()

    def add(self, check: str, place: str, text: str) -> None:
        self._counts[check] += 1
        if self._counts[check] <= MOST_SHOWN:
            self._kept.append(Finding(check=check, place=place, text=text))

    def absorb(self, other: Findings, place: str) -> None:
        """Take over the findings of a part of the run, which lies at `place`."""
        for finding in other.kept:
            self.add(finding.check, f"{place}: {finding.place}", finding.text)
        for check, count in other._counts.items():
            self._counts[check] += max(0, count - MOST_SHOWN)

    def count(self, check: str) -> int:
        """How many findings a check had."""
        return self._counts[check]

    @property
    def kept(self) -> tuple[Finding, ...]:
        """The findings, the first `MOST_SHOWN` of each check."""
        return tuple(self._kept)
