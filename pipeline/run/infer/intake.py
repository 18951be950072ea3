"""Until when blocks are begun. Those that were begun by then are finished and committed.

`Intake` travels to child processes of this machine, whose monotonic clock is the same.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Intake:
    """Open until a moment."""

    until: float = math.inf
    """By `time.monotonic`."""

    @property
    def is_open(self) -> bool:
        """Whether a block may be begun now."""
        return time.monotonic() < self.until


ALWAYS = Intake()
"""Never closes."""


@contextmanager
def closing(intake: Intake, act: Callable[[], object]) -> Iterator[None]:
    """Have `act` done, by another thread, when the intake closes during the body."""
    if intake.until == math.inf:
        yield
        return
    left_s = min(max(intake.until - time.monotonic(), 0.0), threading.TIMEOUT_MAX)
    timer = threading.Timer(left_s, act)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
