"""Findings are counted for ever and kept for a while."""

from __future__ import annotations

from pipeline.run.verify.findings import MOST_SHOWN, Findings


def test_each_check_keeps_its_first_findings() -> None:
    found = Findings()
    found.add("plan", "plan.parquet", "first")
    for number in range(MOST_SHOWN + 5):
        found.add("objects", f"id {number}", "wrong")
    assert found.count("objects") == MOST_SHOWN + 5
    assert found.count("rasters") == 0
    assert len(found.kept) == MOST_SHOWN + 1
    assert str(found.kept[0]) == "plan: plan.parquet: first"
    assert found.kept[-1].place == f"id {MOST_SHOWN - 1}"
