"""The table of the figures; the figures themselves are counted by hand in test_score_run.py."""

from __future__ import annotations

import pytest

from pipeline.evaluate.finished_run.score_tiles import QueryScore, score_table


@pytest.mark.parametrize(
    ("empty_m2", "said"),
    [
        (float("nan"), "empty_km2 and per_100_km2 are unknown: the run grid has no CRS"),
        (0.0, "per_100_km2 is unknown where no truly empty tile was answered"),
    ],
)
def test_the_table_says_why_there_are_no_false_alarms_per_area(empty_m2: float, said: str) -> None:
    known = QueryScore(query="tanks", kind="explicit", class_name="tank", empty_m2=1e8)
    unknown = QueryScore(query="pools", kind="explicit", class_name="pool", empty_m2=empty_m2)
    assert len(score_table([known]).splitlines()) == 2
    *_, last = score_table([known, unknown]).splitlines()
    assert last.startswith(said)
