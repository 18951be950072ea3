"""What is told of time and money ahead, by measurements that are added up by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from run.events.test_measured_pace import one_process, pools

from pipeline.run.budget import SpendingOptions
from pipeline.run.config import Pool, ResourceOptions
from pipeline.run.events.measured_pace import measured_starts
from pipeline.run.forecast import HOW_TO_MEASURE, OPEN_POOLS, Ahead, Measurement, forecast

AHEAD = Ahead(
    tiles=44, blocks=11, all_tiles=44, km2=50.0, queries=1, runner="local", resources=ResourceOptions()
)
HERE = Measurement(
    place="/data/part", starts=tuple(measured_starts(one_process([2, 0, 2, 0, 2], [2] * 5))), queries=1
)
THERE = Measurement(place="s3://b/part", starts=tuple(measured_starts(pools(2))), queries=1)


def test_time_money_and_what_they_rest_on() -> None:
    """13 s + 40 tiles of 1.25 s + 44 of 0.4 s = 80.6 s; the range is 27.2 s on either side."""
    text = forecast(AHEAD, HERE, SpendingOptions(price_per_hour=3600.0))
    assert text.splitlines() == [
        "estimate    1 min 21 s (53.4 s to 1 min 48 s)",
        "  of it     starting 13.0 s, working 50.0 s, publishing 17.6 s",
        "money       80.60 (53.42 to 107.78) at 3600 per hour; 1,612.00 per 1,000 km2",
        "measured    16 tiles in 4 blocks of 1 start of /data/part: 1.25 s per tile; the range holds for "
        "95 % of the areas whose blocks are like these; starting was measured once, so the range is without "
        "its",
        "tiles were  50 % found, 50 % empty; blocks are too few or too alike to tell what each of them costs",
        "assumed     machines as fast and as free as for the measured run, imagery and ground like its; "
        "publishing takes as long per tile as there; planning, which comes before, is not in it",
    ]


def test_without_a_measurement_there_is_no_number() -> None:
    text = forecast(AHEAD, None, SpendingOptions(price_per_hour=3600.0))
    assert text == f"estimate  {HOW_TO_MEASURE}"


def test_without_a_price_there_is_no_money_and_without_all_tiles_no_price_of_the_ground() -> None:
    assert "money" not in forecast(AHEAD, HERE, SpendingOptions())
    part = replace(AHEAD, tiles=24)
    text = forecast(part, HERE, SpendingOptions(price_per_hour=3600.0))
    assert "starting 13.0 s, working 25.0 s, publishing 17.6 s" in text, "all tiles are published"
    assert "per 1,000 km2" not in text


def test_what_tiles_cost_by_state_gives_the_ends() -> None:
    starts = measured_starts(one_process([2.0, 0.0, 2.0, 0.0, 2.0, 0.0, 2.0], [2, 0, 4, 0, 4, 0, 4]))
    text = forecast(AHEAD, replace(HERE, starts=tuple(starts)), SpendingOptions())
    fixed = 13 + 44 * 8 / 28
    assert "one with objects takes 1.56 s, an empty one 0.93" in text  # 1.5625 s and 0.9375 s
    assert f"{fixed + 40 * 1.5625 - 60:.0f} s if all had objects" in text.replace("1 min ", "")
    assert f"1 min {fixed + 40 * 0.9375 - 60:02.0f} s if none had" in text


def test_pools_of_a_number_scale_the_pace_and_open_ones_are_as_there() -> None:
    """Slack 0.9: 1.5 s a tile with one prompter, 0.75 s with two."""
    one = replace(AHEAD, runner="ray", resources=ResourceOptions(prompter=Pool(actors=1)))
    assert ": 1.5 s per tile" in forecast(one, THERE, SpendingOptions())
    open_pools = ResourceOptions(prompter=Pool(actors="auto"), segmenter=Pool(actors="auto"))
    text = forecast(replace(one, resources=open_pools), THERE, SpendingOptions())
    assert ": 0.75 s per tile" in text
    assert "assumed     2 prompters, 1 segmenter, as there; machines" in text
    few = replace(one, resources=open_pools, blocks=1)
    assert ": 1.5 s per tile" in forecast(few, THERE, SpendingOptions()), "a block keeps one prompter busy"
    assert forecast(replace(one, resources=open_pools), HERE, SpendingOptions()) == f"estimate  {OPEN_POOLS}"


def test_other_queries_and_another_runner_are_said() -> None:
    text = forecast(replace(AHEAD, queries=3), THERE, SpendingOptions())
    assert "asking takes 3 times as long with 3 queries for 1" in text
    assert "measured with another runner than local, whose slowest pool never waits" in text


@pytest.mark.parametrize("tiles", [0, 4])
def test_what_is_nearly_done_needs_its_start_and_its_publishing(tiles: int) -> None:
    text = forecast(replace(AHEAD, tiles=tiles), HERE, SpendingOptions())
    assert text.startswith("estimate    30.6 s (30.6 s to 30.6 s)\n")


def test_a_limit_that_does_not_last_is_told() -> None:
    """80.6 s, at most 107.8 s; one unit of money a second."""

    def told(max_cost: float) -> str:
        return forecast(AHEAD, HERE, SpendingOptions(price_per_hour=3600.0, max_cost=max_cost))

    assert (
        "\nlimit       --max-cost 60 will probably stop it: it lasts for 1 min 00 s of all starts\n"
        in told(60)
    )
    assert "\nlimit       --max-cost 90 may stop it: it lasts for 1 min 30 s of all starts\n" in told(90)
    assert "limit" not in told(120)


def test_a_measurement_without_objects_is_a_lower_bound() -> None:
    starts = measured_starts(one_process([1.0] * 5, [0] * 5))
    text = forecast(AHEAD, replace(HERE, starts=tuple(starts)), SpendingOptions())
    assert "\ntiles were  100 % empty; none had objects, which take longer: this is a lower bound\n" in text
