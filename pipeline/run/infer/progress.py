"""What a person sees while a run works: tiles done, what they turned out to be, speed, time left.

On a terminal one line is redrawn; elsewhere (job logs, CI) a plain line is printed at most every `interval_s`
seconds. Speed counts from the first committed block, because what comes before it is mostly models being
loaded, and only tiles that hold imagery: the others cost next to nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, kw_only=True)
class BlockSummary:
    """What the driver is told of one committed block."""

    block_id: str
    found: int
    empty: int
    nodata: int
    """Of the empty ones, those without imagery or under clouds: no model looked at them."""
    failed: int
    n_embeddings: int
    n_calls: int
    elapsed_s: float
    failures: str = "[]"
    """Why tiles failed: a JSON list that `run_breaker` reads."""
    failed_tiles: str = "[]"
    """Which: a JSON list of [tile_id, query, reason, error], of at most MOST_TOLD."""
    times: str = "[]"
    """How long its workers were at what (`stage_times`)."""

    @property
    def tiles(self) -> int:
        return self.found + self.empty + self.failed


class Progress:
    """Counts tiles and prints. `total` counts the tiles that will be looked at in this start of the run."""

    def __init__(
        self,
        total: int,
        *,
        done_before: int = 0,
        stream: TextIO | None = None,
        interval_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.done_before = done_before
        self.found = self.empty = self.nodata = self.failed = 0
        self._stream = stream or sys.stdout
        self._interval_s = 0.2 if self._stream.isatty() else interval_s
        self._clock = clock
        self._first: tuple[float, int, int] | None = None
        self._last = -1e9

    @property
    def done(self) -> int:
        return self.found + self.empty + self.failed

    def add(self, block: BlockSummary) -> None:
        """Count a committed block and print if it is time, or if it was the last one."""
        self.found += block.found
        self.empty += block.empty
        self.nodata += block.nodata
        self.failed += block.failed
        now = self._clock()
        if self._first is None:
            self._first = (now, self.done, self.nodata)
        if now - self._last >= self._interval_s or self.done >= self.total:
            self._last = now
            self._print(self.line(now))

    def line(self, now: float) -> str:
        """Make the progress line at clock time `now`, in seconds."""
        since, before, skipped = self._first or (now, self.done, self.nodata)
        rate = (self.done - before) / (now - since) if now > since else 0.0
        judged = rate - ((self.nodata - skipped) / (now - since) if now > since else 0.0)
        speed = (
            f"{judged:.1f} judged tiles/s  left {_duration((self.total - self.done) / rate)}"
            if rate > 0
            else "speed not known yet"
        )
        share = 100.0 * self.done / self.total if self.total else 100.0
        earlier = f" (+{self.done_before} from an earlier start)" if self.done_before else ""
        unseen = f" ({self.nodata} without clear imagery)" if self.nodata else ""
        counts = f"found {self.found}  empty {self.empty}{unseen}  failed {self.failed}"
        return f"tiles {self.done}/{self.total} ({share:.0f} %){earlier}  {counts}  {speed}"

    def _print(self, text: str) -> None:
        with suppress(OSError):  # whoever was reading has gone, or the disk is full; the work goes on
            if self._stream.isatty():
                end = "\n" if self.done >= self.total else ""
                self._stream.write(f"\r\x1b[2K{text}{end}")
            else:
                self._stream.write(text + "\n")
            self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, secs = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {secs:02d} s" if minutes else f"{secs} s"
