"""How long a planned run would take and what it would cost, by what runs like it took. For `--dry-run`.

1. The measurement is that of the run named by `--measured-by`, or that of earlier starts in --out. It must be
   of the same models, looks and tiles.
2. `measured_pace` makes a pace of it, for the pools and the number of queries of the plan.
3. `forecast` multiplies it with the tiles that are left, and says how sure that is and what it takes for
   granted. Without a measurement it says how to get one. There is no number that was not measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely

from pipeline.errors import InputError
from pipeline.run.budget import SpendingOptions
from pipeline.run.config import ResourceOptions, Runner
from pipeline.run.events.event_log import read_events
from pipeline.run.events.measured_pace import (
    LEAST_BLOCKS,
    STAGE_ROLES,
    STAGES,
    STATES,
    MeasuredStart,
    Pace,
    measured_starts,
    pace_of,
    with_runner,
)
from pipeline.run.events.run_costs import HOUR_S, duration_text
from pipeline.run.prepare import PlannedRun
from pipeline.run.rehearsal import Rehearsal
from pipeline.run.summary import table
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.plan_table import core_edges
from pipeline.write.run_dir import RunDir
from pipeline.write.zoned.zoned_json import read_any_run

SAME = ("prompter", "segmenter", "gate", "verifier", "tiles")
"""Parameters of a run that its pace depends on."""

HOW_TO_MEASURE = (
    "none: no run with these models and tiles was measured. Run a small part of the area first, with an "
    "--out of its own, and name that as --measured-by"
)


OPEN_POOLS = (
    "none: the measured run was one process, and how many actors there will be is left to the cluster "
    "(auto). Measure with --runner ray on a cluster like it, or set actors under [resources]"
)


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What a start has before it."""

    tiles: int
    """To be done."""
    blocks: int
    all_tiles: int
    """Of the run, with those that are done."""
    km2: float | None
    """Ground in the tiles of the plan."""
    queries: int
    runner: Runner
    resources: ResourceOptions


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was measured, and of which run."""

    place: str
    starts: tuple[MeasuredStart, ...]
    queries: int


def find_measurement(plans: Sequence[PlannedRun], root: RunDir, named: str | None) -> Measurement | None:
    """Find the measurement for a run, or for the runs of all zones. `root`: its directory. `named`: what
    --measured-by says.

    None: there is none. Raises InputError when the named run measures nothing, or something else.
    """
    place = RunDir(named) if named is not None else root
    if not place.has_run() or not place.run_json.exists():
        if named is None:
            return None
        raise InputError(
            "--measured-by must be a run directory", came=named, remedy="name the --out of a run"
        )
    info = read_any_run(place.run_json)
    differs = _differences(info.parameters, plans[0].parameters)
    starts = [] if differs else measured_starts(read_events(place))
    if named is not None and differs:
        raise InputError(
            f"--measured-by must be a run with the same {', '.join(differs)}",
            came=named,
            remedy="name a run of the same preset and options, or run a small part of the area first",
        )
    if named is not None and not starts:
        raise InputError(
            f"--measured-by must be a run of which one start did at least {LEAST_BLOCKS} blocks",
            came=named,
            remedy="run a larger part of the area first",
        )
    if not starts:
        return None
    return Measurement(place=str(place.path), starts=tuple(starts), queries=len(info.queries))


def _differences(measured: Mapping[str, Any], planned: Mapping[str, Any]) -> list[str]:
    """Name the parameters that the pace depends on, and in which two runs differ."""
    return [name for name in SAME if _pacing_part(name, measured) != _pacing_part(name, planned)]


def _pacing_part(name: str, parameters: Mapping[str, Any]) -> object:
    """A parameter, less what tells one label raster or file of locations from another: those are as fast.
    Runs of several zones do not name theirs.
    """
    value = json.loads(json.dumps(parameters.get(name)))  # as run.json has it: lists for tuples
    if name not in ("prompter", "segmenter"):
        return value
    kind = "oracle" if value is None else value["kind"]
    return kind if kind in ("oracle", "vector") else value


def what_is_ahead(plans: Sequence[PlannedRun], rehearsals: Sequence[Rehearsal]) -> Ahead:
    """Add up what a run, or the runs of all zones, would have to do."""
    tiles = blocks = 0
    for plan, rehearsal in zip(plans, rehearsals, strict=True):
        left = rehearsal.left
        tiles += plan.plan.n_tiles if left is None else sum(len(block.tiles) for block in left.blocks)
        blocks += plan.estimate.blocks if left is None else len(left.blocks)
    grounds = [ground_km2(plan) for plan in plans]
    known = [km2 for km2 in grounds if km2 is not None]
    config = plans[0].request.config
    return Ahead(
        tiles=tiles,
        blocks=blocks,
        all_tiles=sum(plan.plan.n_tiles for plan in plans),
        km2=sum(known) if len(known) == len(grounds) else None,
        queries=len(config.queries),
        runner=plans[0].runner.name,
        resources=config.resources,
    )


def ground_km2(plan: PlannedRun) -> float | None:
    """Measure the ground in the tiles of a plan. None: it is not known."""
    lattice = plan.plan.lattice
    row0, col0, row1, col1 = core_edges(lattice, *np.nonzero(plan.plan.inside))
    km2 = float(geodesic_area_m2(shapely.box(col0, row0, col1, row1), lattice.grid).sum()) / 1e6
    return km2 if np.isfinite(km2) else None


def forecast(ahead: Ahead, measured: Measurement | None, spending: SpendingOptions) -> str:
    """Tell time and money of a start, with what they rest on, in a few lines."""
    if measured is None:
        return table({"estimate": HOW_TO_MEASURE})
    measured = replace(measured, starts=with_runner(measured.starts, ahead.runner))
    workers, assumed = _workers(ahead, measured.starts)
    if not workers:
        return table({"estimate": OPEN_POOLS})
    share = ahead.queries / measured.queries
    pace = pace_of(measured.starts, runner=ahead.runner, workers=workers, prompt_share=share)
    publishing_s = pace.publishing_per_tile_s * ahead.all_tiles
    working_s = pace.working_s(ahead.tiles)
    middle = pace.starting_s + working_s + publishing_s
    spread = math.hypot(pace.spread_s(ahead.tiles), pace.starting_spread_s or 0.0)
    low = max(middle - spread, publishing_s)
    high = middle + spread
    rows = {
        "estimate": f"{duration_text(middle)} ({duration_text(low)} to {duration_text(high)})",
        "  of it": f"starting {duration_text(pace.starting_s)}, working {duration_text(working_s)}, "
        f"publishing {duration_text(publishing_s)}",
        **_money(spending, ahead, (low, middle, high)),
        **_limit(spending, middle, high),
        "measured": _measured_text(measured, pace),
        **_states(pace, ahead, middle - working_s, measured.starts),
        "assumed": "; ".join([*assumed, *_assumptions(ahead, measured, share)]),
    }
    return table(rows)


def _workers(ahead: Ahead, starts: Sequence[MeasuredStart]) -> tuple[list[int], list[str]]:
    """Workers by stage, and what is assumed about those that the cluster will settle. Empty: they are not
    known.
    """
    if ahead.runner == "local":
        return [1] * len(STAGES), []
    known = starts[-1].workers
    workers = []
    open_roles = []
    for stage, there in zip(STAGES, known, strict=True):
        role = STAGE_ROLES[stage]
        actors = ahead.resources.pool(role).actors
        if actors == "auto" and starts[-1].runner == "local":
            return [], []
        if actors == "auto":
            open_roles.append(f"{there} {role}{'' if there == 1 else 's'}")
        workers.append(max(min(there if actors == "auto" else actors, ahead.blocks), 1))
    return workers, [f"{', '.join(open_roles)}, as there"] if open_roles else []


def _money(spending: SpendingOptions, ahead: Ahead, seconds: tuple[float, float, float]) -> dict[str, str]:
    price = spending.price_per_hour
    if price is None:
        return {}
    low, middle, high = (price * some / HOUR_S for some in seconds)
    text = f"{middle:,.2f} ({low:,.2f} to {high:,.2f}) at {price:g} per hour"
    if ahead.km2 and ahead.tiles == ahead.all_tiles:
        text += f"; {1000 * middle / ahead.km2:,.2f} per 1,000 km2"
    return {"money": text}


def _limit(spending: SpendingOptions, middle: float, high: float) -> dict[str, str]:
    """Whether a limit of spending would stop the run."""
    limit_s = spending.limit_s
    if limit_s >= high:
        return {}
    how = "will probably" if limit_s < middle else "may"
    return {
        "limit": f"{spending.limit_text()} {how} stop it: it lasts for {duration_text(limit_s)} of all starts"
    }


def _measured_text(measured: Measurement, pace: Pace) -> str:
    tiles = sum(start.tiles for start in measured.starts)
    n = len(measured.starts)
    once = "; starting was measured once, so the range is without its" if n == 1 else ""
    return (
        f"{tiles:,} tiles in {pace.n_blocks:,} blocks of {n} start{'' if n == 1 else 's'} of "
        f"{measured.place}: {pace.per_tile_s:.3g} s per tile; the range holds for 95 % of the areas whose "
        f"blocks are like these{once}"
    )


def _states(pace: Pace, ahead: Ahead, fixed_s: float, starts: Sequence[MeasuredStart]) -> dict[str, str]:
    """How the estimate hangs on how much is found."""
    counts = np.sum([block.states for start in starts for block in start.blocks], axis=0)
    shares = ", ".join(
        f"{100 * count / counts.sum():.0f} % {name}"
        for name, count in zip(STATES, counts, strict=True)
        if count
    )
    if not counts[STATES.index("found")]:
        return {"tiles were": f"{shares}; none had objects, which take longer: this is a lower bound"}
    if pace.by_state is None:
        return {"tiles were": f"{shares}; blocks are too few or too alike to tell what each of them costs"}
    found, empty = pace.by_state[:2]
    tiles = max(ahead.tiles - pace.first_tiles, 0.0)
    all_found, all_empty = (duration_text(fixed_s + one * tiles) for one in (found, empty))
    return {
        "tiles were": f"{shares}; one with objects takes {found:.3g} s, an empty one {empty:.3g} s: "
        f"{all_found} if all had objects, {all_empty} if none had"
    }


def _assumptions(ahead: Ahead, measured: Measurement, share: float) -> list[str]:
    """What the estimate takes for granted."""
    told = ["machines as fast and as free as for the measured run, imagery and ground like its"]
    if share != 1.0:
        told.append(
            f"asking takes {share:.3g} times as long with {ahead.queries} queries for {measured.queries}"
        )
    if all(start.runner != ahead.runner for start in measured.starts):
        told.append(f"measured with another runner than {ahead.runner}, whose slowest pool never waits")
    told.append("publishing takes as long per tile as there")
    told.append("planning, which comes before, is not in it")
    return told
