"""How a block that keeps killing its process is told from one that was merely interrupted.

1. Each step that can die of a block (read, prompt, segment) calls `begin(block_id, step)` before it works on
   it: one marker file per attempt.
2. A step that is through with the block calls `end(block_id, step)`.
3. When Ray restarts a dead actor, the same block comes again and `begin` returns 2, 3, ...; above
   `MAX_CRASHES` earlier attempts the step gives the block up as FAILED(crashed) instead of dying for ever
   (Ray restarts actors without limit).
4. Where a process works on several blocks at once, a death counts against all of them. So a block that comes
   again is worked on alone (`Room`): an innocent neighbour of a killing block gets through on its second
   attempt, and only the killer reaches the limit.
5. The driver calls `reset` when a run starts, so that interrupting a run by hand never counts against a
   block.

Markers are plain files in the run directory, so that the journal survives the process it watches.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

MAX_CRASHES = 2
"""Process deaths in one step of one block after which its tiles are recorded as FAILED(crashed)."""


class AttemptJournal:
    """Marker files `<directory>/<block_id>.<step>.<n>`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def begin(self, block_id: str, step: str) -> int:
        """Mark an attempt and return its number, 1 for the first."""
        self._directory.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            try:
                os.close(os.open(self._marker(block_id, step, number), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                number += 1
            else:
                return number

    def earlier(self, block_id: str, step: str) -> int:
        """Attempts that were begun and not ended."""
        return sum(1 for _ in self._directory.glob(f"{block_id}.{step}.*"))

    def end(self, block_id: str, step: str) -> None:
        """The step is through with the block: remove its markers."""
        for path in self._directory.glob(f"{block_id}.{step}.*"):
            path.unlink(missing_ok=True)

    def reset(self) -> None:
        """Forget everything. Called by the driver before any worker starts."""
        for path in self._directory.glob("*"):
            path.unlink(missing_ok=True)

    def _marker(self, block_id: str, step: str, number: int) -> Path:
        return self._directory / f"{block_id}.{step}.{number}"


class Room:
    """Who may work now, within one event loop: many at once, or one alone."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._inside = 0
        self._taken = False

    @asynccontextmanager
    async def enter(self, *, alone: bool) -> AsyncIterator[None]:
        """Wait for a place: `alone` waits until everybody has left, and keeps everybody out meanwhile."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._taken and not (alone and self._inside))
            self._taken = alone
            self._inside += 1
        try:
            yield
        finally:
            async with self._changed:
                self._taken = False
                self._inside -= 1
                self._changed.notify_all()
