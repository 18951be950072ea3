"""How a block that keeps killing its process is told from one that was merely interrupted.

1. A step calls `begin(block_id, step)` before it works on a block: one marker file per attempt.
2. The commit of the block record calls `clear(block_id)`.
3. When Ray restarts a dead actor, the same block comes again and `begin` returns 2, 3, ...; above `MAX_CRASHES` earlier
   attempts the step gives the block up as FAILED(crashed) instead of dying for ever (Ray restarts actors without limit).
4. The driver calls `reset` when a run starts, so that interrupting a run by hand never counts against a block.

Markers are plain files in the run directory, so that the journal survives the process it watches.
"""

from __future__ import annotations

import os
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
