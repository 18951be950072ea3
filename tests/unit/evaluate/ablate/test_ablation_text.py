"""The table: our rows first, the papers' rows marked, and the limits of a small world said for every axis."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.evaluate.ablate.ablation_axes import AXES
from pipeline.evaluate.ablate.ablation_text import COLUMNS, TITLES, ablation_markdown, limits
from pipeline.evaluate.ablate.published_rows import PublishedRow

FIGURES = {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in COLUMNS}


def made_document(axis: str = "combinations") -> dict[str, Any]:
    gain = {"value": 0.0312, "low": -0.01, "high": 0.07, "changed": 3}
    rows: list[dict[str, Any]] = [
        {"name": "first", "samples": 9, "failed": 0, "figures": FIGURES, "differences": {}},
        {
            "name": "second | <b>",
            "samples": 9,
            "failed": 2,
            "figures": FIGURES,
            "differences": {"giou": gain, "giou_present": {**gain, "value": None}},
        },
        {"name": "third", "not_run": "needs owner/name"},
    ]
    row = PublishedRow(name="theirs", source="Paper, table 1", data="Data", figures={"giou": 12.34})
    return {
        "axis": axis,
        "benchmark": "world:1",
        "limit": 9,
        "noise": {"box": 0.1},
        "tables": [{"models": "oracle", "reference": "first", "rows": rows}],
        "published": [{"name": row.name, "source": row.source, "data": row.data, "figures": row.figures}],
    }


def test_the_table() -> None:
    text = ablation_markdown(made_document())
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 6
    assert "| reference" in lines[2]
    assert "+3.1 [-1.0, +7.0]" in lines[3]
    assert "9 (2 failed)" in lines[3]
    assert r"second \| <b>" in lines[3]
    assert "not run: needs owner/name" in lines[4]
    assert lines[5].startswith("| published: Paper, table 1 | theirs")
    assert "12.3" in lines[5]
    assert "world:1, 9 queries. Mistakes of the oracle: box 0.1." in text
    assert "- Paper, table 1: Data" in text


@pytest.mark.parametrize("axis", AXES)
def test_every_axis_says_what_it_cannot_show(axis: str) -> None:
    assert TITLES[axis]
    assert " not " in limits(axis) or "cannot" in limits(axis)
    assert "never numbers across the two halves" in limits(axis)
