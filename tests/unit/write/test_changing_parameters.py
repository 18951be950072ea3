"""Which runs are one run with other ground."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.write.changing_parameters import could_update, is_addition, is_update

FILE = {"scene_id": "a", "size": 1}
LISTED = {"scene_id": "b", "collection": "s2"}
BEFORE: dict[str, Any] = {
    "queries": ["q"],
    "area": "x",
    "scenes": [FILE, LISTED],
    "items": {"mask": "off"},
    "clouds": {"max_cloud_share": 0.8},
    "grid": {"crs": None, "transform": [1, 0, 0, 0, -1, 0], "shape": [4, 4]},
}


@pytest.mark.parametrize(
    ("change", "without", "want"),
    [
        ({}, (), True),
        ({"area": "y", "scenes": [LISTED], "datetime_of": ["2024"]}, (), True),
        ({"queries": ["r"]}, (), False),
        ({"items": {"mask": "auto"}}, (), False),
        ({}, ("items",), False),
        ({"scenes": [FILE]}, ("items",), True),
        ({"clouds": {"max_cloud_share": 0.5}}, (), False),
        ({}, ("clouds",), True),
        ({"grid": {"crs": "EPSG:1", "transform": [1, 0, 0, 0, -1, 0], "shape": [4, 4]}}, (), False),
    ],
)
def test_only_the_ground_may_change(change: dict[str, Any], without: tuple[str, ...], want: bool) -> None:
    now = {key: value for key, value in {**BEFORE, **change}.items() if key not in without}
    assert is_update(BEFORE, now) is want
    assert is_update(now, BEFORE) is want


ZONES: dict[str, Any] = {
    "queries": ["q"],
    "min_area_m2": 0.0,
    "zones": {"EPSG_1": "a", "EPSG_2": "b"},
}


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({}, True),
        ({"zones": {"EPSG_2": "c"}, "area": "of one zone", "scenes": [FILE]}, True),
        ({"grid": {"crs": "EPSG:2"}, "prompter": "the labels of one zone"}, True),
        ({"queries": ["r"]}, False),
        ({"min_area_m2": 5.0}, False),
    ],
)
def test_of_zones_what_is_said_of_all_must_stay(change: dict[str, Any], want: bool) -> None:
    """What zones share depends on which there are; what is said of one stands in the zone's own run."""
    now = {**ZONES, **change}
    assert is_update(ZONES, now) is want
    assert is_update(now, ZONES) is want
    assert not is_update(BEFORE, now)
    assert not is_update(now, BEFORE)


def test_a_grid_of_another_size_would_be_kept() -> None:
    now = {**BEFORE, "grid": {**BEFORE["grid"], "shape": [9, 9]}}
    assert not is_update(BEFORE, now)
    assert could_update(BEFORE, now)
    assert not could_update(BEFORE, {**now, "queries": ["r"]})


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"queries": ["q", "r"]}, True),
        ({"queries": ["q"]}, False),
        ({"queries": ["r", "q"]}, False),
        ({"queries": []}, False),
        ({"queries": ["q", "r"], "area": "y"}, False),
        ({"queries": ["q", "r"], "gate": {}}, False),
    ],
)
def test_an_addition_has_further_queries_and_nothing_else(change: dict[str, Any], want: bool) -> None:
    assert is_addition(BEFORE, {**BEFORE, **change}) is want


def test_an_addition_to_zones_names_the_same_zones() -> None:
    now = {**ZONES, "queries": ["q", "r"]}
    assert is_addition(ZONES, {**now, "zones": {"EPSG_2": "d", "EPSG_1": "c"}})
    assert not is_addition(ZONES, {**now, "zones": {"EPSG_1": "a"}})
    assert not is_addition(ZONES, {**now, "min_area_m2": 1.0})
