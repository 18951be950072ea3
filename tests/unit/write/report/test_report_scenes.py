"""The table of scenes in the report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from record_world import run_info

from pipeline.write.report.report_scenes import scenes_section


def entry(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "scene_id": name,
        "bands": "red = 4 (<b>B04), green = 3, blue = 2, by descriptions",
        "stretch": {"kind": "percentile", "lo": [452.0, 430.5, 400.0], "hi": [2945.0, 2900.0, 2850.0]},
        "unjudged": {"outside": 0.25, "collar": 0.05},
        "judged_share": 0.7,
        "notes": [],
    } | changes


def section(*entries: dict[str, Any]) -> str:
    stretches = {str(index): scene for index, scene in enumerate(entries)}
    return str(scenes_section(replace(run_info(), stretches=stretches)))


def test_a_row_per_scene_and_a_column_per_reason_that_occurs() -> None:
    identity = {"kind": "identity", "lo": [0.0] * 3, "hi": [255.0] * 3}
    said = section(entry("east"), entry("west", unjudged={}, judged_share=1.0, stretch=identity))
    assert said.count("<tr>") == 3
    assert "<th>outside the area</th><th>black border (collar)</th>" in said
    assert "nodata" not in said
    assert "<td>70.0%</td><td>25.0%</td><td>5.0%</td>" in said
    assert "<td>as stored</td><td>100.0%</td><td>0.0%</td><td>0.0%</td>" in said
    assert "red = 4 (&lt;b&gt;B04), green = 3" in said
    assert "452 to 2945, 430.5 to 2900, 400 to 2850" in said


def test_many_scenes_are_cut() -> None:
    said = section(*(entry(str(index)) for index in range(203)))
    assert said.count("<tr>") == 201
    assert "3 more are in run.json" in said


def test_runs_that_recorded_none_have_no_table() -> None:
    assert section() == ""
    assert section({"scene_id": "old", "stretch": {"kind": "identity"}}) == ""
