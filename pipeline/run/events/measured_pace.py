"""How fast a run was, from the events of its starts, and how fast another one would be.

1. `measured_starts` takes the starts that did at least LEAST_BLOCKS blocks. The clock of a start is cut as in
   `run_costs`. Its first block belongs to starting: with it come warm-ups.
2. The *work* of a block is what each stage had of one worker, in seconds. Blocks that a worker had at once
   share its time.
3. The slowest pool sets the pace: its work per tile, divided by its workers. Where one process does all, the
   stages add up. How much longer the clock took than that is the *slack* of the measured starts; another run
   with the same runner is taken to have the same.
4. Blocks differ. `Pace.spread_s` is the half-width of the 95 % interval for as many other blocks of the same
   kind: of their mean, and of their sum around it (a ratio estimate with blocks as clusters, Cochran,
   Sampling Techniques, 1977, 6.3).
5. Tiles with objects cost more than empty ones. `by_state` parts the work of blocks between the states of
   their tiles by least squares without negative seconds, where blocks differ enough for that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pipeline.run.config import Role, Runner
from pipeline.run.events.event_log import Event
from pipeline.run.events.run_costs import busy_seconds, start_cost
from pipeline.run.events.stage_times import Stage, StageTime

LEAST_BLOCKS = 4
"""A start with fewer measures nothing: one is its first, and a spread needs several."""

STAGES: tuple[Stage, ...] = ("read", "prompt", "segment")
STAGE_ROLES: Mapping[Stage, Role] = {"read": "reader", "prompt": "prompter", "segment": "segmenter"}
STATES = ("found", "empty", "unseen", "failed")
"""Of tiles; `unseen`: no model looked at it. Failed tiles may have cost anything."""

_LEVEL = 0.975
"""Quantile of a two-sided interval of 95 %."""

_BLOCKS_PER_STATE = 3
"""Least number of blocks for every state that is told apart."""


@dataclass(frozen=True, kw_only=True)
class BlockWork:
    """What a block cost."""

    states: tuple[int, ...]
    """Tiles by state, as STATES."""
    seconds: tuple[float, ...]
    """Of one worker, by stage, as STAGES."""

    @property
    def tiles(self) -> int:
        return sum(self.states)


@dataclass(frozen=True, kw_only=True)
class MeasuredStart:
    """A start that measures."""

    runner: Runner
    workers: tuple[int, ...]
    """By stage; ones where one process did all."""
    starting_s: float
    working_s: float
    other_s: float
    publishing_s: float
    """0: it did not come so far."""
    published_tiles: int
    """Tiles of the run, those of earlier starts included."""
    first_tiles: int
    """Tiles of the first block."""
    blocks: tuple[BlockWork, ...]
    """All but the first."""

    @property
    def tiles(self) -> int:
        """Tiles of the working time."""
        return sum(block.tiles for block in self.blocks)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a start would be, by what was measured. `tiles` are those that it has to do."""

    starting_s: float
    starting_spread_s: float | None
    """Half-width of the 95 % interval of another start's. None: it was measured once."""
    per_tile_s: float
    """Of the clock."""
    publishing_per_tile_s: float
    first_tiles: float
    """Tiles of the first block, whose time is in `starting_s`."""
    block_tiles: float
    """Tiles of a measured block."""
    deviation_s: float
    """Standard deviation of a block from `per_tile_s`, in seconds of the clock."""
    n_blocks: int
    """Measured blocks behind it."""
    by_state: tuple[float, ...] | None
    """`per_tile_s` if all tiles were of one state, as STATES; NaN for a state that was not seen. None: blocks
    are too alike, or too few.
    """

    def working_s(self, tiles: int) -> float:
        """From the first block to the last."""
        return self.per_tile_s * max(tiles - self.first_tiles, 0.0)

    def spread_s(self, tiles: int) -> float:
        """Half-width of the interval of `working_s`, for blocks that are like those measured."""
        blocks = max(tiles - self.first_tiles, 0.0) / self.block_tiles
        deviation = self.deviation_s * math.sqrt(blocks + blocks**2 / self.n_blocks)
        return _quantile(self.n_blocks) * deviation


def measured_starts(events: Sequence[Event]) -> list[MeasuredStart]:
    """Take the starts that measure something, the earliest first. `events`: as `read_events` gives them."""
    found = []
    for _, some in groupby(events, key=lambda event: event.start):
        start = list(some)
        if sum(event.event == "block" for event in start) >= LEAST_BLOCKS:
            found.append(_measured(start))
    return found


def with_runner(starts: Sequence[MeasuredStart], runner: Runner) -> tuple[MeasuredStart, ...]:
    """Take the starts with a runner. None has it: all."""
    return tuple(start for start in starts if start.runner == runner) or tuple(starts)


def pace_of(
    starts: Sequence[MeasuredStart], *, runner: Runner, workers: Sequence[int], prompt_share: float = 1.0
) -> Pace:
    """Work out the pace of a run. `starts`: at least one, as `with_runner` gives them. `workers`: by stage,
    as STAGES. `prompt_share`: how much is asked per tile, of what was asked there.
    """
    share = np.array([1.0, prompt_share, 1.0])
    blocks = [block for start in starts for block in start.blocks]
    work = np.array([block.seconds for block in blocks])
    tiles = np.array([block.tiles for block in blocks], dtype=np.float64)
    mean = work.sum(axis=0) / tiles.sum()
    modelled = sum(start.tiles * _clock(mean, start.runner, start.workers) for start in starts)
    known = bool(modelled) and starts[0].runner == runner
    slack = sum(start.working_s for start in starts) / modelled if known else 1.0
    slowest = int(np.argmax(mean * share / np.array(workers)))
    pacing = _pacing(runner, slowest, share, workers)
    own = work @ pacing * slack
    per_tile = float(own.sum() / tiles.sum())
    by_state = _by_state(blocks, work)
    starting = [start.starting_s + start.other_s for start in starts]
    return Pace(
        starting_s=float(np.mean(starting)),
        starting_spread_s=None
        if len(starting) < 2
        else _quantile(len(starting)) * float(np.std(starting, ddof=1)) * math.sqrt(1 + 1 / len(starting)),
        per_tile_s=per_tile,
        publishing_per_tile_s=_publishing(starts),
        first_tiles=float(np.mean([start.first_tiles for start in starts])),
        block_tiles=float(tiles.mean()),
        deviation_s=float(np.sqrt(((own - per_tile * tiles) ** 2).sum() / (len(blocks) - 1))),
        n_blocks=len(blocks),
        by_state=None
        if by_state is None
        else tuple(slack * _clock(state * share, runner, workers) for state in by_state),
    )


def _quantile(n: int) -> float:
    """Student's t of an interval, by `n` measured values."""
    from scipy.stats import t

    return float(t.ppf(_LEVEL, n - 1))


def _publishing(starts: Sequence[MeasuredStart]) -> float:
    """Seconds per tile of the run. 0: no start came so far."""
    tiles = sum(start.published_tiles for start in starts if start.publishing_s)
    return sum(start.publishing_s for start in starts) / tiles if tiles else 0.0


def _clock(work: NDArray[np.float64], runner: Runner, workers: Sequence[int]) -> float:
    """Seconds of the clock for work by stage, when nothing is waited for but the slowest pool."""
    return float(work.sum() if runner == "local" else (work / np.array(workers)).max())


def _pacing(
    runner: Runner, slowest: int, share: NDArray[np.float64], workers: Sequence[int]
) -> NDArray[np.float64]:
    """What a second of work at each stage counts on the clock."""
    if runner == "local":
        return share
    weights = np.zeros(len(STAGES))
    weights[slowest] = share[slowest] / workers[slowest]
    return weights


def _by_state(blocks: Sequence[BlockWork], work: NDArray[np.float64]) -> list[NDArray[np.float64]] | None:
    """Work per tile of each state, by stage. None: it cannot be told."""
    from scipy.optimize import nnls

    counts = np.array([block.states for block in blocks], dtype=np.float64)
    seen = np.flatnonzero(counts.sum(axis=0))
    matrix = counts[:, seen]
    both = {STATES.index("found"), STATES.index("empty")} <= set(seen.tolist())
    enough = len(blocks) >= _BLOCKS_PER_STATE * len(seen)
    if not both or not enough or np.linalg.matrix_rank(matrix) < len(seen):
        return None
    told = np.full((len(STATES), len(STAGES)), np.nan)
    for stage in range(len(STAGES)):
        told[seen, stage] = nnls(matrix, work[:, stage])[0]
    return list(told)


def _measured(events: Sequence[Event]) -> MeasuredStart:
    cost = start_cost(events)
    told = [event for event in events if event.event == "block"]
    times = [[StageTime(**row) for row in block.values["times"]] for block in told]
    shares = _shares([reading for some in times for reading in some])
    blocks = []
    for event, readings in zip(told, times, strict=True):
        counts = event.values
        unseen = counts.get("nodata", 0)
        seconds = dict.fromkeys(STAGES, 0.0)
        for one in readings:
            if one.stage in seconds:
                seconds[one.stage] += one.seconds * shares[one.worker]
        states = (counts["found"], counts["empty"] - unseen, unseen, counts["failed"])
        blocks.append(BlockWork(states=states, seconds=tuple(seconds[stage] for stage in STAGES)))
    pools = next((event.values.get("actors", {}) for event in events if event.event == "pools"), None)
    return MeasuredStart(
        runner="local" if pools is None else "ray",
        workers=tuple(int((pools or {}).get(STAGE_ROLES[stage], 1)) for stage in STAGES),
        starting_s=cost.starting_s,
        working_s=cost.working_s,
        other_s=cost.other_s,
        publishing_s=cost.publishing_s if cost.end == "ended" else 0.0,
        published_tiles=next(
            (
                one.values.get("tiles", 0) + one.values.get("done", 0)
                for one in events
                if one.event == "inference"
            ),
            0,
        ),
        first_tiles=blocks[0].tiles,
        blocks=tuple(blocks[1:]),
    )


def _shares(readings: Sequence[StageTime]) -> dict[str, float]:
    """Worker -> busy seconds, of the sum of what its pieces of work took."""
    by_worker: dict[str, list[StageTime]] = {}
    for one in readings:
        if one.stage in STAGES:
            by_worker.setdefault(one.worker, []).append(one)
    shares = {}
    for worker, some in by_worker.items():
        total = sum(one.seconds for one in some)
        shares[worker] = busy_seconds(some, -math.inf, math.inf) / total if total else 1.0
    return shares
