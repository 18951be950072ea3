"""Times of people and of items. Expected moments are written out."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.grid.catalog.time_range import item_times, time_range


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("2024-06-01", "2024-06-01T00:00:00Z/2024-06-02T00:00:00Z"),
        ("2024-12", "2024-12-01T00:00:00Z/2025-01-01T00:00:00Z"),
        ("2024", "2024-01-01T00:00:00Z/2025-01-01T00:00:00Z"),
        ("2024-06-01/2024-08-31", "2024-06-01T00:00:00Z/2024-09-01T00:00:00Z"),
        ("2024-02/..", "2024-02-01T00:00:00Z/.."),
        ("../2024-02", "../2024-03-01T00:00:00Z"),
        ("/2024-02", "../2024-03-01T00:00:00Z"),
        ("2024-06-01T12:00:00+02:00/..", "2024-06-01T10:00:00Z/.."),
        ("2024-06-01t12:00:00z", "2024-06-01T12:00:00Z/2024-06-01T12:00:00.000001Z"),
    ],
)
def test_ranges(text: str, interval: str) -> None:
    assert time_range(text).as_interval() == interval


@pytest.mark.parametrize(
    "text", ["", "..", "../..", "/", "yesterday", "2024-13", "2024-06-01/x", "2024/2023", "a/b/c"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--datetime"):
        time_range(text)


@pytest.mark.parametrize(
    ("start", "end", "held"),
    [
        ("2024-06-01T00:00:00Z", "2024-06-01T00:00:00Z", True),
        ("2024-06-01T23:59:59.999999Z", "2024-06-01T23:59:59.999999Z", True),
        ("2024-06-02T00:00:00Z", "2024-06-02T00:00:00Z", False),
        ("2024-05-31T23:59:59.999999Z", "2024-05-31T23:59:59.999999Z", False),
        ("2024-01-01T00:00:00Z", "2024-12-31T00:00:00Z", True),
    ],
)
def test_a_day_is_all_of_it_and_a_long_item_overlaps_it(start: str, end: str, *, held: bool) -> None:
    assert time_range("2024-06-01").holds(start, end) is held


@pytest.mark.parametrize(
    ("properties", "times"),
    [
        ({"datetime": "2024-06-01T10:00:00Z"}, ("2024-06-01T10:00:00Z", "2024-06-01T10:00:00Z")),
        (
            {
                "datetime": None,
                "start_datetime": "2024-06-01T00:00:00Z",
                "end_datetime": "2024-06-30T00:00:00Z",
            },
            ("2024-06-01T00:00:00Z", "2024-06-30T00:00:00Z"),
        ),
        ({"datetime": None, "end_datetime": "2024-06-30T00:00:00Z"}, ("2024-06-30T00:00:00Z",) * 2),
        (
            {"datetime": "2024-06-01T10:00:00.25+02:00", "start_datetime": "2020-01-01T00:00:00Z"},
            ("2024-06-01T08:00:00.250000Z",) * 2,
        ),
        ({"datetime": "2024-06-01T10:00:00"}, ("2024-06-01T10:00:00Z",) * 2),
        ({"datetime": None}, None),
        ({}, None),
    ],
)
def test_times_of_items(properties: dict[str, Any], times: tuple[str, str] | None) -> None:
    assert item_times(properties) == times


@pytest.mark.parametrize(
    "properties",
    [
        {"datetime": 5},
        {"datetime": "soon"},
        {"datetime": None, "start_datetime": ["2024"]},
        {"datetime": "9999-12-31T23:59:59-14:00"},
        {"datetime": None, "start_datetime": "2024-06-02T00:00:00Z", "end_datetime": "2024-06-01T00:00:00Z"},
    ],
)
def test_what_is_no_time_is_named(properties: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"datetime|end_datetime"):
        item_times(properties)
