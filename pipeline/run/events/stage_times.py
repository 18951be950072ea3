"""How long a worker was at what, as it travels with a block to the driver.

A worker measures what it does with `Stopwatch`. Its readings go from step to step as JSON beside the block,
and the driver writes them to the log (`event_log`).
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Literal

from pipeline.files.traffic import traffic

Stage = Literal["load", "weights", "warm_up", "compile", "first_run", "read", "prompt", "segment"]
"""`load`: of models and whatever else a worker does before its first block."""

PARTS: tuple[Stage, ...] = ("weights", "warm_up", "compile", "first_run")
"""What a model tells of its loading. `weights` and `warm_up` are parts of `load`, `compile` is one of
`warm_up`, and `first_run`, a run that warms up, one of the first block.
"""


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """One piece of work of one worker."""

    stage: Stage
    role: str
    """Of the worker: reader, prompter or segmenter, or `all` in a process that does everything."""
    worker: str
    """Host and process."""
    began: float
    """Seconds since 1970."""
    seconds: float
    counts: Mapping[str, int] = field(default_factory=dict)
    """What was used meanwhile, such as `prompt_tokens`."""
    traffic: Mapping[str, int] = field(default_factory=dict)
    """What its process asked of servers since it last told (`files.traffic`)."""
    model: str = ""
    """Of `load` and its parts: prompter or segmenter. Empty: none, or it is not known."""


class Stopwatch:
    """Measures the work of one worker. Readings wait until they are taken along by a block."""

    def __init__(self, role: str) -> None:
        """`role`: as in `StageTime`."""
        self._role = role
        self._readings: list[StageTime] = []
        self._loaded: set[tuple[str, str]] = set()

    def loaded(self, model: str, parts: Mapping[str, float]) -> None:
        """Note how many seconds parts of the loading of a model took, each once. They ended just now."""
        for stage in PARTS:
            if stage in parts and (model, stage) not in self._loaded:
                self._loaded.add((model, stage))
                self._readings.append(
                    StageTime(
                        stage=stage,
                        role=self._role,
                        worker=worker_name(),
                        began=time.time() - parts[stage],
                        seconds=parts[stage],
                        model=model,
                    )
                )

    @contextmanager
    def at(self, stage: Stage, model: str = "") -> Iterator[dict[str, int]]:
        """Measure the body. Yields a dictionary for its counts. An error in the body leaves no reading."""
        began = time.time()
        start = time.monotonic()
        counts = dict[str, int]()
        yield counts
        self._readings.append(
            StageTime(
                stage=stage,
                role=self._role,
                worker=worker_name(),
                began=began,
                seconds=time.monotonic() - start,
                counts=counts,
                traffic=traffic.take(),
                model=model,
            )
        )

    def take(self, before: str = "[]") -> str:
        """Add the readings to those of earlier steps, and forget them. `before`: as this returns it."""
        readings = [asdict(reading) for reading in self._readings]
        self._readings = []
        return json.dumps([*json.loads(before), *readings])


def load_times(model: object) -> Mapping[str, float]:
    """Ask a model how long parts of its loading took, in seconds. Empty: it does not tell."""
    told: Callable[[], Mapping[str, float]] = getattr(model, "load_times", dict)
    return told()


class Meter:
    """Tells what a model used since it was last asked, if it counts that."""

    def __init__(self, model: object) -> None:
        """`model`: counts in `usage()`, a dictionary of sums since it was loaded."""
        self._usage: Callable[[], Mapping[str, int]] = getattr(model, "usage", dict)
        self._before = dict[str, int]()

    def since(self) -> dict[str, int]:
        """Count what was used since the last call."""
        now = dict(self._usage())
        used = {name: count - self._before.get(name, 0) for name, count in now.items()}
        self._before = now
        return used


def read_times(text: str) -> list[StageTime]:
    """Undo `Stopwatch.take`."""
    return [StageTime(**row) for row in json.loads(text)]


@cache
def worker_name() -> str:
    """Name this process, by host and number."""
    return f"{socket.gethostname()}:{os.getpid()}"
