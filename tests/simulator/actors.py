"""A clock and actors that take turns: several processes in one, always in the same order for one seed.

1. An actor is a thread that runs only while it holds the baton. It hands it on where it waits (`pause`): at
   every store call, sleep and join. The one that is due first goes on: latencies decide the order.
2. Actors belong to a `Process`. A killed one raises `Killed` at its next step, and in all clean-up after it.
3. A frozen process does nothing until it thaws, as one that is suspended.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_STEPS = 50_000
"""Turns after which a simulation counts as one that never ends."""


class Killed(BaseException):
    """The process of the actor is dead. No clean-up of it reaches the store."""


class NeverEndsError(Exception):
    """All actors wait for each other, or they go on for ever."""


@dataclass(eq=False)
class Process:
    """A process of a simulated machine."""

    name: str
    host: str
    pid: int
    alive: bool = True
    frozen_until: float = -math.inf
    children: list[Process] = field(default_factory=list)
    """Processes that die with it."""

    @property
    def token(self) -> str:
        return f"{self.name}-{self.pid}"

    def kill(self) -> None:
        """End it, and its children."""
        self.alive = False
        for child in self.children:
            child.kill()


@dataclass(eq=False)
class Actor:
    """One thread of a process."""

    name: str
    process: Process
    wake: float
    until: Callable[[], bool] | None = None
    done: bool = False
    baton: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    thread: threading.Thread | None = None


class Stage:
    """Runs actors until none is left."""

    def __init__(self) -> None:
        self.now = 0.0
        self.current: Actor | None = None
        self.steps = 0
        self.failure: BaseException | None = None
        """What went wrong in the simulation itself."""
        self._actors: list[Actor] = []
        self._over = threading.Semaphore(0)

    def spawn(self, name: str, process: Process, body: Callable[[], None], *, after: float = 0.0) -> Actor:
        """Add an actor, whose `body` begins some seconds from now."""
        actor = Actor(name=name, process=process, wake=self.now + after)

        def work() -> None:
            actor.baton.acquire()
            try:
                if process.alive and self.failure is None:
                    body()
            except Killed:
                pass
            except BaseException as error:
                self.failure = self.failure or error
            actor.done = True
            self._actors.remove(actor)
            self._hand_on()

        actor.thread = threading.Thread(target=work, daemon=True)
        self._actors.append(actor)
        actor.thread.start()
        return actor

    def run(self) -> None:
        """Run all actors to their end. Raises what one of them raised, or NeverEndsError."""
        self._hand_on()
        self._over.acquire()
        if self.failure is not None:
            raise self.failure

    def pause(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Let the others go on for so long, or until something holds. Raises Killed.

        Outside actors, and in threads of libraries that work for one, nobody waits.
        """
        actor = self.current
        if actor is None or actor.thread is not threading.current_thread():
            return
        self._require_alive(actor)
        actor.wake = self.now + seconds
        actor.until = until
        chosen = self._choose()
        if chosen is not actor:
            self.current = chosen
            chosen.baton.release()
            actor.baton.acquire()
        self._require_alive(actor)

    def require_alive(self) -> None:
        """Raise Killed in an actor whose process is dead."""
        if self.current is not None:
            self._require_alive(self.current)

    def _require_alive(self, actor: Actor) -> None:
        if not actor.process.alive or self.failure is not None:
            raise Killed

    def _hand_on(self) -> None:
        if not self._actors:
            self.current = None
            self._over.release()
            return
        self.current = self._choose()
        self.current.baton.release()

    def _choose(self) -> Actor:
        self.steps += 1
        chosen = min(self._actors, key=self._due)
        due = self._due(chosen)
        if due == math.inf or self.steps > MOST_STEPS:
            self.failure = self.failure or NeverEndsError(
                f"after {self.steps} steps, {self.now:.0f} s: {[actor.name for actor in self._actors]}"
            )
            return chosen
        self.now = max(self.now, due)
        return chosen

    def _due(self, actor: Actor) -> float:
        process = actor.process
        if not process.alive or self.failure is not None:
            return self.now
        ready = actor.until is not None and actor.until()
        return max(self.now if ready else actor.wake, process.frozen_until)
