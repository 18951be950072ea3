from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from page_links import resolved
from zone_results import zoned_info

from pipeline.write.coverage import Conservation
from pipeline.write.run_dir import RunDir
from pipeline.write.zoned.zoned_page import write_zoned_page

INFO = zoned_info({})


REPORTS = ["zones/EPSG_32630/report.html", "zones/EPSG_32631/report.html"]
COUNTED = Conservation(planned=3, found=2, empty=0, failed=1, reasons={"found": 2, "failed/timeout": 1})


def test_the_page_leads_to_every_zone_and_escapes_what_it_shows(tmp_path: Path) -> None:
    info = replace(
        INFO,
        queries=("<script>roofs</script>",),
        qa={"<script>roofs</script>": {"near_a_seam": 7, "joined": 3}},
    )
    root = RunDir(tmp_path).in_snapshot("w")
    path = write_zoned_page(root, info, COUNTED, n_instances=[1234], reports=REPORTS)
    text = path.read_text()
    assert resolved(text, "https://bucket.example/runs/out/snapshots/w/report.html") == [
        f"https://bucket.example/runs/out/snapshots/w/{each}" for each in REPORTS
    ]
    assert "<script" not in text
    assert "1,234" in text
    assert "timeout" in text


def test_a_zone_without_a_report_is_named_and_no_name_breaks_a_link(tmp_path: Path) -> None:
    root = RunDir(tmp_path).in_snapshot("w")
    page = write_zoned_page(
        root, INFO, COUNTED, n_instances=[1], reports=["zones/a zone#1/report.html", None]
    )
    text = page.read_text()
    assert resolved(text, "file:///data/out/current/report.html") == [
        "file:///data/out/current/zones/a%20zone%231/report.html"
    ]
    assert "EPSG_32631" in text
