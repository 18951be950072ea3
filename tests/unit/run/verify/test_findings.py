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


def test_findings_of_a_part_say_where_it_lies() -> None:
    of_zone = Findings()
    for number in range(MOST_SHOWN + 3):
        of_zone.add("rasters", f"block {number}", "wrong")
    found = Findings()
    found.absorb(of_zone, "EPSG_26917")
    assert found.count("rasters") == MOST_SHOWN + 3
    assert str(found.kept[0]) == "rasters: EPSG_26917: block 0: wrong"
