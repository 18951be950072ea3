"""How a block that keeps killing its process is told from one that was merely interrupted.

Each step (read, prompt, segment) calls `begin` before it works on a block, and `end` when it is through.
Above `MAX_CRASHES` earlier attempts it gives the block up. A block that comes again is worked on alone
(`Room`). The driver's `reset` at the start forgets interruptions by hand.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

MAX_CRASHES = 2
"""Process deaths in one step of one block after which its tiles are recorded as FAILED(crashed).
Ray restarts actors without limit."""


class AttemptJournal:
    """Marker files `<directory>/<block_id>.<step>.<n>`, which survive the process that they watch."""

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
        """Count the attempts that were begun and not ended."""
        return sum(1 for _ in self._directory.glob(f"{block_id}.{step}.*"))

    def end(self, block_id: str, step: str) -> None:
        """Remove the markers of a block: the step is through with it."""
        for path in self._directory.glob(f"{block_id}.{step}.*"):
            path.unlink(missing_ok=True)

    def reset(self) -> None:
        """Forget everything. The driver calls it before any worker starts."""
        for path in self._directory.glob("*"):
            path.unlink(missing_ok=True)

    def _marker(self, block_id: str, step: str, number: int) -> Path:
        return self._directory / f"{block_id}.{step}.{number}"


class Room:
    """Who may work now, within one event loop: many at once, or one alone.

    A death counts against all blocks that the process works on. Alone, an innocent neighbour of a killing
    block gets through on its second attempt, and only the killer reaches the limit.
    """

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._inside = 0
        self._taken = False

    @asynccontextmanager
    async def enter(self, *, alone: bool) -> AsyncIterator[None]:
        """Wait for a place. `alone`: until everybody has left; nobody else comes in meanwhile."""
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
