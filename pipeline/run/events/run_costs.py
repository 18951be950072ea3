"""What a run cost, from the events of all its starts: seconds, tiles, tokens, devices, money.

1. A start is cut at its events: *starting* until its first block came through (Ray, processes, models),
   *working* until its last, *publishing*, and what is left (planning, waiting for a lock).
2. A worker is *busy* while it is at a block. Two blocks at once count once. It is *idle* for the rest of the
   working time: waiting for pixels, for answers, or for the end.
3. Devices cost from the moment their pools were sized until the start published or ended, busy or not.
4. Money is the price of an hour of all machines, times the hours of all starts. It is compared with the
   ground that the tiles of the plan cover.

A start that was killed ends with its last event; what it paid after that is not known.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any, Literal

from pipeline.run.events.event_log import ENDS, Event
from pipeline.run.events.stage_times import PARTS, StageTime
from pipeline.write.run_dir import RunDir
from pipeline.write.zoned.zoned_json import read_any_run

End = Literal["ended", "stopped", "failed", "killed or at work"]

HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class RoleUse:
    """How the workers of one pool spent the working time of a start, in seconds of one worker each."""

    workers: int
    load_s: float
    busy_s: float
    idle_s: float


@dataclass(frozen=True, kw_only=True)
class StartCost:
    """One start of a run. Seconds of the clock, unless said otherwise."""

    name: str
    end: End
    error: str
    seconds: float
    starting_s: float
    working_s: float
    publishing_s: float
    blocks: int
    tiles: int
    failed: int
    roles: Mapping[str, RoleUse]
    gpus: float
    gpu_s: float
    """Seconds of one GPU: those reserved, times how long."""
    used: Mapping[str, int]
    """What models counted: calls, tokens."""
    traffic: Mapping[str, int] = field(default_factory=dict)
    """What was asked of servers (`files.traffic`)."""
    loading: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Model -> `load` and those of its parts that the model told -> seconds per worker, on average."""

    @property
    def other_s(self) -> float:
        """Planning, waiting, and what lies between."""
        return max(self.seconds - self.starting_s - self.working_s - self.publishing_s, 0.0)


@dataclass(frozen=True, kw_only=True)
class RunCosts:
    """All starts of a run."""

    starts: tuple[StartCost, ...]
    km2: float | None
    """Ground in the tiles of the plan. None: not known."""
    price_per_hour: float | None = None
    """Of all machines of the run together, in whatever currency."""
    used: Mapping[str, int] = field(default_factory=dict)

    @property
    def traffic(self) -> dict[str, int]:
        """What was asked of servers, over all starts."""
        return dict(sum((Counter(start.traffic) for start in self.starts), Counter()))

    @property
    def seconds(self) -> float:
        """Of the clock, over all starts."""
        return sum(start.seconds for start in self.starts)

    @property
    def gpu_s(self) -> float:
        """Seconds of one GPU, over all starts."""
        return sum(start.gpu_s for start in self.starts)

    @property
    def tiles(self) -> int:
        """Tiles that were worked on; a tile that was done again counts again."""
        return sum(start.tiles for start in self.starts)

    @property
    def money(self) -> float | None:
        """What the machines cost. None: no price was given."""
        return None if self.price_per_hour is None else self.price_per_hour * self.seconds / HOUR_S

    @property
    def money_per_1000_km2(self) -> float | None:
        """None: no price was given, or the ground is not known."""
        return None if self.money is None or not self.km2 else 1000.0 * self.money / self.km2

    def to_dict(self) -> dict[str, Any]:
        """Make a document of it."""
        totals = {
            "seconds": round(self.seconds, 3),
            "tiles": self.tiles,
            "km2": self.km2,
            "gpu_seconds": round(self.gpu_s, 3),
            "used": dict(self.used),
            "traffic": self.traffic,
            "price_per_hour": self.price_per_hour,
            "money": self.money,
            "money_per_1000_km2": self.money_per_1000_km2,
        }
        return {**totals, "starts": [asdict(start) for start in self.starts]}


def costs_of(run_dir: RunDir, events: Sequence[Event], *, price_per_hour: float | None) -> RunCosts:
    """Sum up the events of a run, with the ground that its run.json knows."""
    km2 = read_any_run(run_dir.run_json).searched.get("planned_km2")
    return run_costs(events, km2=km2, price_per_hour=price_per_hour)


def write_costs(run_dir: RunDir, costs: RunCosts) -> None:
    """Write cost.json beside run.json. A store that does not take it costs the document alone."""
    document = json.dumps(costs.to_dict(), indent=1)
    with suppress(OSError):
        run_dir.costs.write_bytes(document.encode())


def run_costs(events: Sequence[Event], *, km2: float | None, price_per_hour: float | None = None) -> RunCosts:
    """Sum up the events of a run, the earliest start first, as `read_events` gives them."""
    starts = tuple(start_cost(list(some)) for _, some in groupby(events, key=lambda event: event.start))
    used = Counter[str]()
    for start in starts:
        used.update(start.used)
    return RunCosts(starts=starts, km2=km2, price_per_hour=price_per_hour, used=dict(used))


def start_cost(events: Sequence[Event]) -> StartCost:
    """Sum up the events of one start, in their order; there is at least one."""
    first = events[0].time
    last = events[-1].time
    blocks = [event for event in events if event.event == "block"]
    inference = _first(events, "inference", first)
    inferred = blocks[-1].time if blocks else inference
    came = blocks[0].time if blocks else inferred
    times = [StageTime(**row) for block in blocks for row in block.values["times"]]
    pools = next((event for event in events if event.event == "pools"), None)
    gpus = 0.0 if pools is None else float(pools.values["reserved_gpus"])
    released = _first(events, "inferred", last)
    used = Counter[str]()
    traffic = Counter[str]()
    for reading in times:
        used.update(reading.counts)
        traffic.update(reading.traffic)
    for event in events:
        if event.event == "traffic":
            traffic.update(event.values["counts"])
    ends = [event for event in events if event.event in ENDS]
    return StartCost(
        name=events[0].start,
        end=ends[-1].event if ends else "killed or at work",  # type: ignore[arg-type]
        error=str(ends[-1].values.get("error", "")) if ends else "",
        seconds=last - first,
        starting_s=came - inference,
        working_s=inferred - came,
        publishing_s=_publishing(events),
        blocks=len(blocks),
        tiles=sum(block.values["found"] + block.values["empty"] + block.values["failed"] for block in blocks),
        failed=sum(block.values["failed"] for block in blocks),
        roles=_roles(times, came, inferred),
        gpus=gpus,
        gpu_s=0.0 if pools is None else gpus * (released - pools.time),
        used=dict(used),
        traffic=dict(traffic),
        loading=_loading(times),
    )


def _loading(times: Iterable[StageTime]) -> dict[str, dict[str, float]]:
    sums: dict[str, dict[str, dict[str, float]]] = {}
    for one in times:
        if one.model:
            by_worker = sums.setdefault(one.model, {}).setdefault(one.stage, {})
            by_worker[one.worker] = by_worker.get(one.worker, 0.0) + one.seconds
    return {
        model: {stage: sum(some.values()) / len(some) for stage, some in stages.items()}
        for model, stages in sums.items()
    }


def _first(events: Sequence[Event], name: str, otherwise: float) -> float:
    return next((event.time for event in events if event.event == name), otherwise)


def _publishing(events: Sequence[Event]) -> float:
    total = 0.0
    begun: float | None = None
    for event in events:
        if event.event == "publishing":
            begun = event.time
        elif begun is not None and event.event in ("published", *ENDS):
            total += event.time - begun
            begun = None
    return total


def _roles(times: Iterable[StageTime], came: float, inferred: float) -> dict[str, RoleUse]:
    """How each pool spent the time between the first and the last block that came through."""
    by_role: dict[str, dict[str, list[StageTime]]] = {}
    for reading in times:
        by_role.setdefault(reading.role, {}).setdefault(reading.worker, []).append(reading)
    return {
        role: RoleUse(
            workers=len(workers),
            load_s=sum(one.seconds for some in workers.values() for one in some if one.stage == "load"),
            busy_s=(busy := sum(busy_seconds(some, came, inferred) for some in workers.values())),
            idle_s=max(len(workers) * (inferred - came) - busy, 0.0),
        )
        for role, workers in by_role.items()
    }


def busy_seconds(readings: Sequence[StageTime], since: float, until: float) -> float:
    """Measure the union of a worker's pieces of work, inside a stretch of time. Loading is none."""
    spans = sorted(
        (max(one.began, since), min(one.began + one.seconds, until))
        for one in readings
        if one.stage not in ("load", *PARTS)
    )
    total = 0.0
    reached = since
    for begin, end in spans:
        total += max(end - max(begin, reached), 0.0)
        reached = max(reached, end)
    return total


def duration_text(seconds: float) -> str:
    """Tell a duration in its largest units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
