"""What a run may cost, over all of its starts: `--max-cost` in money, `--max-hours` in hours.

1. `open_budget` counts what earlier starts of the same run have spent, from their events. A start of an
   update with another area or other scenes is one of another run: an update counts from zero.
2. `Budget.intake` closes when the limit is reached. No block is begun after that.
3. `Budget.stopped` says what is done, what is left, and how to go on.

An hour costs what --price-per-hour says, whatever the machines do in it. So does the time that blocks at hand
need after the limit, and that of publishing, which a run does whose blocks are all committed. A start that
was killed counts up to its last event.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from pipeline.errors import BudgetSpentError, InputError
from pipeline.run.events.event_log import Event
from pipeline.run.events.run_costs import HOUR_S, duration_text
from pipeline.run.infer.intake import Intake


@dataclass(frozen=True, kw_only=True)
class SpendingOptions:
    """What the command line says about money and hours."""

    price_per_hour: float | None = None
    """Of all machines of the run together, in any currency."""
    max_cost: float | None = None
    """In the same currency."""
    max_hours: float | None = None

    def __post_init__(self) -> None:
        if self.max_cost is not None and not self.price_per_hour:
            raise InputError(
                "--max-cost counts hours, and must know what one costs",
                came="no --price-per-hour" if self.price_per_hour is None else "--price-per-hour 0",
                remedy="add --price-per-hour P, the price of an hour of all machines together, or give "
                "--max-hours instead",
            )

    @property
    def limit_s(self) -> float:
        """Seconds that all starts may take together; infinite without a limit."""
        limits = [math.inf]
        if self.max_cost is not None and self.price_per_hour:
            limits.append(self.max_cost / self.price_per_hour * HOUR_S)
        if self.max_hours is not None:
            limits.append(self.max_hours * HOUR_S)
        return min(limits)

    def spent_text(self, seconds: float) -> str:
        """Tell the time, and money where an hour has a price."""
        if self.price_per_hour is None:
            return duration_text(seconds)
        return f"{self.price_per_hour * seconds / HOUR_S:,.2f} in {duration_text(seconds)}"

    def limit_text(self) -> str:
        """Name the limit that is reached first."""
        if self.max_cost is not None and self.price_per_hour:
            by_cost = self.max_cost / self.price_per_hour
            if self.max_hours is None or by_cost <= self.max_hours:
                return f"--max-cost {self.max_cost:g}"
        return f"--max-hours {self.max_hours:g}"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What is left of the limit in this start."""

    options: SpendingOptions
    before_s: float = 0.0
    """Seconds that earlier starts of the run took."""
    earlier: int = 0
    """How many these were."""
    began: float
    """When this start began, by `time.monotonic`."""

    @property
    def intake(self) -> Intake:
        """Open until the limit is reached."""
        return Intake(until=self.began + self.options.limit_s - self.before_s)

    @property
    def spent_s(self) -> float:
        """Seconds of all starts until now."""
        return self.before_s + time.monotonic() - self.began

    def left_text(self) -> str:
        """Say how long the limit lasts. Empty: there is none."""
        limit_s = self.options.limit_s
        if limit_s == math.inf:
            return ""
        left = duration_text(max(limit_s - self.spent_s, 0.0))
        told = f"{self.options.limit_text()} lasts for {left} from now"
        if not self.earlier:
            return told
        spent = self.options.spent_text(self.before_s)
        return f"{told}; {_starts(self.earlier)} before this one spent {spent}"

    def stopped(self, *, done: int, left: int) -> BudgetSpentError:
        """Make the error that ends the start. `done`, `left`: blocks of the run."""
        spent = f"{self.options.spent_text(self.spent_s)} over {_starts(self.earlier + 1)}"
        option, _, _ = self.options.limit_text().partition(" ")
        return BudgetSpentError(
            f"{self.options.limit_text()} is reached: the run spent {spent}. It was stopped; {done:,} of "
            f"{done + left:,} blocks are committed, {left:,} are left, and nothing was published. To fix: "
            f"start the same command again with a higher {option}; what is committed is not done again"
        )


def open_budget(options: SpendingOptions, read: Callable[[], Sequence[Event]], runs: Sequence[str]) -> Budget:
    """Open the budget of a start. `read`: reads the events of earlier starts, if there is a limit. `runs`:
    fingerprints, as the event `started` tells them. Raises what `read` raises: money that cannot be counted
    cannot be limited.
    """
    began = time.monotonic()
    if options.limit_s == math.inf:
        return Budget(options=options, began=began)
    spent = []
    for _, some in groupby(read(), key=lambda event: event.start):
        start = list(some)
        if any(event.event == "started" and event.values.get("runs") == list(runs) for event in start):
            spent.append(start[-1].time - start[0].time)
    return Budget(options=options, before_s=sum(spent), earlier=len(spent), began=began)


def _starts(n: int) -> str:
    return f"{n} start{'' if n == 1 else 's'}"
