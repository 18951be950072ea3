"""The section: its data cannot end their element, its scripts are those that the policy names."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mapped_worlds import QUERIES, map_page

from pipeline.write.report.map.map_section import (
    LATER_DATA,
    LATER_SECTIONS,
    map_scripts,
    own_page_file,
    script_json,
    script_sources,
)


def test_texts_of_others_stay_texts(tmp_path: Path) -> None:
    page = map_page(tmp_path).decode()
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.S)
    assert [content for kind, content in scripts if not kind] == map_scripts()
    (data,) = [json.loads(content) for kind, content in scripts if 'id="map-data"' in kind]
    assert [query["text"] for query in data["queries"]] == list(QUERIES)
    assert "<b>two</b> tiles" in data["objects"]["texts"]
    assert "<b>two" not in page
    assert page.count(LATER_DATA) == page.count(LATER_SECTIONS) == 1


def test_the_page_is_a_function_of_the_run(tmp_path: Path) -> None:
    assert map_page(tmp_path / "a") == map_page(tmp_path / "b")


def test_nothing_in_the_scripts_connects_or_runs_texts() -> None:
    everything = "".join([*map_scripts(), own_page_file("map.css")])
    for word in (
        "fetch(",
        "XMLHttpRequest",
        "WebSocket",
        "eval(",
        "Function(",
        "innerHTML",
        "import(",
        "url(",
    ):
        assert word not in everything
    assert "</script" not in everything
    assert script_sources().count("'sha256-") == len(map_scripts())


def test_json_cannot_end_its_element() -> None:
    told = {"a": "</script><!--&"}
    assert "<" not in script_json(told)
    assert json.loads(script_json(told)) == told
