"""The run's report with what came after it: the places are filled, and what is missing is said."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from mapped_worlds import map_page

from pipeline.assess.estimate_run import KeptAssessment
from pipeline.assess.full_page import assessment_section, cost_section, full_page, write_full_page
from pipeline.errors import InputError
from pipeline.write.run_dir import RunDir

HOSTILE = "</script><b>x"


def entry(**more: Any) -> dict[str, Any]:
    estimate = {"value": 0.9, "low": 0.8, "high": 0.95}
    figures = dict.fromkeys(("recall", "count", "missed", "covered", "area_m2", "near_area_m2"))
    return {
        "query": HOSTILE,
        "query_index": 1,
        "precision": estimate,
        **figures,
        "not_estimated": ["no recall: no squares were drawn"],
        "published": 4,
        "n_unsure": 0,
        "assumed": [],
        "confidence": {
            "slope": 2.0,
            "intercept": -1.0,
            "n": 30,
            "brier_of_score": 0.2,
            "brier_of_confidence": 0.1,
            "bins": [{"n": 30, "score": 0.5, "confidence": 0.4, "right": 0.3, "low": 0.2, "high": 0.45}],
        },
        **more,
    }


def cost(**more: Any) -> dict[str, Any]:
    start = {"name": "a.jsonl", "end": "ended", "seconds": 90.0, "starting_s": 30.0, "working_s": 50.0}
    return {
        "seconds": 90.0,
        "tiles": 12,
        "km2": 3.5,
        "gpu_seconds": 61.0,
        "used": {"output_tokens": 1234},
        "money": 2.5,
        "money_per_1000_km2": 714.2857,
        "starts": [{**start, "publishing_s": 10.0, "tiles": 12}],
        **more,
    }


def test_figures_intervals_and_the_diagram_are_shown() -> None:
    section = assessment_section({"queries": [entry()]}, "")
    assert "<td>precision (objects)</td><td>90 %</td><td>80 % to 95 %</td>" in section
    assert "no recall: no squares were drawn." in section
    assert "&lt;/script&gt;&lt;b&gt;x" in section
    assert "<b>x" not in section
    (drawing,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', section)
    assert base64.b64decode(drawing).startswith(b"<svg")
    assert "<img" not in assessment_section({"queries": [entry(confidence=None)]}, "")


def test_an_assessment_that_does_not_count_is_said() -> None:
    assert "Nobody has reviewed" in assessment_section(None, "")
    assert "is of an earlier result: it does not count" in assessment_section(None, "is of an earlier result")


def test_cost_is_time_and_money() -> None:
    section = cost_section(cost())
    for told in ("1 min 30 s in 1 start<", "3.5 km²", "1,234", "2.50, 714.29 per 1,000 km²", "10.0 s"):
        assert told in section
    without = cost_section(cost(money=None, km2=None, gpu_seconds=0.0))
    assert "not told --price-per-hour" in without
    assert "none was reserved" in without
    assert "no cost.json" in cost_section(None)


def test_the_map_is_told_the_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = RunDir(tmp_path / "run")
    run_dir.report.write_bytes(map_page(tmp_path / "run"))
    run_dir.costs.write_bytes(json.dumps(cost()).encode())
    monkeypatch.setattr("pipeline.assess.full_page.read_any_run", lambda _path: None)

    kept = KeptAssessment(document={"queries": [entry(), entry(query_index=0, confidence=None)]})
    monkeypatch.setattr("pipeline.assess.full_page.read_assessment", lambda *_: kept)
    page = full_page(run_dir)
    (told,) = re.findall(r'id="later">(.*?)</script>', page)
    assert json.loads(told) == {"curves": {"1": {"slope": 2.0, "intercept": -1.0}}}
    assert page.index('id="map-data"') < page.index('id="assessment"') < page.index('id="cost"')


def test_a_report_without_a_map_is_refused(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    with pytest.raises(InputError, match=r"report\.html"):
        full_page(run_dir)
    run_dir.report.write_bytes(b"<html></html>")
    with pytest.raises(InputError, match="restitch_region"):
        full_page(run_dir)


def test_a_page_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json"):
        write_full_page(str(tmp_path), tmp_path / "x.html")
