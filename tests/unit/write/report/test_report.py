"""The whole page: what it contains, that it is one offline file, and that nothing hostile gets through."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from object_table import write_objects
from PIL import Image
from record_world import META, QUERIES, golden_run, grid_of, id_raster, lattice_of, run_info, table_of

from pipeline.errors import SourceError
from pipeline.schema.tiling import Window
from pipeline.write.coverage import Conservation, write_coverage
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.report import report_objects
from pipeline.write.report.map.map_section import map_scripts, script_sources
from pipeline.write.report.report import ReportInputs, write_report
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo

HOSTILE = "</p><script>alert('x')</script><img src=https://evil/x.png onerror=alert(1)>"
VOID = {"meta", "img", "br", "input"}


class Page(HTMLParser):
    """Collects what a browser would see, and insists that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def finished(tmp_path: Path) -> RunDir:
    golden_run(tmp_path)
    return RunDir(tmp_path)


def ledger(run_dir: RunDir) -> Conservation:
    inside = np.zeros((4, 5), dtype=np.bool_)
    inside[:2, :2] = True
    return write_coverage(run_dir, lattice_of(), inside, keys=AlikeKeys("f" * 64), queries=QUERIES)


def page_of(
    run_dir: RunDir,
    info: RunInfo,
    *,
    overview: NDArray[np.uint8] | None = None,
    read_rgb: Callable[[Window], NDArray[np.uint8]] | None = None,
) -> Page:
    inputs = ReportInputs(
        info=info,
        keys=AlikeKeys(info.fingerprint),
        conservation=ledger(run_dir),
        overview_rgb=overview,
        read_rgb=read_rgb,
    )
    return Page(write_report(run_dir, inputs).read_text())


def ground(window: Window) -> NDArray[np.uint8]:
    return np.full((*window.shape, 3), 90, dtype=np.uint8)


def test_the_page_shows_pictures_chips_counts_and_facts(finished: RunDir) -> None:
    asked: list[Window] = []

    def read_rgb(window: Window) -> NDArray[np.uint8]:
        asked.append(window)
        return ground(window)

    page = page_of(finished, run_info(), overview=np.full((20, 25, 3), 90, dtype=np.uint8), read_rgb=read_rgb)
    text = " ".join(page.text)
    assert "Searched: " in text
    n = len(table_of([id_raster(seed=0), id_raster(seed=1)]))
    pictures = page.named("img")
    assert len(page.named("article")) == n + 1  # every object once, and one empty tile
    assert len(pictures) == n + 3
    assert len(asked) == n + 1
    for attributes in pictures:
        assert attributes["alt"]
        image = Image.open(
            io.BytesIO(base64.b64decode(attributes["src"].removeprefix("data:image/webp;base64,")))
        )
        assert max(image.size) >= 320
    assert len(page.named("svg")) == 2
    for wanted in (
        "roofs",
        "été",
        "Picked at random",
        "Where nothing was found",
        "malformed",
        "no JSON in the reply",
        "procedural world",
    ):
        assert wanted in text
    assert "WGS 84 / UTM zone 36N" in text
    assert next(a["id"] for a in page.named("article") if "id" in a).startswith("q")


def test_nothing_hostile_becomes_markup_and_nothing_is_fetched(finished: RunDir) -> None:
    table = table_of([id_raster(seed=0), id_raster(seed=1)])
    n = len(table)
    hostile = replace(table, rationale=[HOSTILE] * n, label=[HOSTILE] * n)
    write_objects(finished, hostile, grid=grid_of(), meta=replace(META, queries=(HOSTILE, HOSTILE)))
    info = replace(
        run_info(),
        queries=(HOSTILE, HOSTILE),
        warnings=(HOSTILE,),
        parameters={"query": HOSTILE, "source": "https://h/a.tif?sig=SECRET"},
        models={HOSTILE: {"id": HOSTILE}},
        scenes=(replace(run_info().scenes[0], scene_id=HOSTILE, href="https://u:SECRET@h/a.tif?sig=SECRET"),),
        versions={HOSTILE: HOSTILE},
    )
    page = page_of(finished, info, read_rgb=ground)
    assert {name for name, _ in page.tags}.isdisjoint(
        {"iframe", "object", "embed", "link", "form", "a", "base"}
    )
    for _, attributes in page.tags:
        assert not any(key.startswith("on") for key in attributes)
        assert all(
            not value.startswith(("http", "//"))
            for key, value in attributes.items()
            if key in {"src", "href", "srcset"}
        )
    assert all(attributes["src"].startswith("data:image/webp;base64,") for attributes in page.named("img"))
    assert "".join(page.text).count("<script>alert('x')") >= n  # shown, as text
    raw = finished.report.read_text()
    assert "SECRET" not in raw
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", raw, re.S)
    assert raw.count("<script") == len(scripts)
    assert [text for kind, text in scripts if 'type="application/json"' not in kind] == map_scripts()
    (policy,) = [m["content"] for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert f"script-src {script_sources()}" in policy


@pytest.mark.parametrize("error", [SourceError("gone"), OSError("gone"), None])
def test_imagery_that_is_gone_does_not_cost_the_report(finished: RunDir, error: Exception | None) -> None:
    def read_rgb(_window: Window) -> NDArray[np.uint8]:
        assert error is not None
        raise error

    for overview in (None, np.full((8, 10, 3), 40, dtype=np.uint8)):
        page = page_of(finished, run_info(), overview=overview, read_rgb=None if error is None else read_rgb)
        assert len(page.named("article")) > 1


def test_nothing_found_is_a_page_too(finished: RunDir) -> None:
    write_objects(finished, table_of([np.zeros((40, 50), dtype=np.uint64)]), grid=grid_of(), meta=META)
    page = page_of(finished, run_info())
    assert "No objects were found." in " ".join(page.text)
    assert len(page.named("img")) == 3  # overview, map, one empty tile


def test_a_run_in_pixel_space_is_reported_in_pixels(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    info = replace(run_info(), lattice=lattice_of(grid_of(crs=None)))
    golden_run(tmp_path)
    write_objects(run_dir, table_of([id_raster(seed=0)]), grid=info.lattice.grid, meta=META)
    text = " ".join(page_of(run_dir, info).text)
    assert "none (pixel space)" in text
    assert "area, pixels" in text
    assert "m²" not in text


def test_the_page_is_a_function_of_the_run(finished: RunDir) -> None:
    page_of(finished, run_info())
    first = finished.report.read_bytes()
    page_of(finished, run_info())
    assert finished.report.read_bytes() == first


def test_beyond_a_number_the_largest_objects_are_outlined(
    finished: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = len(table_of([id_raster(seed=0), id_raster(seed=1)]))
    assert f"{n} objects" in page_of(finished, run_info()).text
    monkeypatch.setattr(report_objects, "MAX_OUTLINES", 3)
    page = page_of(finished, run_info())
    assert "the 3 largest objects" in page.text
    assert [a["aria-label"] for a in page.named("svg")] == [
        f"histogram of {name}: {n} objects" for name in ("score", "area, m²")
    ]
