"""Where the time of a run went, and what failed, in words.

1. The starts of the run are told from their logs (`run_costs`): how each ended, and where its seconds went.
2. Every pool's busy share says what the run waited for. The pool that was busy longest is the one to enlarge.
3. Blocks that took far longer than others are named.
4. Failed tiles are counted by reason and error, with what to do. A tile that failed and was done again counts
   by its last event.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from pipeline.errors import InputError
from pipeline.run.events.event_log import Event, read_events
from pipeline.run.events.run_costs import RunCosts, StartCost, costs_of, duration_text
from pipeline.run.events.traffic_text import traffic_rows
from pipeline.run.infer.run_breaker import REMEDIES
from pipeline.run.summary import table
from pipeline.schema.tile_answers import Reason
from pipeline.write.run_dir import RunDir

SLOW_BLOCKS = 5
"""How many of the slowest blocks are named."""

LEAST_SLOW_S = 1.0
"""Nobody cares about a block that took less."""

SLOW_TIMES = 3.0
"""A block is slow when a stage of it took this many times the median of that stage."""

_STAGES = {"read": "reading", "prompt": "asking", "segment": "segmenting"}
_BUSY_SHARE = 0.8


def explain_run(place: str, *, price_per_hour: float | None = None) -> str:
    """Explain a run from its logs. `price_per_hour`: of all its machines together. Raises InputError when it
    is no run, or has no logs.
    """
    run_dir = RunDir(place)
    if not run_dir.has_run():
        raise InputError("explain_run.py needs a run directory", came=place, remedy="name the --out of a run")
    events = read_events(run_dir)
    if not events:
        raise InputError(
            f"{place} has no logs: it was made by an earlier version, or with SOURCE_DATE_EPOCH set",
            remedy="start its command again; coverage.parquet says which tiles failed and why",
        )
    return explain_events(events, costs_of(run_dir, events, price_per_hour=price_per_hour))


def explain_events(events: Sequence[Event], costs: RunCosts) -> str:
    """Explain a run from its events, of which there is at least one."""
    parts = [_starts_text(costs), _pools_text(costs.starts), _slow_text(events), _failures_text(events)]
    return "\n\n".join([*(part for part in parts if part), cost_text(costs)])


def cost_text(costs: RunCosts) -> str:
    """Tell what a run cost, in a few lines."""
    rows = {
        "time": f"{duration_text(costs.seconds)} in {_count(len(costs.starts), 'start')}",
        "tiles": f"{costs.tiles:,} worked on",
    }
    if costs.km2 is not None:
        rows["ground"] = f"{costs.km2:,.3f} km2 in the plan's tiles"
    if costs.used:
        used = (f"{count:,} {name.replace('_', ' ')}" for name, count in costs.used.items())
        rows["models"] = ", ".join(used)
    rows |= traffic_rows(costs.traffic)
    if loading := next((start.loading for start in reversed(costs.starts) if start.loading), None):
        rows["loading"] = "; ".join(loading_text(model, seconds) for model, seconds in loading.items())
    if costs.gpu_s:
        rows["GPUs"] = f"{costs.gpu_s:,.0f} seconds of one GPU, reserved"
    if costs.money is not None:
        per = costs.money_per_1000_km2
        rows["money"] = f"{costs.money:,.2f} at {costs.price_per_hour:g} per hour"
        if per is not None:
            rows["money"] += f"; {per:,.2f} per 1,000 km2"
        starting = sum(start.starting_s for start in costs.starts)
        if starting > costs.seconds / 2:
            rows["money"] += f", {100 * starting / costs.seconds:.0f} % of it for starting, at any size"
    return table(rows)


def loading_text(model: str, seconds: Mapping[str, float]) -> str:
    """Tell how long a model loaded in a worker, and of that the parts that it told."""
    words = {"weights": "weights", "warm_up": "warming up", "compile": "compiling, in it,"}
    known = [f"{text} {duration_text(seconds[part])}" for part, text in words.items() if part in seconds]
    told = f"{model} {duration_text(seconds.get('load', 0.0))}"
    told += f" ({', '.join(known)})" if known else ""
    first = seconds.get("first_run")
    return told if first is None else f"{told}, first run {duration_text(first)}"


def _starts_text(costs: RunCosts) -> str:
    lines = []
    for start in costs.starts:
        spent = {
            "starting (Ray, processes, models)": start.starting_s,
            "working": start.working_s,
            "publishing": start.publishing_s,
            "other": start.other_s,
        }
        parts = ", ".join(f"{name} {duration_text(s)}" for name, s in spent.items() if s >= 0.05)
        done = f"{_count(start.blocks, 'block')}, {_count(start.tiles, 'tile')}, {start.failed} failed"
        name = start.name.removesuffix(".jsonl")
        lines.append(f"start {name}: {start.end} after {duration_text(start.seconds)}")
        lines.append(f"  {done}")
        if parts:
            lines.append(f"  {parts}")
        if start.error:
            lines.append(f"  {start.error}")
    return "\n".join(lines)


def _pools_text(starts: Sequence[StartCost]) -> str:
    """The busy share of each pool in the start that worked longest."""
    start = max(starts, key=lambda start: start.working_s)
    shares = {}
    rows = {}
    for role, use in start.roles.items():
        whole = use.busy_s + use.idle_s
        if not whole:
            continue
        shares[role] = use.busy_s / whole
        load = f", after {duration_text(use.load_s / use.workers)} of loading each" if use.load_s else ""
        name = "all steps" if role == "all" else f"{role}s"
        busy = f"busy {100 * shares[role]:.0f} % of the working time"
        rows[name] = f"{_count(use.workers, 'worker')}, {busy}{load}"
    if not rows:
        return ""
    text = "pools in the start that worked longest\n" + table(rows)
    slowest = max(shares, key=lambda role: shares[role])
    if len(shares) > 1 and shares[slowest] >= _BUSY_SHARE:
        text += f"\nthe run waited for its {slowest}s; more of them, or faster ones, would shorten it"
    return text


def _slow_text(events: Sequence[Event]) -> str:
    """Blocks of which a stage took far longer than usual."""
    blocks = [event for event in events if event.event == "block"]
    by_stage: dict[str, list[tuple[float, str, str]]] = defaultdict(list)
    for block in blocks:
        for reading in block.values["times"]:
            if reading["stage"] in _STAGES:
                entry = (reading["seconds"], block.values["block"], reading["worker"])
                by_stage[reading["stage"]].append(entry)
    slow = list[tuple[float, str]]()
    for stage, entries in by_stage.items():
        usual = median(seconds for seconds, _, _ in entries)
        for seconds, name, worker in entries:
            if seconds > SLOW_TIMES * usual and seconds > LEAST_SLOW_S:
                took = f"{_STAGES[stage]} of {name} took {duration_text(seconds)} on {worker}"
                slow.append((seconds, f"{took} (usually {duration_text(usual)})"))
    if not slow:
        return ""
    return "\n".join(["slow blocks", *(f"  {text}" for _, text in sorted(slow, reverse=True)[:SLOW_BLOCKS])])


def _failures_text(events: Sequence[Event]) -> str:
    last: dict[str, Event] = {}
    for event in events:
        if event.event == "block":
            last[event.values["block"]] = event
    failures = [(block, told) for block, event in last.items() for told in event.values.get("failures", ())]
    if not failures:
        return "no tile failed" if last else ""
    counts = Counter((told["reason"], told["error"]) for _, told in failures)
    where: dict[tuple[str, str], str] = {}
    for _, told in failures:
        where.setdefault((told["reason"], told["error"]), told["tile"])
    lines = [f"{_count(len(failures), 'failed answer')}, by reason"]
    for (reason, error), n in counts.most_common():
        lines.append(f"  {n} x {reason}: {error or 'without a word'} (first: tile {where[reason, error]})")
        to_do = f"{REMEDIES[Reason(reason)]}, then start the same command with --retry-failed"
        lines.append(f"      to do: {to_do}")
    return "\n".join(lines)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
