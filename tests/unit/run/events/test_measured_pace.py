"""Starts whose pace is worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from event_worlds import events, reading

from pipeline.run.events.event_log import Event
from pipeline.run.events.measured_pace import measured_starts, pace_of, with_runner

T3 = 3.182446305284263
"""97.5 % quantile of Student's t with three degrees of freedom, as tables have it."""


def block(name: str, found: int, empty: int, *times: dict[str, Any], nodata: int = 0) -> dict[str, Any]:
    counts = {"found": found, "empty": empty + nodata, "nodata": nodata, "failed": 0}
    return {"block": name, **counts, "times": list(times)}


def one_process(
    segment_s: list[float], found: list[int], *, name: str = "1", step_s: float = 5.0
) -> list[Event]:
    """Blocks of four tiles, one every `step_s` seconds from 12 on. Read 1 s, asked 2 s. 8 s of publishing."""
    told = []
    for number, (seconds, objects) in enumerate(zip(segment_s, found, strict=True)):
        began = 5.0 + step_s * number
        times = [
            reading("read", "h:a", began, 1.0),
            reading("prompt", "h:a", began + 1.0, 2.0),
            reading("segment", "h:a", began + 3.0, seconds),
        ]
        told.append((12.0 + step_s * number, "block", block(f"b{number}", objects, 4 - objects, *times)))
    end = told[-1][0]
    return events(
        name,
        (0.0, "started", {}),
        (2.0, "inference", {"tiles": 4 * len(told), "done": 0}),
        *told,
        (end, "publishing", {}),
        (end + 8.0, "published", {}),
        (end + 9.0, "ended", {}),
    )


def test_one_process_is_as_fast_as_its_clock_was() -> None:
    """16 tiles in 20 s of the clock and 16 s of work; 10 s of starting, 3 s around it."""
    (start,) = measured_starts(one_process([2.0, 0.0, 2.0, 0.0, 2.0], [2] * 5))
    assert (start.runner, start.workers, start.first_tiles, start.tiles) == ("local", (1, 1, 1), 4, 16)
    assert [one.seconds for one in start.blocks] == [(1, 2, 0), (1, 2, 2), (1, 2, 0), (1, 2, 2)]
    pace = pace_of([start], runner="local", workers=(1, 1, 1))
    assert pace.starting_s == pytest.approx(10 + 3)
    assert pace.per_tile_s == pytest.approx(20 / 16)
    assert pace.publishing_per_tile_s == pytest.approx(8 / 20)
    assert pace.working_s(44) == pytest.approx(50), "the first four tiles are in starting"
    assert pace.working_s(3) == 0
    assert pace.by_state is None, "all blocks have the same tiles"


def test_the_range_is_that_of_a_ratio_of_clusters() -> None:
    """Blocks of 3, 5, 3 and 5 s of work, 25 % more on the clock: each is 1.25 s from its mean of 5."""
    pace = pace_of(measured_starts(one_process([2, 0, 2, 0, 2], [2] * 5)), runner="local", workers=(1, 1, 1))
    deviation = math.sqrt(4 * 1.25**2 / 3)
    assert pace.deviation_s == pytest.approx(deviation)
    assert pace.spread_s(44) == pytest.approx(T3 * deviation * math.sqrt(10 + 100 / 4))
    assert pace.spread_s(4) == 0


def test_starting_has_a_range_once_it_was_measured_twice() -> None:
    """Starts of 13 s and of 16 s: 14.5 s, with a standard deviation of 3 / sqrt(2). t with one degree of
    freedom is 12.7062.
    """
    quick = measured_starts(one_process([1.0] * 5, [2] * 5))
    late = [
        Event(
            start="2",
            time=event.time + 3.0 * (event.event != "started"),
            event=event.event,
            values=event.values,
        )
        for event in one_process([1.0] * 5, [2] * 5)
    ]
    assert pace_of(quick, runner="local", workers=(1, 1, 1)).starting_spread_s is None
    pace = pace_of([*quick, *measured_starts(late)], runner="local", workers=(1, 1, 1))
    assert pace.starting_s == pytest.approx(14.5)
    assert pace.starting_spread_s == pytest.approx(12.7062 * 3 / math.sqrt(2) * math.sqrt(1.5), rel=1e-5)


def test_found_tiles_and_empty_ones_are_told_apart_where_blocks_differ() -> None:
    """3 s for four empty tiles, 5 s for four with objects."""
    found = [2, 0, 4, 0, 4, 0, 4]
    told = one_process([2.0, 0.0, 2.0, 0.0, 2.0, 0.0, 2.0], found)
    pace = pace_of(measured_starts(told), runner="local", workers=(1, 1, 1))
    assert pace.by_state is not None
    assert pace.by_state[:2] == pytest.approx((1.25 * 5 / 4, 1.25 * 3 / 4))
    assert math.isnan(pace.by_state[2]), "no tile was unseen"


def test_tiles_that_no_model_saw_are_a_state_of_their_own() -> None:
    told = one_process([1.0] * 5, [2] * 5)
    for event in told:
        if event.event == "block":
            event.values["nodata"] = 1
    assert measured_starts(told)[0].blocks[0].states == (2, 1, 1, 0)


def pools(prompters: int) -> list[Event]:
    """Four tiles a block. Each is 8 s at the one of two prompters, half of the time beside another block,
    and comes through every 3 s.
    """
    told = []
    for number in range(6):
        worker = f"h:p{number % 2}"
        times = [
            reading("read", "h:r", 3.0 * number, 1.0),
            reading("prompt", worker, 10.0 + 3.0 * number, 8.0),
            reading("segment", "h:s", 20.0 + 3.0 * number, 2.0),
        ]
        told.append((22.0 + 3.0 * number, "block", block(f"b{number}", 1, 3, *times)))
    actors = {"reader": 1, "prompter": prompters, "segmenter": 1}
    first = (0.0, "inference", {"tiles": 24, "done": 0})
    return events("1", first, (1.0, "pools", {"reserved_gpus": 0.0, "actors": actors}), *told)


def test_blocks_that_a_worker_has_at_once_share_its_time() -> None:
    """A prompter is busy from 10 to 30 with three blocks of 8 s: 20 s of 24."""
    (start,) = measured_starts(pools(2))
    assert (start.runner, start.workers) == ("ray", (1, 2, 1))
    assert start.blocks[0].seconds == pytest.approx((1.0, 8 * 20 / 24, 2.0))
    assert start.publishing_s == 0, "it did not come so far"


def test_the_slowest_pool_sets_the_pace_and_more_of_it_help_until_another_is_slowest() -> None:
    """Per tile 0.25 s of reading, 5/3 s of asking by two, 0.5 s of segmenting. 15 s for 20 tiles are 0.75 s,
    of which the prompters explain 5/6: nine tenths.
    """
    starts = measured_starts(pools(2))
    slack = 0.75 / (5 / 3 / 2)
    for prompters, slowest_s in ((1, 5 / 3), (2, 5 / 6), (3, 5 / 9), (8, 0.5)):
        pace = pace_of(starts, runner="ray", workers=(1, prompters, 1))
        assert pace.per_tile_s == pytest.approx(slack * slowest_s), prompters
    twice = pace_of(starts, runner="ray", workers=(1, 2, 1), prompt_share=2.0)
    assert twice.per_tile_s == pytest.approx(slack * 5 / 3)
    alone = pace_of(starts, runner="local", workers=(1, 1, 1))
    assert alone.per_tile_s == pytest.approx(0.25 + 5 / 3 + 0.5), "the slack of Ray is not that of a process"


def test_starts_with_the_same_runner_count_where_there_are_any() -> None:
    here, there = measured_starts(one_process([1.0] * 5, [2] * 5)) + measured_starts(pools(2))
    assert with_runner([here, there], "local") == (here,)
    assert with_runner([here, there], "ray") == (there,)
    assert with_runner([here], "ray") == (here,)


def test_a_start_with_few_blocks_measures_nothing() -> None:
    assert measured_starts(one_process([1.0] * 3, [2] * 3)) == []
    both = [*one_process([1.0] * 3, [2] * 3), *one_process([1.0] * 4, [2] * 4, name="2")]
    assert [start.tiles for start in measured_starts(both)] == [12]
