"""One line on stderr that says how far a step has come.

On a terminal the line is rewritten. Elsewhere (job logs, CI) it is printed at most once a second, and at the
beginning and end of each step. A passing line is for terminals alone, and nothing of it stays.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress


class ProgressLine:
    """Call it with the name of the step and the share of it that is done, 0..1."""

    def __init__(self, *, passing: bool = False) -> None:
        """`passing`: where only the result is worth keeping."""
        self._live = sys.stderr.isatty()
        self._passing = passing
        self._shown = 0.0

    def __call__(self, step: str, share: float) -> None:
        text = f"{step}: {100.0 * share:3.0f} %"
        with suppress(OSError):  # whoever was reading has gone; the work goes on
            if self._live and self._passing:
                sys.stderr.write("\r\x1b[2K" + ("" if share >= 1.0 else text))
            elif self._live:
                sys.stderr.write("\r\x1b[2K" + text + ("\n" if share >= 1.0 else ""))
            elif not self._passing and (share in (0.0, 1.0) or time.monotonic() - self._shown >= 1.0):
                sys.stderr.write(text + "\n")
                self._shown = time.monotonic()
            sys.stderr.flush()
