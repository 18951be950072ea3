from __future__ import annotations

from typing import Any

import pytest

from pipeline.assess.assessment_text import area, assessment_text, figure, interval


def entry(**more: Any) -> dict[str, Any]:
    none = dict.fromkeys(("precision", "recall", "count", "missed", "covered", "area_m2", "near_area_m2"))
    return {
        "query": "roofs",
        **none,
        "published": 1234,
        "not_estimated": ["no area: no points were drawn"],
        "n_unsure": 0,
        "assumed": [],
        **more,
    }


def test_figures_intervals_and_notes_are_told() -> None:
    precision = {"value": 0.8123, "low": 0.7, "high": 0.9}
    unsure = {
        "as_no": {**entry(), "precision": {**precision, "value": 0.75}},
        "as_yes": {**entry(), "precision": {**precision, "value": 0.85}},
    }
    count = {"value": 40.0, "low": 40.0, "high": 40.0}
    query = entry(precision=precision, count=count, n_unsure=2, unsure=unsure, assumed=["it is assumed"])
    lines = assessment_text({"queries": [query]}).splitlines()
    assert lines[0] == '"roofs"'
    assert lines[2] == "  precision (objects)    81.2 %  70 % to 90 %"
    assert lines[3] == "  objects in truth           40  none: all were reviewed"
    assert "  no area: no points were drawn." in lines
    assert "  published objects: 1,234." in lines
    assert any("precision 75 % to 85 %" in line for line in lines)
    assert "  it is assumed." in lines
    assert "mistakes of the review" in lines[-1]


@pytest.mark.parametrize(
    ("m2", "told"), [(12.3, "12 m2"), (23_456, "2.35 ha"), (2_345_678, "2.35 km2"), (0, "0 m2")]
)
def test_areas_have_units_that_fit(m2: float, told: str) -> None:
    assert area(m2) == told
    assert figure("near_area_m2", m2) == told


def test_small_counts_keep_a_digit() -> None:
    assert figure("count", 0.25) == "0.25"
    assert interval("count", {"low": 0, "high": 12.4}) == "0 to 12"
