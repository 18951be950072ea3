from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from pipeline.assess.answer_run import AnswerRow, RunAnswer
from pipeline.assess.answer_text import CSV_COLUMNS, answer_csv, answer_document, answer_text
from pipeline.assess.looked_at import SearchedGround


def row(district: str | None = None, query: str = "pools") -> AnswerRow:
    ground = SearchedGround(area_km2=5.0, searched_km2=4.0, gate_km2=0.5)
    ground.not_looked_at.update({"under clouds": 0.25, "failed: no answer in time": 0.75})
    return AnswerRow(query=query, district=district, objects=1234, area_m2=56_789.0, ground=ground)


def answer(*rows: AnswerRow, **more: Any) -> RunAnswer:
    given: dict[str, Any] = {"complete": True, "assessed": {}, "not_assessed": "", **more}
    return RunAnswer(run="out/pools", run_id="run-1", rows=rows, **given)


def assessed() -> Mapping[str, Mapping[str, Any]]:
    def estimate(value: float, low: float, high: float) -> dict[str, float]:
        return {"value": value, "low": low, "high": high}

    return {
        "pools": {
            "count": estimate(1300, 1200, 1450),
            "area_m2": estimate(60_000, 50_000, 70_000),
            "precision": estimate(0.9, 0.8, 0.95),
            "recall": estimate(0.85, 0.7, 0.9),
            "n_unsure": 3,
            "not_estimated": [],
            "published": 1234,
        }
    }


def test_what_was_not_looked_at_comes_first_and_no_interval_without_a_review() -> None:
    lines = answer_text(answer(row())).splitlines()
    assert lines[0] == '"pools"'
    assert lines[1].startswith(
        "Of 5.00 km2, 1.00 were NOT looked at (0.75 km2 failed: no answer in time; 0.25 km2 under clouds)"
    )
    assert "0.50 km2 had the gate's cheap look alone" in lines[1]
    assert "1,234 objects were found, 5.68 ha in all, 308 per km2" in lines[1]
    assert "there is no interval" in lines[1]
    assert lines[-1] == "For an interval: python jobs/assess.py plan out/pools --out DIR"


def test_a_review_gives_the_interval() -> None:
    text = answer_text(answer(row(), assessed=assessed()))
    assert "at 1,300 (95 % interval 1,200 to 1,450)" in text
    assert "area at 6.00 ha (95 % interval 5.00 ha to 7.00 ha)" in text
    assert "90 % of what was found is right, and 85 % of what is there was found" in text
    assert "3 answers were unsure" in text
    assert "jobs/assess.py plan" not in text


def test_an_unfinished_run_and_a_stale_review_are_told() -> None:
    text = answer_text(answer(row(), complete=False, not_assessed="assessment.json is of an earlier result"))
    assert text.startswith("This run is NOT complete")
    assert "of an earlier result: it does not count" in text


def test_districts_are_rows_without_an_interval() -> None:
    given = answer(row(), row("west\x1b[31m"), assessed=assessed())
    text = answer_text(given)
    assert "west" in text
    assert "\x1b" not in answer_csv(given)
    assert "no interval of a district" in text
    whole, west = answer_document(given)["answers"]
    assert whole["assessed"]["count"]["low"] == 1200
    assert west["assessed"] is None
    assert west["not_looked_at_km2"] == {"under clouds": 0.25, "failed: no answer in time": 0.75}


def test_the_csv_holds_the_same_numbers_and_no_formula() -> None:
    text = answer_csv(
        answer(row(query="=1+1"), row("west", query="=1+1"), assessed={"=1+1": assessed()["pools"]})
    )
    first, second = csv.DictReader(io.StringIO(text))
    assert tuple(first) == CSV_COLUMNS
    assert first["query"] == "'=1+1"
    assert (first["objects"], first["looked_at_km2"], first["not_looked_at_km2"]) == ("1234", "4.0", "1.0")
    assert (first["true_objects_low"], second["true_objects_low"]) == ("1200", "")
