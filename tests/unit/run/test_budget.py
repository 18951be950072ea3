"""Limits of spending, added up by hand."""

from __future__ import annotations

import math

import pytest
from event_worlds import events

from pipeline.errors import InputError
from pipeline.run import budget as module
from pipeline.run.budget import Budget, SpendingOptions, open_budget
from pipeline.run.events.event_log import Event


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock; it begins at 1000."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def earlier_starts() -> list[Event]:
    """Half an hour and a quarter of an hour of run `a`, a day of run `b`, and a start of an old version."""
    return [
        *events("1", (0.0, "started", {"runs": ["a"]}), (1800.0, "failed", {})),
        *events("2", (5000.0, "started", {"runs": ["b"]}), (91400.0, "ended", {})),
        *events("3", (100000.0, "started", {"runs": ["a"]}), (100900.0, "block", {})),
        *events("4", (200000.0, "started", {}), (300000.0, "ended", {})),
    ]


def test_money_is_hours_and_the_lower_limit_counts() -> None:
    cost = SpendingOptions(price_per_hour=4.0, max_cost=10.0)
    assert (cost.limit_s, cost.limit_text()) == (2.5 * 3600, "--max-cost 10")
    both = SpendingOptions(price_per_hour=4.0, max_cost=10.0, max_hours=2.0)
    assert (both.limit_s, both.limit_text()) == (2 * 3600, "--max-hours 2")
    assert SpendingOptions(price_per_hour=4.0).limit_s == math.inf
    assert SpendingOptions(max_hours=0.5).limit_s == 1800


@pytest.mark.parametrize(("price", "came"), [(None, "no --price-per-hour"), (0.0, "--price-per-hour 0")])
def test_a_limit_of_money_needs_a_price(price: float | None, came: str) -> None:
    with pytest.raises(InputError, match=f"Got: {came}. To fix: add --price-per-hour P") as told:
        SpendingOptions(price_per_hour=price, max_cost=1.0)
    assert told.value.exit_code == 2


def test_what_starts_of_the_same_run_spent_is_gone(clock: list[float]) -> None:
    options = SpendingOptions(price_per_hour=4.0, max_cost=10.0)
    budget = open_budget(options, earlier_starts, ["a"])
    assert (budget.before_s, budget.earlier) == (2700.0, 2)
    assert budget.left_text() == (
        "--max-cost 10 lasts for 1 h 45 min from now; 2 starts before this one spent 3.00 in 45 min 00 s"
    )
    clock[0] += 1.75 * 3600 - 1
    assert budget.intake.is_open
    clock[0] += 1
    assert not budget.intake.is_open
    assert open_budget(options, earlier_starts, ["c"]).before_s == 0, "another area or other scenes"


def test_a_budget_that_is_spent_has_no_time_left() -> None:
    budget = open_budget(SpendingOptions(max_hours=0.5), earlier_starts, ["a"])
    assert not budget.intake.is_open
    assert budget.left_text().startswith("--max-hours 0.5 lasts for 0.0 s from now; 2 starts")


def test_without_a_limit_no_events_are_read_and_nothing_is_said() -> None:
    def unread() -> list[Event]:
        raise AssertionError

    budget = open_budget(SpendingOptions(price_per_hour=4.0), unread, ["a"])
    assert budget.intake.is_open
    assert budget.left_text() == ""


def test_events_that_cannot_be_read_end_the_start() -> None:
    def broken() -> list[Event]:
        raise OSError("the store does not answer")

    with pytest.raises(OSError, match="does not answer"):
        open_budget(SpendingOptions(max_hours=1.0), broken, ["a"])


def test_who_is_stopped_is_told_what_is_done_what_is_left_and_how_to_go_on(clock: list[float]) -> None:
    options = SpendingOptions(price_per_hour=4.0, max_cost=10.0)
    budget = Budget(options=options, before_s=3600.0, earlier=1, began=1000.0)
    clock[0] += 1.75 * 3600
    error = budget.stopped(done=1200, left=34)
    assert error.exit_code == 6
    assert str(error) == (
        "--max-cost 10 is reached: the run spent 11.00 in 2 h 45 min over 2 starts. It was stopped; 1,200 of "
        "1,234 blocks are committed, 34 are left, and nothing was published. To fix: start the same command "
        "again with a higher --max-cost; what is committed is not done again"
    )
