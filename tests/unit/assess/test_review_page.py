from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import shapely

from pipeline.assess.draw_units import DrawnStratum, Wanted
from pipeline.assess.review_chips import ReviewChip
from pipeline.assess.review_page import ReviewItem, review_page
from pipeline.assess.sample_design import SampleDesign, SampleUnit
from pipeline.assess.sampling_frame import FrameOptions
from pipeline.schema.tiling import Window

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e"


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.meta: dict[str, str] = {}
        self._open: dict[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open = dict(attrs) if tag == "script" else None
        if tag == "meta" and dict(attrs).get("http-equiv"):
            self.meta[str(dict(attrs)["http-equiv"])] = str(dict(attrs)["content"])

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.scripts.append((self._open, data))


def page(query: str, problem: str = "") -> tuple[str, Page]:
    stratum = DrawnStratum(kind="cell", name="s", size=4, drawn=1)
    design = SampleDesign(
        run="r",
        run_id="run-1",
        fingerprint="ff",
        snapshot="aa",
        queries=(query,),
        chosen=(0,),
        seed=0,
        wanted=Wanted(),
        frame=FrameOptions(),
        strata={0: (stratum,)},
    )
    unit = SampleUnit(
        unit_id="u1",
        kind="cell",
        query_index=0,
        stratum=stratum,
        review_order=0,
        window=Window(row0=0, col0=0, row1=4, col1=4),
        shape_px=shapely.box(0, 0, 4, 4),
    )
    chip = ReviewChip(width=360, height=360, jpeg="AAAA", frame=(1.04, 2, 3, 4), problem=problem)
    text = review_page(design, [ReviewItem(unit=unit, chip=chip)])
    return text, Page(text)


def test_the_page_allows_its_own_script_and_no_connection() -> None:
    text, parsed = page("roofs")
    policy = parsed.meta["Content-Security-Policy"]
    script = parsed.scripts[-1][1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"https?://|@import|url\(", text)


def test_queries_and_messages_stay_text() -> None:
    text, parsed = page(HOSTILE, problem=HOSTILE)
    assert parsed.tags.count("script") == 2
    assert "img" not in parsed.tags
    assert "\u202e" not in text
    data = json.loads(parsed.scripts[0][1])
    assert data["queries"] == ["</script><img src=x onerror=alert(1)>"]
    assert data["items"][0]["frame"] == [1.0, 2, 3, 4]
    assert data["items"][0]["id"] == "u1"
