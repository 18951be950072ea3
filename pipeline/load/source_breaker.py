"""Give a source up that fails again and again, so that its tiles cost nothing and others go on.

1. Failures in a row are counted for every remote scene, and for its host. What the server says of one object
   (404, 410) counts for the scene alone; refusals, errors and silence count for the host as well.
2. After so many a scene is given up. A host is, once they come from at least two scenes.
3. After a pause one read is let through. When it succeeds, the source is as good as new; when it fails, the
   next pause is twice as long.

This is the circuit breaker of M. Nygard, Release It! (2nd edition, 2018), chapter 5, per reading process.
"""

from __future__ import annotations

import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import SourceError
from pipeline.files.raster_access import href_kind
from pipeline.files.remote_error import RemoteError, TimedOutError, UnopenedError
from pipeline.schema.imagery import Scene

LONGEST_PAUSE_S = 600.0
"""Seconds after which a source that was given up is tried again at the latest."""

_OF_THE_OBJECT = (404, 409, 410)
"""Answers that say something of one object, and nothing of its host."""

_REFUSED = (401, 403)


class GivenUpError(SourceError):
    """A source was not asked, because it has failed too often."""


@dataclass(kw_only=True)
class _Circuit:
    """What is known of one scene or host."""

    failures: int = 0
    """In a row."""
    scenes: set[str] = field(default_factory=set)
    """Scenes that these failures are of."""
    why: str = ""
    """The last of them."""
    given_up: bool = False
    next_try: float = 0.0
    """When a read is let through again, by the clock."""
    pause_s: float = 0.0


class SourceBreaker:
    """Knows which scenes and hosts are not worth asking now. Threads may share it."""

    def __init__(self, failures: int, pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`failures`: in a row, after which a source is given up; 0: never. `pause_s`: seconds until it is
        tried again for the first time.
        """
        self._limit = failures
        self._pause_s = pause_s
        self._clock = clock
        self._lock = threading.Lock()
        self._circuits: dict[tuple[str, str], _Circuit] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process finds out for itself."""
        return SourceBreaker, (self._limit, self._pause_s)

    def let_through(self, scene: Scene) -> bool:
        """Say whether a read of a scene is a trial after a pause, for which nobody should wait long.

        Raises GivenUpError when it must not be read now.
        """
        with self._lock:
            now = self._clock()
            open_ones = [
                (key, circuit)
                for key in _keys(scene)
                if (circuit := self._circuits.get(key)) is not None and circuit.given_up
            ]
            for key, circuit in open_ones:
                if now < circuit.next_try:
                    raise GivenUpError(_text(key, circuit))
            for _, circuit in open_ones:
                self._pause(circuit, now)
            return bool(open_ones)

    def succeeded(self, scene: Scene) -> None:
        """A read of the scene came back: nothing is held against it any more."""
        with self._lock:
            for key in _keys(scene):
                self._circuits.pop(key, None)

    def failed(self, scene: Scene, error: BaseException) -> None:
        """Count a failure, if it is one of the source and not of the pixels in it."""
        whose = _whose(error)
        if whose is not None:
            self._count(scene, str(error), host=whose == "host")

    def hung(self, scene: Scene) -> None:
        """A read of the scene did not come back, be it local or remote."""
        self._count(scene, "a read did not come back", host=True)

    def _count(self, scene: Scene, why: str, *, host: bool) -> None:
        if not self._limit:
            return
        with self._lock:
            now = self._clock()
            for key in _keys(scene) if host else _keys(scene)[:1]:
                circuit = self._circuits.setdefault(key, _Circuit(pause_s=self._pause_s))
                circuit.failures += 1
                circuit.scenes.add(scene.scene_id)
                circuit.why = why
                enough = key[0] == "scene" or len(circuit.scenes) > 1
                if not circuit.given_up and circuit.failures >= self._limit and enough:
                    circuit.given_up = True
                    circuit.next_try = now + circuit.pause_s

    def _pause(self, circuit: _Circuit, now: float) -> None:
        """Let nobody else through until the trial has succeeded, or a longer pause is over."""
        circuit.pause_s = min(2 * circuit.pause_s, max(LONGEST_PAUSE_S, self._pause_s))
        circuit.next_try = now + circuit.pause_s


def _keys(scene: Scene) -> list[tuple[str, str]]:
    """The scene, and its host if it is remote."""
    own = ("scene", scene.scene_id)
    if href_kind(scene.href) == "local":
        return [own]
    parts = urllib.parse.urlsplit(scene.href)
    return [own, ("host", f"{parts.scheme.lower()}://{parts.netloc.lower()}")]


def _whose(error: BaseException) -> str | None:
    """Who failed: the `scene` alone, its `host`, or neither (None)."""
    told: BaseException | None = error
    while told is not None and not isinstance(told, RemoteError | UnopenedError):
        told = told.__cause__
    if told is None:
        return None
    if told.status in _OF_THE_OBJECT:
        return "scene"
    of_the_host = isinstance(told, TimedOutError) or told.retryable or told.status in _REFUSED
    return "host" if of_the_host else None


def _text(key: tuple[str, str], circuit: _Circuit) -> str:
    what = f"{key[1]} was" if key[0] == "host" else "it was"
    return (
        f"not asked, because {what} given up after {circuit.failures} failures in a row (source_failures "
        f"under [limits]), the last: {circuit.why}. Run again with --retry-failed once it answers"
    )
