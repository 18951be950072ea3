"""Which tile kills or hangs its process is found out by what was noted before the process ended.

1. Each step (read, prompt, segment) calls `begin` before it works on a block, and `end` when it is through.
2. A block whose process died comes again. It is worked on alone in its process (`Room`), because a death
   counts against all blocks that were at work there. After a second death its tiles are done one by one, and
   the journal names each before it is begun: the tile at which the process dies a third time is set aside.
3. A tile that does not come back within its time is set aside at once, because whoever waited knows it.
4. Where process after process dies and no tile gets through, it is not the tiles: the block is given up.

Entries survive the process that they watch. Whoever runs the blocks calls `reset` first, so interruptions by
hand are forgotten.

Of a run in a bucket they lie on each machine (`RunDir.attempts`), so that no block costs a request more. So a
tile has to kill as often on every machine: a start on another one does not know what ended the last one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.schema.tile_answers import Reason

ONE_BY_ONE_AFTER = 2
"""Process deaths in one step of one block after which its tiles are done one by one."""

MAX_CRASHES = 5
"""Deaths that no tile explains after which a block is given up: its tiles are FAILED(crashed). Ray restarts
actors without limit.
"""

MAX_LONE_CRASHES = 3
"""Tiles of a block at which the process may die one after the other before one has got through. A broken
device kills with every tile.
"""

_HELPLESS = MAX_CRASHES + 3
"""Deaths after which the run ends: the process dies even where no model is asked."""

WORKING_ON: ContextVar[tuple[str, str] | None] = ContextVar("WORKING_ON", default=None)
"""Block and tile that the current task works on; it tells which of many tiles holds up an event loop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAside:
    """Why a tile is not worked on."""

    reason: Reason
    """CRASHED or TIMEOUT."""
    error: str


@dataclass(kw_only=True, slots=True)
class _Entry:
    """What the journal holds of one step of one block."""

    begun: int = 0
    """Attempts whose end no tile explains, the current one among them."""
    tile: str = ""
    """The tile that is worked on alone. Empty: several are, or none."""
    through: bool = False
    """Whether a tile that was worked on alone got through."""
    aside: dict[str, SetAside] = field(default_factory=dict)


class AttemptJournal:
    """Blocks in progress, as one small file `<directory>/<block_id>.<step>.json` for each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def begin(self, block_id: str, step: str) -> Attempt:
        """Note an attempt, and say what became of earlier ones. Raises ModelError when the process dies
        whatever is left out.
        """
        before = self._read(block_id, step)
        entry = before or _Entry()
        if entry.tile:
            entry.aside[entry.tile] = SetAside(
                reason=Reason.CRASHED,
                error=f"the process died while it worked on this tile alone ({step}), and "
                f"{entry.begun - 1} times before while it worked on its block",
            )
            entry.tile = ""
        else:
            entry.begun += 1
        attempt = Attempt(self, block_id, step, entry)
        if attempt.deaths >= _HELPLESS:
            raise ModelError(
                f"the process that does block {block_id} ({step}) died {attempt.deaths} times, also when no "
                "model was asked; look for memory that runs out, and start the same command again to go on"
            )
        self.write(block_id, step, entry)
        return attempt

    def died_before(self, block_id: str, step: str) -> bool:
        """Whether an attempt was begun and not ended."""
        return self._path(block_id, step).exists()

    def noted(self) -> dict[str, str]:
        """All that is noted, by file. It changes with every attempt."""
        return {path.name: path.read_text(encoding="utf-8") for path in self._directory.glob("*.json")}

    def in_progress(self) -> frozenset[str]:
        """Blocks with an attempt that was begun and not ended, in any step."""
        return frozenset(path.name.partition(".")[0] for path in self._directory.glob("*.json"))

    def set_aside(self, block_id: str, step: str, tile_id: str, why: SetAside) -> None:
        """Set a tile aside, for whoever knows it and not the attempt. It explains how the attempt ends."""
        entry = self._read(block_id, step) or _Entry(begun=1)
        self._note_aside(block_id, step, entry, tile_id, why)

    def reset(self) -> None:
        """Forget everything. The driver calls it before any worker starts."""
        for path in self._directory.glob("*"):
            path.unlink(missing_ok=True)

    def write(self, block_id: str, step: str, entry: _Entry) -> None:
        """Note how an attempt stands. For `Attempt` alone. It must outlive this process, and no power cut: so
        nothing is forced to the disk.
        """
        path = self._path(block_id, step)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json.dumps(asdict(entry)).encode())

    def remove(self, block_id: str, step: str) -> None:
        """Forget a block: the step is through with it. For `Attempt` alone."""
        self._path(block_id, step).unlink(missing_ok=True)

    def _note_aside(self, block_id: str, step: str, entry: _Entry, tile_id: str, why: SetAside) -> None:
        entry.aside[tile_id] = why
        entry.tile = ""
        entry.begun = max(entry.begun - 1, 0)
        self.write(block_id, step, entry)

    def _read(self, block_id: str, step: str) -> _Entry | None:
        """None: there is no entry. One that cannot be read was begun once."""
        try:
            text = self._path(block_id, step).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            return _entry(json.loads(text))
        except (ValueError, KeyError, TypeError):
            return _Entry(begun=1)

    def _path(self, block_id: str, step: str) -> Path:
        return self._directory / f"{block_id}.{step}.json"


def _entry(told: Mapping[str, Any]) -> _Entry:
    aside = {
        tile: SetAside(reason=Reason(why["reason"]), error=str(why["error"]))
        for tile, why in told["aside"].items()
    }
    return _Entry(
        begun=int(told["begun"]), tile=str(told["tile"]), through=bool(told["through"]), aside=aside
    )


class Attempt:
    """One attempt at one step of one block."""

    def __init__(self, journal: AttemptJournal, block_id: str, step: str, entry: _Entry) -> None:
        self._journal = journal
        self._block_id = block_id
        self._step = step
        self._entry = entry

    @property
    def deaths(self) -> int:
        """Earlier attempts that ended with their process, and no tile explains why."""
        return self._entry.begun - 1

    @property
    def one_by_one(self) -> bool:
        """Whether tiles are to be done one at a time, each inside `working_on`."""
        return self.deaths >= ONE_BY_ONE_AFTER

    @property
    def careful(self) -> bool:
        """Whether tiles must be looked at singly: they are done one by one, or some are set aside."""
        return self.one_by_one or bool(self._entry.aside)

    def verdict(self, tile_id: str) -> SetAside | None:
        """Why a tile must not be worked on. None: it is."""
        known = self._entry.aside.get(tile_id)
        return known or (self._given_up() if self._hopeless() else None)

    def _hopeless(self) -> bool:
        crashed = sum(why.reason is Reason.CRASHED for why in self._entry.aside.values())
        return self.deaths >= MAX_CRASHES or (crashed >= MAX_LONE_CRASHES and not self._entry.through)

    def _given_up(self) -> SetAside:
        times = self.deaths + len(self._entry.aside)
        return SetAside(
            reason=Reason.CRASHED,
            error=f"the process working on this block died {times} times, whichever tile it worked on "
            f"({self._step})",
        )

    @contextmanager
    def working_on(self, tile_id: str) -> Iterator[None]:
        """Work on one tile. Where tiles are done one by one it is noted, and a death in here is its own."""
        token = WORKING_ON.set((self._block_id, tile_id))
        try:
            if self.one_by_one:
                self._entry.tile = tile_id
                self._journal.write(self._block_id, self._step, self._entry)
            yield
            if self.one_by_one:
                self._entry.tile = ""
                self._entry.through = True
                self._journal.write(self._block_id, self._step, self._entry)
        finally:
            WORKING_ON.reset(token)

    def set_aside(self, tile_id: str, why: SetAside) -> None:
        """Set a tile aside for the next attempt. It explains how this one ends."""
        self._journal.set_aside(self._block_id, self._step, tile_id, why)

    def end(self) -> None:
        """The step is through with the block. What is set aside stays so, should the block come again."""
        if self._entry.aside or self._hopeless():
            self._entry.begun -= 1
            self._journal.write(self._block_id, self._step, self._entry)
        else:
            self._journal.remove(self._block_id, self._step)


class Room:
    """Who may work now, within one event loop: many at once, or one alone.

    A death counts against all blocks that the process works on. Alone, an innocent neighbour of a killing
    block gets through on its second attempt, and only the killer comes a third time.
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
