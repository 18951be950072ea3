from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from zone_results import zoned_info

from pipeline.write.coverage import Conservation
from pipeline.write.run_dir import RunDir
from pipeline.write.zoned.zoned_page import write_zoned_page

INFO = zoned_info({})


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str | None] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.hrefs += [value for name, value in attrs if name == "href"]


def test_the_page_leads_to_every_zone_and_escapes_what_it_shows(tmp_path: Path) -> None:
    info = replace(
        INFO,
        queries=("<script>roofs</script>",),
        qa={"<script>roofs</script>": {"near_a_seam": 7, "joined": 3}},
    )
    counted = Conservation(planned=3, found=2, empty=0, failed=1, reasons={"found": 2, "failed/timeout": 1})
    path = write_zoned_page(RunDir(tmp_path), info, counted, n_instances=[1234])
    text = path.read_text()
    page = _Links()
    page.feed(text)
    assert page.hrefs == ["zones/EPSG_32630/report.html", "zones/EPSG_32631/report.html"]
    assert "script" not in page.tags
    assert "1,234" in text
    assert "timeout" in text
