"""A store in memory that does what stores do on a bad day, as one seed says.

1. A call takes time, before it has an effect and after it. Meanwhile others act.
2. A request may be refused before anything happened (`reset`), or its answer may be lost after its effect:
   then the client sends it again, as obstore does (`again`), or gives up (`lost`).
3. Around any call the process may be killed or frozen. A frozen one wakes when its lock is stale.
4. A listing may lag behind what was written and removed.

A request for a removal is answered within a minute or given up: no process freezes between its last look and
the removal that follows. No store can fence a plain removal.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from simulator.actors import Killed, Process, Stage

from pipeline.files.store.store import Content, ObjectEntry, Stored, StoreError

SCHEME = "sim://"

REMOVALS = ("delete", "discard")


@dataclass(frozen=True)
class Weather:
    """How bad a day is: chances per store call."""

    reset: float = 0.0
    lost: float = 0.0
    again: float = 0.0
    kill: float = 0.0
    freeze: float = 0.0
    slow: float = 0.0
    lag_s: float = 0.0
    """Seconds by which a listing may lag."""
    clock_jump_at: float = float("inf")
    """When the store's clock is set back by some hours."""


class LostAnswerError(StoreError):
    """What a client raises when it has given up."""


@dataclass(frozen=True)
class Held:
    """An object of a world."""

    data: bytes
    version: str
    written: float


@dataclass(eq=False)
class World:
    """All objects, and what befalls those who ask for them."""

    seed: int
    weather: Weather = Weather()
    stage: Stage = field(default_factory=Stage)
    objects: dict[str, Held] = field(default_factory=dict)
    watch: Callable[[World, str, str, Held | None, Held | None], None] | None = None
    """Called after every change of an object: (world, call, key, before, after)."""
    spared: tuple[str, ...] = ("reader",)
    """Names of processes that nothing befalls."""
    muted: frozenset[int] = frozenset()
    """Numbers of calls that nothing befalls: what a failure does not need."""
    trace: deque[str] = field(default_factory=lambda: deque(maxlen=2000))

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        """Draws what befalls calls, and all else that happens by chance."""
        self.n_calls = 0
        """Call number -> what befell it."""
        self.struck: dict[int, str] = {}
        self._versions = 0
        self._removed: dict[str, tuple[float, Held]] = {}
        self._pids = 100
        self.processes: dict[tuple[str, int], Process] = {}

    def process(self, name: str, host: str) -> Process:
        """Start a process on a machine."""
        self._pids += 1
        process = Process(name=name, host=host, pid=self._pids)
        self.processes[host, process.pid] = process
        return process

    @property
    def actor(self) -> Process | None:
        """The process at work. None: nobody of the simulation is."""
        return None if self.stage.current is None else self.stage.current.process

    def clock(self) -> float:
        """The store's own clock."""
        now = self.stage.now
        return now if now < self.weather.clock_jump_at else now - 7200.0

    def call[T](self, call: str, key: str, effect: Callable[[], T]) -> T:
        """Send one request."""
        process = self.actor
        if process is None:
            return effect()
        self.stage.require_alive()
        self.n_calls += 1
        before, after = self._draw(call, process), ""
        if before.startswith("after-"):
            before, after = "", before.removeprefix("after-")
        self._tell(process, call, key, before or after)
        self.stage.pause(self._latency())
        self._strike(before, process, key)
        result = effect()
        if after in ("lost", "again"):
            self.stage.pause(self._latency())
            if after == "lost":
                raise _failure(key)
            result = effect()
        self._strike(after, process, key)
        self.stage.pause(self._latency() if self.dice.random() < 0.3 else 0.0)
        return result

    def _draw(self, call: str, process: Process) -> str:
        """Name what befalls one call: nothing, a reset, or anything of the others before or after it."""
        weather, roll = self.weather, self.dice.random()
        for name, chance in (
            ("reset", weather.reset),
            ("after-lost", weather.lost),
            ("after-again", weather.again),
            ("kill", weather.kill / 2),
            ("after-kill", weather.kill / 2),
            ("freeze", weather.freeze / 2),
            ("after-freeze", weather.freeze / 2),
        ):
            if roll < chance:
                spared = process.name in self.spared or self.n_calls in self.muted
                if spared or (name == "freeze" and call in REMOVALS):
                    return ""
                self.struck[self.n_calls] = name
                return name
            roll -= chance
        return ""

    def _strike(self, fault: str, process: Process, key: str) -> None:
        if fault == "reset":
            raise _failure(key)
        if fault == "kill":
            process.kill()
            raise Killed
        if fault == "freeze":
            process.frozen_until = self.stage.now + self.dice.uniform(200.0, 1200.0)
            self.stage.pause(0.0)

    def _latency(self) -> float:
        if self.dice.random() < self.weather.slow:
            return self.dice.uniform(5.0, 60.0)
        return self.dice.uniform(0.005, 0.2)

    def _tell(self, process: Process, call: str, key: str, fault: str) -> None:
        assert self.stage.current is not None
        note = f"  <- {fault}" if fault else ""
        self.trace.append(f"{self.stage.now:9.2f} {self.stage.current.name:12} {call:7} {key}{note}")

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        name = self.stage.current.name if self.stage.current else ""
        self.trace.append(f"{self.stage.now:9.2f} {name:12} -- {text}")

    def write(self, call: str, key: str, data: bytes) -> str:
        self._versions += 1
        before = self.objects.get(key)
        self.objects[key] = Held(data, f"v{self._versions}", self.clock())
        self._changed(call, key, before)
        return self.objects[key].version

    def remove(self, call: str, key: str) -> None:
        before = self.objects.pop(key, None)
        if before is not None:
            self._removed[key] = (self.clock(), before)
            self._changed(call, key, before)

    def _changed(self, call: str, key: str, before: Held | None) -> None:
        if self.watch is not None:
            self.watch(self, call, key, before, self.objects.get(key))

    def listing(self, prefix: str) -> list[ObjectEntry]:
        """What a listing shows: some of it late. Of intermediate tables it shows all (see `store.Store`)."""
        shown = dict(self.objects)
        if self.weather.lag_s and self.actor is not None and "merge.tmp" not in prefix:
            late = self.clock() - self.weather.lag_s
            for key, (when, held) in self._removed.items():
                if when > late and key not in shown and self.dice.random() < 0.5:
                    shown[key] = held
            for key, held in self.objects.items():
                if held.written > late and self.dice.random() < 0.3:
                    del shown[key]
        return [
            ObjectEntry(key, len(held.data), held.version)
            for key, held in sorted(shown.items())
            if key.startswith(prefix)
        ]


def _failure(key: str) -> LostAnswerError:
    return LostAnswerError(5, "the store did not answer in time", f"{SCHEME}{key}")


WORLDS: dict[str, World] = {}
"""Bucket -> world."""


class SimStore:
    """Implements `store.Store` over a folder of a world."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._bucket, _, self._prefix = root.removeprefix(SCHEME).partition("/")

    @property
    def root(self) -> str:
        return self._root

    @property
    def world(self) -> World:
        return WORLDS[self._bucket]

    def key(self, key: str) -> str:
        return "/".join(part for part in (self._prefix, key) if part)

    def get(self, key: str) -> Stored:
        name = self.key(key)

        def effect() -> Stored:
            held = self._held(name)
            return Stored(data=held.data, version=held.version)

        return self.world.call("get", name, effect)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        name = self.key(key)
        return self.world.call("range", name, lambda: self._held(name).data[start : start + length])

    def head(self, key: str) -> ObjectEntry | None:
        name = self.key(key)

        def effect() -> ObjectEntry | None:
            held = self.world.objects.get(name)
            return None if held is None else ObjectEntry(key, len(held.data), held.version)

        return self.world.call("head", name, effect)

    def put(self, key: str, content: Content) -> str:
        name, data = self.key(key), _bytes(content)
        return self.world.call("put", name, lambda: self.world.write("put", name, data))

    def create(self, key: str, content: Content) -> str | None:
        name, data = self.key(key), _bytes(content)

        def effect() -> str | None:
            held = self.world.objects.get(name)
            if held is None:
                return self.world.write("create", name, data)
            return held.version if held.data == data else None

        return self.world.call("create", name, effect)

    def swap(self, key: str, content: Content, version: str) -> str | None:
        name, data = self.key(key), _bytes(content)

        def effect() -> str | None:
            held = self.world.objects.get(name)
            if held is not None and held.version == version:
                return self.world.write("swap", name, data)
            return held.version if held is not None and held.data == data else None

        return self.world.call("swap", name, effect)

    def delete(self, *keys: str) -> None:
        for name in map(self.key, keys):
            self.world.call("delete", name, partial(self.world.remove, "delete", name))

    def discard(self, key: str, version: str) -> bool:
        name = self.key(key)

        def effect() -> bool:
            held = self.world.objects.get(name)
            if held is None or held.version != version:
                return False
            self.world.remove("discard", name)
            return True

        return self.world.call("discard", name, effect)

    def age_s(self, key: str) -> float:
        name = self.key(key)
        return self.world.call("age", name, lambda: self.world.clock() - self._held(name).written)

    def entries(self, prefix: str) -> Iterator[ObjectEntry]:
        start = f"{self.key(prefix)}/" if self.key(prefix) else ""
        skip = len(self._prefix) + 1 if self._prefix else 0
        found = self.world.call("list", start, lambda: self.world.listing(start))
        for entry in found:
            yield ObjectEntry(entry.key[skip:], entry.size, entry.version)

    def _held(self, name: str) -> Held:
        held = self.world.objects.get(name)
        if held is None:
            raise FileNotFoundError(2, "there is no such object", f"{SCHEME}{self._bucket}/{name}")
        return held


def _bytes(content: Content) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content
