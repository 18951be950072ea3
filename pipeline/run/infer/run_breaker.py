"""Stop a run in which tile after tile fails for one reason: what is wrong is not with the tiles.

1. `RunBreaker` counts tiles that failed in a row, by reason. A tile that was judged ends every row; tiles
   without imagery say nothing.
2. A source that cannot be read fails its own tiles alone. So UNREADABLE stops a run only when it comes from
   several scenes, or from the only one.

Blocks are counted in the order in which they are committed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from pipeline.errors import StoppedRunError
from pipeline.run.infer.progress import BlockSummary
from pipeline.run.limit_options import LimitOptions
from pipeline.schema.tile_answers import Reason

SEVERAL_SCENES = 3
"""Scenes that must be unreadable before it is the run that stops, if it has so many."""

REMEDIES = {
    Reason.UNREADABLE: "see that the imagery can be read from here",
    Reason.MALFORMED: "see that checkpoint and profile belong together (reply in coverage.parquet)",
    Reason.MODEL_ERROR: "see what the model's error says",
    Reason.CRASHED: "look for memory or a device that fails (run.log, and the logs of Ray)",
    Reason.TIMEOUT: "see what holds up the models or the imagery, or raise tile_s under [limits]",
}
"""What to do about tiles that failed, by reason."""


@dataclass(kw_only=True)
class _Row:
    """Failures for one reason, in a row."""

    tiles: int = 0
    scenes: set[str] = field(default_factory=set)
    error: str = ""
    """The last of them."""


class RunBreaker:
    """Watches the blocks of one start of a run as they are committed."""

    def __init__(self, limits: LimitOptions, n_scenes: int) -> None:
        """`n_scenes`: scenes of the run."""
        self._limits = limits
        self._scenes_needed = min(max(n_scenes, 1), SEVERAL_SCENES)
        self._judged = False
        self._rows: dict[str, _Row] = {}

    def add(self, block: BlockSummary) -> None:
        """Count a committed block. Raises StoppedRunError when enough tiles failed for one reason."""
        failures = json.loads(block.failures)
        if block.found + block.empty - block.nodata > 0:
            self._judged = True
            self._rows = {}
            return
        if not failures:
            return
        self._rows = {
            reason: row for reason, row in self._rows.items() if any(reason == told[0] for told in failures)
        }
        for reason, scene, n_tiles, error in failures:
            row = self._rows.setdefault(reason, _Row())
            row.tiles += n_tiles
            row.scenes.add(scene)
            row.error = error
        for reason, row in self._rows.items():
            self._require_few(Reason(reason), row)

    def _require_few(self, reason: Reason, row: _Row) -> None:
        limit = self._limits.failures_in_row if self._judged else self._first_failures()
        if not limit or row.tiles < limit:
            return
        if reason is Reason.UNREADABLE and len(row.scenes) < self._scenes_needed:
            return
        which = f"{row.tiles} tiles in a row" if self._judged else f"the first {row.tiles} tiles"
        raise StoppedRunError(
            f"{which} failed for one reason, {reason.value}: {row.error}. The run was stopped; what is "
            f"committed is kept, and nothing was published. To fix: {REMEDIES[reason]}, then start the same "
            "command again with --retry-failed; first_failures and failures_in_row under [limits] say when a "
            "run stops"
        )

    def _first_failures(self) -> int:
        given = (self._limits.first_failures, self._limits.failures_in_row)
        return min((limit for limit in given if limit), default=0)
