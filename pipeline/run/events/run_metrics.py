"""What Prometheus sees of a run at work. Every metric follows from the events of its log.

`RunMetrics` hears each event that the driver tells and keeps counters and gauges, all with the label `run`,
the beginning of the run's fingerprint. Ray exports them from the driver's node, with its prefix: the counter
`terraquery_tiles` is `ray_terraquery_tiles_total`. METRICS is the whole list.

Ray forgets a gauge that is not set again, and a run that hangs has no events. So `beating` sets all gauges
anew every BEAT_S seconds. Shares are made of gauges alone: they are set together, and belong to one start,
where a counter of Ray's goes on counting over all starts of a run. When the driver ends gauges disappear;
Prometheus keeps what it has scraped, and the log has everything.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from pipeline.files.traffic import CACHES, SOURCES, STORE_REQUESTS
from pipeline.run.events.stage_times import PARTS

Kind = Literal["counter", "gauge"]

BEAT_S = 1.0
"""Ray collects what was set every `metrics_report_interval_ms`, at most once a second, and forgets what was
not set within the last two of these intervals. A slower beat would leave gaps.
"""

METRICS: Mapping[str, tuple[Kind, str, tuple[str, ...]]] = {
    "terraquery_tiles": ("counter", "Tiles that ended, by state", ("state",)),
    "terraquery_failures": ("counter", "Failed answers, by reason", ("reason",)),
    "terraquery_blocks": ("counter", "Blocks that were committed", ()),
    "terraquery_stage_seconds": ("counter", "Seconds that workers were at a stage", ("stage",)),
    "terraquery_used": ("counter", "Calls, tokens and encodings of the models", ("kind",)),
    "terraquery_requests": ("counter", "Requests that were sent for imagery and catalogues", ("source",)),
    "terraquery_read_bytes": ("counter", "Bytes that came of them", ("source",)),
    "terraquery_retries": ("counter", "Requests that were sent because one was in vain", ("source",)),
    "terraquery_cache_lookups": ("counter", "What was there already, and what was not", ("cache", "result")),
    "terraquery_store_requests": ("counter", "Requests to the bucket of the run", ("kind",)),
    "terraquery_store_bytes": ("counter", "Bytes of their bodies", ("direction",)),
    "terraquery_blocks_left": ("gauge", "Blocks that this start has yet to commit", ()),
    "terraquery_tiles_planned": ("gauge", "Tiles that this start has to do", ()),
    "terraquery_tiles_left": ("gauge", "Tiles of them in blocks that are not committed yet", ()),
    "terraquery_actors": ("gauge", "Actors of each pool", ("role",)),
    "terraquery_reserved_gpus": ("gauge", "GPUs that the pools reserve", ()),
    "terraquery_last_block_time": ("gauge", "When the last block was committed, seconds since 1970", ()),
}
"""Name -> kind, meaning, labels beside `run`."""

TRAFFIC: Mapping[str, tuple[str, dict[str, str]]] = {
    **{f"{source}_requests": ("requests", {"source": source}) for source in SOURCES},
    **{f"{source}_bytes": ("read_bytes", {"source": source}) for source in SOURCES},
    **{f"{source}_retries": ("retries", {"source": source}) for source in (*SOURCES, "store")},
    **{f"{cache}_hits": ("cache_lookups", {"cache": cache, "result": "hit"}) for cache in CACHES},
    **{f"{cache}_misses": ("cache_lookups", {"cache": cache, "result": "miss"}) for cache in CACHES},
    **{f"store_{kind}": ("store_requests", {"kind": kind}) for kind in STORE_REQUESTS},
    **{f"store_{way}_bytes": ("store_bytes", {"direction": way}) for way in ("read", "written")},
}
"""Count of `files.traffic` -> metric and labels."""


class Meters(Protocol):
    """Where numbers go."""

    def add(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Add to a counter; `value` is above 0."""
        ...

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Set a gauge."""
        ...


class RunMetrics:
    """Keeps the metrics of one start."""

    def __init__(self, meters: Meters, run: str, clock: Callable[[], float] = time.time) -> None:
        """`run`: fingerprint of the run, or of the first of several."""
        self._meters = meters
        self._run = run[:16]
        self._clock = clock
        self._left = 0
        self._tiles_left = 0
        self._gauges: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._turn = threading.Lock()

    @contextmanager
    def beating(self, every_s: float = BEAT_S) -> Iterator[None]:
        """Set all gauges again and again while the body runs."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(every_s):
                with self._turn:
                    for (name, labels), value in self._gauges.items():
                        self._meters.set(name, value, dict(labels))

        thread = threading.Thread(target=beat, name="gauges", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def heard(self, event: str, values: Mapping[str, Any]) -> None:
        """Keep what an event says."""
        if event == "inference":
            self._inference(values)
        elif event == "pools":
            self._pools(values)
        elif event == "block":
            self._block(values)
        elif event == "traffic":
            self._traffic(values["counts"])

    def _inference(self, values: Mapping[str, Any]) -> None:
        """The first block is waited for from now on."""
        self._left = values["blocks"]
        self._tiles_left = values["tiles"]
        self._set("terraquery_blocks_left", self._left)
        self._set("terraquery_tiles_planned", values["tiles"])
        self._set("terraquery_tiles_left", self._tiles_left)
        self._set("terraquery_last_block_time", self._clock())

    def _pools(self, values: Mapping[str, Any]) -> None:
        for role, count in values["actors"].items():
            self._set("terraquery_actors", count, role=role)
        self._set("terraquery_reserved_gpus", values["reserved_gpus"])

    def _block(self, values: Mapping[str, Any]) -> None:
        self._left -= 1
        self._tiles_left -= values["found"] + values["empty"] + values["failed"]
        self._set("terraquery_blocks_left", self._left)
        self._set("terraquery_tiles_left", self._tiles_left)
        self._set("terraquery_last_block_time", self._clock())
        self._add("terraquery_blocks", 1)
        states = {
            "found": values["found"],
            "empty": values["empty"] - values["nodata"],
            "unseen": values["nodata"],
            "failed": values["failed"],
        }
        for state, count in states.items():
            self._add("terraquery_tiles", count, state=state)
        for reason, count in Counter(told["reason"] for told in values.get("failures", ())).items():
            self._add("terraquery_failures", count, reason=reason)
        for reading in values["times"]:
            if reading["stage"] in PARTS:
                continue
            self._add("terraquery_stage_seconds", reading["seconds"], stage=reading["stage"])
            for kind, count in reading["counts"].items():
                self._add("terraquery_used", count, kind=kind)
            self._traffic(reading["traffic"])

    def _traffic(self, counts: Mapping[str, int]) -> None:
        for name, count in counts.items():
            metric, labels = TRAFFIC[name]
            self._add(f"terraquery_{metric}", count, **labels)

    def _add(self, name: str, value: float, **labels: str) -> None:
        if value > 0:
            self._meters.add(name, value, {"run": self._run, **labels})

    def _set(self, name: str, value: float, **labels: str) -> None:
        every = {"run": self._run, **labels}
        with self._turn:
            self._gauges[name, tuple(every.items())] = value
            self._meters.set(name, value, every)
