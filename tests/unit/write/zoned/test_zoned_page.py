from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from page_links import resolved
from zone_results import zoned_info

from pipeline.write.coverage import Conservation
from pipeline.write.run_dir import RunDir
from pipeline.write.zoned.zoned_page import seen_from_above, write_zoned_page

INFO = zoned_info({})


SNAPSHOTS = ["zones/EPSG_32630/snapshots/a1/report.html", "zones/EPSG_32631/snapshots/b2/report.html"]
COUNTED = Conservation(planned=3, found=2, empty=0, failed=1, reasons={"found": 2, "failed/timeout": 1})


def test_the_page_leads_to_every_zone_and_escapes_what_it_shows(tmp_path: Path) -> None:
    info = replace(
        INFO,
        queries=("<script>roofs</script>",),
        qa={"<script>roofs</script>": {"near_a_seam": 7, "joined": 3}},
    )
    root = RunDir(tmp_path).in_snapshot("w")
    path = write_zoned_page(root, info, COUNTED, n_instances=[1234], reports=SNAPSHOTS)
    text = path.read_text()
    assert resolved(text, "https://bucket.example/runs/out/snapshots/w/report.html") == [
        f"https://bucket.example/runs/out/{each}" for each in SNAPSHOTS
    ]
    assert "<script" not in text
    assert "1,234" in text
    assert "timeout" in text


def test_seen_from_the_run_directory_the_same_links_lead_from_there(tmp_path: Path) -> None:
    """What a query says is no link."""
    info = replace(INFO, queries=('<a href="../../roofs">',))
    root = RunDir(tmp_path).in_snapshot("w")
    reports = ["zones/a zone#1/report.html", None]
    page = write_zoned_page(root, info, COUNTED, n_instances=[1], reports=reports).read_bytes()
    above = seen_from_above(page).decode()
    assert resolved(above, "file:///data/out/report.html") == [
        "file:///data/out/zones/a%20zone%231/report.html"
    ]
    assert resolved(page.decode(), "file:///data/out/snapshots/w/report.html") == resolved(
        above, "file:///data/out/report.html"
    )
    assert above.count("../../roofs") == page.decode().count("../../roofs") > 0
    assert "EPSG_32631" in above
