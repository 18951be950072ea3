"""A run as a tandem queue: readers, prompters, segmenters and the driver, simulated event by event.

1. Every stage has servers that do one block at a time, and room for some more that wait. A server whose block
   finds no room at the next stage keeps it and stands still, as Ray's backpressure has it.
2. Reading a block is two things at once: the reader's own time, and bytes over a link that all blocks in
   transfer share equally. It ends when both have ended.
3. The driver is a stage with one server, before which any number of blocks may wait.
4. `simulate` runs until all blocks are through, and measures between the first fifth and the last fifth of
   them: models are loaded then, and the end is not in sight.

The heap of events is 20 lines here, so no package for simulations is needed. The shared link is why: with
equal shares, the transfer that ends next is the one with the least *served bytes* to go, where served bytes
are what the link has brought to each transfer since it was opened.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

SETTLED = (0.2, 0.8)
"""Shares of the blocks between which the rate is measured."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One pool of workers."""

    name: str
    servers: int
    seconds: Sequence[float]
    """Service times of a block. They are dealt by chance, each once before any comes again: so their mean is
    kept, and results vary little.
    """
    waiting: int | None = None
    """Blocks that may wait before the stage. None: any number."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """The network that all readers share."""

    bytes_s: float
    block_bytes: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a simulated run came to."""

    seconds: float
    """Until the last block was through."""
    blocks_s: float
    """Blocks per second, in the settled part."""
    busy: dict[str, float]
    """Stage or `link` -> share of its servers' time that was work, in the settled part."""

    @property
    def limit(self) -> str:
        """What is busiest, and so limits the rate."""
        return max(self.busy, key=lambda name: self.busy[name])


@dataclass(kw_only=True)
class _Pool:
    stage: Stage
    waiting: deque[int] = field(default_factory=deque)
    working: int = 0
    """Servers with a block that is not done."""
    serving: int = 0
    """Those of them that work; the others wait for bytes."""
    held: deque[int] = field(default_factory=deque)
    """Blocks that are done and find no room. Their servers stand still."""
    dealt: list[float] = field(default_factory=list)
    work_s: float = 0.0
    since: float = 0.0

    def has_server(self) -> bool:
        return self.working + len(self.held) < self.stage.servers

    def has_room(self) -> bool:
        return self.stage.waiting is None or len(self.waiting) < self.stage.waiting or self.has_server()

    def deal(self, chance: random.Random) -> float:
        """Give the service time of the next block."""
        if not self.dealt:
            self.dealt = list(self.stage.seconds)
            chance.shuffle(self.dealt)
        return self.dealt.pop()

    def pass_time(self, now: float) -> None:
        self.work_s += self.serving * (now - self.since)
        self.since = now


class _Transfers:
    """Blocks on the link, in equal shares."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._served = 0.0
        self._since = 0.0
        self._ends: list[tuple[float, int]] = []
        self.work_s = 0.0

    def pass_time(self, now: float) -> None:
        if self._ends:
            self._served += self._link.bytes_s * (now - self._since) / len(self._ends)
            self.work_s += now - self._since
        self._since = now

    def begin(self, block: int) -> None:
        heapq.heappush(self._ends, (self._served + self._link.block_bytes, block))

    def next_end(self) -> tuple[float, int] | None:
        """When the next transfer ends if nothing changes, and its block."""
        if not self._ends:
            return None
        served, block = self._ends[0]
        left = max(served - self._served, 0.0)
        return self._since + left * len(self._ends) / self._link.bytes_s, block

    def end(self) -> None:
        heapq.heappop(self._ends)


class _Run:
    def __init__(self, stages: Sequence[Stage], blocks: int, link: Link | None, seed: int) -> None:
        self._pools = [_Pool(stage=stage) for stage in stages]
        self._pools[0].waiting.extend(range(blocks))
        self._transfers = None if link is None else _Transfers(link)
        self._chance = random.Random(seed)
        self._events: list[tuple[float, int, int, int]] = []
        self._number = count()
        self._half_read: set[int] = set()
        self._now = 0.0
        self.through: list[float] = []
        self.marks: list[dict[str, float]] = []

    def go(self) -> None:
        """Work until nothing is left."""
        self._advance()
        while (happened := self._next()) is not None:
            moment, pool, block = happened
            self._pass_time(moment)
            self._served(pool, block)
            self._advance()

    def work_s(self) -> dict[str, float]:
        """Seconds of work so far, over all servers."""
        found = {pool.stage.name: pool.work_s for pool in self._pools}
        return found if self._transfers is None else {**found, "link": self._transfers.work_s}

    def _next(self) -> tuple[float, int | None, int] | None:
        """When a server is through with a block, or (None) a transfer."""
        transfer = None if self._transfers is None else self._transfers.next_end()
        if transfer is not None and (not self._events or transfer[0] <= self._events[0][0]):
            assert self._transfers is not None
            return transfer[0], None, transfer[1]
        if not self._events:
            return None
        moment, _, pool, block = heapq.heappop(self._events)
        return moment, pool, block

    def _pass_time(self, moment: float) -> None:
        self._now = moment
        for pool in self._pools:
            pool.pass_time(moment)
        if self._transfers is not None:
            self._transfers.pass_time(moment)

    def _served(self, index: int | None, block: int) -> None:
        """A server or the link is through with a block. Reading waits for both."""
        if index is None:
            assert self._transfers is not None
            self._transfers.end()
        else:
            self._pools[index].serving -= 1
        if index in (None, 0) and self._transfers is not None:
            if block not in self._half_read:
                self._half_read.add(block)
                return
            self._half_read.remove(block)
        pool = self._pools[index or 0]
        pool.working -= 1
        pool.held.append(block)

    def _advance(self) -> None:
        """Hand blocks on and start work, from the end to the beginning, until nothing moves."""
        moved = True
        while moved:
            moved = False
            for index in reversed(range(len(self._pools))):
                moved |= self._hand_on(index)
                moved |= self._start(index)

    def _hand_on(self, index: int) -> bool:
        pool = self._pools[index]
        following = self._pools[index + 1] if index + 1 < len(self._pools) else None
        moved = False
        while pool.held and (following is None or following.has_room()):
            block = pool.held.popleft()
            moved = True
            if following is None:
                self.through.append(self._now)
                self.marks.append(self.work_s())
            else:
                following.waiting.append(block)
                self._start(index + 1)
        return moved

    def _start(self, index: int) -> bool:
        pool = self._pools[index]
        moved = False
        while pool.waiting and pool.has_server():
            block = pool.waiting.popleft()
            pool.working += 1
            pool.serving += 1
            end = self._now + pool.deal(self._chance)
            heapq.heappush(self._events, (end, next(self._number), index, block))
            if index == 0 and self._transfers is not None:
                self._transfers.begin(block)
            moved = True
        return moved


def simulate(stages: Sequence[Stage], *, blocks: int, link: Link | None = None, seed: int = 0) -> Outcome:
    """Send so many blocks through the stages, the first of which reads over the link."""
    run = _Run(stages, blocks, link, seed)
    run.go()
    first, last = (min(int(share * blocks), blocks - 1) for share in SETTLED)
    span = run.through[last] - run.through[first]
    servers = {stage.name: stage.servers for stage in stages} | {"link": 1}
    busy = {
        name: (run.marks[last][name] - run.marks[first][name]) / (servers[name] * span) if span else 0.0
        for name in run.marks[first]
    }
    return Outcome(
        seconds=run.through[-1], blocks_s=(last - first) / span if span else float("inf"), busy=busy
    )
