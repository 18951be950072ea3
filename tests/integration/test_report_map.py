"""The map of a report in a real browser: by mouse and keys, filtered, compared with a picture, offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import chromium, share_that_differs
from mapped_worlds import HEIGHT, LATTICE, WIDTH, map_page

from pipeline.write.export.feature_rows import InstanceRules
from pipeline.write.export.vector_tiles import write_vector_tiles, zooms_of
from pipeline.write.report import report_objects
from pipeline.write.report.map.map_section import LATER_DATA
from pipeline.write.run_dir import RunDir

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
"""Pictures of the canvas, without text. To draw them again: delete them, run this file, look at them."""

DIFFERENT_LEVELS = 48
DIFFERENT_SHARE = 0.001
"""A golden picture holds when at most this share of its pixels differs by more than so many of 255 levels:
browsers smooth lines and pictures differently. One outline that is missing is more than that."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


class Opened:
    """A page with the map of `mapped_worlds`, as a person has it."""

    def __init__(self, page: Any, place: Path) -> None:
        self.page = page
        self.asked: list[str] = []
        self.wrong: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda message: self.wrong.append(message.text))
        self.url = place.as_uri()
        page.goto(self.url)
        self.canvas = page.locator("#map-canvas")
        self.box = self.canvas.bounding_box()

    def settle(self) -> None:
        """Wait until pictures and vector tiles came and were drawn."""
        self.page.locator('#map-canvas[data-waiting="0"]').wait_for()

    def text(self, name: str) -> str:
        return str(self.page.locator(name).text_content())

    def at(self, col: float, row: float) -> tuple[float, float]:
        """Where a pixel of the grid is on the screen, when all is shown."""
        scale = 0.96 * min(self.box["width"] / WIDTH, self.box["height"] / HEIGHT)
        x = self.box["x"] + self.box["width"] / 2 + (col - WIDTH / 2) * scale
        return x, self.box["y"] + self.box["height"] / 2 + (row - HEIGHT / 2) * scale

    def where(self) -> tuple[float, float]:
        """Coordinates of the CRS under the middle of the map, as the page tells them."""
        self.page.mouse.move(self.box["x"] + self.box["width"] / 2, self.box["y"] + self.box["height"] / 2)
        x, y, *_ = self.text("#map-where").replace(",", "").split()
        return float(x), float(y)

    def facts(self) -> dict[str, str]:
        rows = self.page.locator("#map-object tr")
        pairs = (rows.nth(at).locator("td").all_text_contents() for at in range(rows.count()))
        return dict(pairs)


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opened]:
    (tmp_path / "report.html").write_bytes(map_page(tmp_path / "run"))
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    there = Opened(context.new_page(), tmp_path / "report.html")
    there.settle()
    yield there
    assert there.wrong == []
    assert {url.partition(":")[0] for url in there.asked} <= {"file", "data"}
    assert [url for url in there.asked if url.startswith("file")] == [there.url]
    context.close()


def compare(opened: Opened, name: str) -> None:
    shown = opened.canvas.screenshot(style=".mapscale { visibility: hidden; }", caret="initial")
    golden = GOLDEN / name
    if not golden.exists():
        golden.write_bytes(shown)
        pytest.fail(f"{golden} was not there and has been drawn: look at it")
    differs = share_that_differs(shown, golden, levels=DIFFERENT_LEVELS)
    assert differs <= DIFFERENT_SHARE, f"{differs:.2%} of {name} differ"


def test_the_first_look_and_the_layers_are_those_of_the_pictures(opened: Opened) -> None:
    compare(opened, "map-first-look.png")
    for state in ("found", "nothing-found", "gate", "no-imagery"):
        opened.page.locator(f"#map-ground-{state}").check()
    opened.page.locator("#map-partly").check()
    opened.page.locator("#map-picture").uncheck()
    opened.settle()
    compare(opened, "map-tiles.png")
    opened.page.locator("#map-query-0").uncheck()
    opened.settle()
    without = opened.canvas.screenshot(style=".mapscale { visibility: hidden; }", caret="initial")
    assert share_that_differs(without, GOLDEN / "map-tiles.png", levels=DIFFERENT_LEVELS) > DIFFERENT_SHARE


def test_it_is_moved_and_scaled_by_mouse_and_keys(opened: Opened) -> None:
    middle = opened.where()
    assert middle == (450_000 + WIDTH / 4, 36_000 - HEIGHT / 4)
    page = opened.page
    page.mouse.move(*opened.at(200, 150))
    page.mouse.wheel(0, -300)  # twice as large
    opened.settle()
    assert opened.where() == pytest.approx(middle, abs=0.2)
    page.mouse.down()
    page.mouse.move(*opened.at(250, 150), steps=4)
    page.mouse.up()
    assert opened.where()[0] == pytest.approx(middle[0] - 25 * 0.5, abs=0.4)
    opened.canvas.focus()
    page.keyboard.press("ArrowDown")
    assert opened.where()[1] < middle[1] - 5
    page.keyboard.press("0")
    assert opened.where() == middle
    scale = opened.text("#map-scale")
    for _ in range(4):
        page.keyboard.press("+")
    opened.settle()
    assert opened.text("#map-scale") != scale
    for _ in range(4):
        page.keyboard.press("-")
    opened.settle()
    assert opened.text("#map-scale") == scale


def test_two_fingers_scale_it(opened: Opened) -> None:
    session = opened.page.context.new_cdp_session(opened.page)
    x, y = opened.at(200, 150)
    wide = float(opened.page.locator("#map-scale-bar").bounding_box()["width"])
    length = float(opened.text("#map-scale").split()[0])

    def touch(kind: str, *spread: float) -> None:
        points = [{"x": x + sign * each, "y": y, "id": i} for each in spread for i, sign in ((0, -1), (1, 1))]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 40)
    for spread in (60, 80, 100, 120):
        touch("touchMove", spread)
    touch("touchEnd")
    opened.settle()
    now = float(opened.page.locator("#map-scale-bar").bounding_box()["width"])
    closer = (now / float(opened.text("#map-scale").split()[0])) / (wide / length)
    assert closer == pytest.approx(3, rel=0.1)
    assert opened.where() == pytest.approx((450_000 + WIDTH / 4, 36_000 - HEIGHT / 4), abs=0.5)


def test_an_object_is_chosen_by_click_and_by_keys(opened: Opened) -> None:
    page = opened.page
    page.mouse.click(*opened.at(170, 120))
    facts = opened.facts()
    assert facts["id"] == str(2**53 + 1)
    assert facts["why"] == "<b>two</b> tiles"
    assert facts["tiles"] == "2"
    assert "confidence" not in facts
    page.mouse.click(*opened.at(300, 220))  # the island of the pond
    assert opened.facts() == {}
    page.mouse.click(*opened.at(270, 220))
    assert opened.facts()["query"] == "ponds </script>"
    page.keyboard.press("Escape")
    assert opened.facts() == {}
    order = []
    for _ in range(5):
        page.keyboard.press("n")
        order.append(opened.facts()["id"])
    assert order == ["44", str(2**53 + 1), "33", "11", "44"]  # the lowest score first, then from the start
    page.keyboard.press("p")
    opened.settle()
    assert opened.facts()["id"] == "11"
    compare(opened, "map-object.png")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    assert opened.facts()["id"] == "11"  # it lies in the middle


def test_filters_say_how_many_they_leave(opened: Opened) -> None:
    page = opened.page

    def left(of: dict[str, str], place: str = "all") -> list[str]:
        page.locator("#map-reset").click()
        for name, value in of.items():
            page.locator(f"#map-{name}").fill(value)
        page.locator("#map-place").select_option(place)
        cards = page.locator("#map-list article")
        assert opened.text("#map-count") == f"{cards.count()} of 4 objects shown"
        return [text.split(" ·")[0] for text in page.locator("#map-list .marks").all_text_contents()]

    assert left({}) == ["score 0.20", "score 0.40", "score 0.70", "score 0.90"]
    assert left({"score-least": "0.5"}) == ["score 0.70", "score 0.90"]
    assert left({"score-least": "0.3", "score-most": "0.5"}) == ["score 0.40"]
    assert left({"area-most": "350", "area-least": "2"}) == ["score 0.90"]
    assert left({}, "joined") == ["score 0.40"]
    assert left({}, "cut") == ["score 0.20"]
    assert left({}, "partly") == ["score 0.20"]
    assert left({}, "failed") == []
    page.locator("#map-reset").click()
    page.locator("#map-query-1").uncheck()
    assert opened.text("#map-count") == "2 of 4 objects shown"
    page.mouse.click(*opened.at(270, 220))
    assert opened.facts() == {}  # what is filtered out is not there
    assert not page.locator("#map-confidence").is_visible()


def write_tiles(path: Path, run_dir: RunDir) -> None:
    write_vector_tiles(
        path,
        run_dir,
        grid=LATTICE.grid,
        zooms=zooms_of(LATTICE.grid),
        query_indexes=(0, 1),
        rules=InstanceRules(),
        progress=lambda _: None,
    )


def test_what_the_page_has_no_room_for_comes_from_vector_tiles(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page has room for one object; with the file it looks as if it had room for all."""
    monkeypatch.setattr(report_objects, "MAX_OUTLINES", 1)
    monkeypatch.setattr(report_objects, "MAX_DOUBTFUL", 1)
    result = RunDir(tmp_path / "run").in_snapshot("0123abcd")
    (tmp_path / "report.html").write_bytes(map_page(tmp_path / "run", "0123abcd"))
    write_tiles(tmp_path / "objects.pmtiles", result)
    map_page(tmp_path / "run", "4567")
    write_tiles(tmp_path / "other.pmtiles", result.in_snapshot("4567"))
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    there = Opened(context.new_page(), tmp_path / "report.html")
    there.settle()
    assert there.text("#map-count") == "2 of 2 objects shown"
    assert "Of 4 objects, 2 are in this page" in there.text("#map-notes")
    there.page.mouse.click(*there.at(175, 120))
    assert there.facts() == {}
    (tmp_path / "broken.pmtiles").write_bytes(b"PMTiles" + bytes(200))
    there.page.locator("#map-file").set_input_files(tmp_path / "broken.pmtiles")
    there.page.locator("#map-file-said").filter(has_text="it is no PMTiles file of version 3").wait_for()
    there.page.locator("#map-file").set_input_files(tmp_path / "other.pmtiles")
    there.page.locator("#map-file-said").filter(has_text="it is of another result").wait_for()
    there.page.locator("#map-file").set_input_files(tmp_path / "objects.pmtiles")
    there.page.locator("#map-file-said").filter(
        has_text="The objects of objects.pmtiles are drawn"
    ).wait_for()
    there.settle()
    there.page.mouse.click(*there.at(175, 120))
    facts = there.facts()
    assert (facts["id"], facts["score"]) == (str(2**53 + 1), "0.4000")
    assert facts["why"] == "<b>two</b> tiles"
    there.page.keyboard.press("Escape")
    there.page.locator("#map-seams").uncheck()  # a vector tile does not say what was joined
    there.page.mouse.move(0, 0)
    there.page.locator("#map-reset").focus()
    there.settle()
    shown = there.canvas.screenshot(style=".mapscale { visibility: hidden; }", caret="initial")
    differs = share_that_differs(shown, GOLDEN / "map-first-look.png", levels=DIFFERENT_LEVELS)
    assert differs <= DIFFERENT_SHARE, f"{differs:.2%} differ"
    there.page.locator("#map-score-least").fill("0.5")
    there.settle()
    there.page.mouse.click(*there.at(175, 120))
    assert there.facts() == {}  # filters hold for them, too
    assert there.wrong == []
    assert [url for url in there.asked if url.startswith("file")] == [there.url]
    context.close()


def test_confidences_of_a_review_sort_and_filter(browser: Any, tmp_path: Path) -> None:
    """Of the ponds a high score means little: the curve turns the order of the queries."""
    curves = '{"curves":{"0":{"slope":4,"intercept":0},"1":{"slope":1,"intercept":-3}}}'
    page = map_page(tmp_path / "run").decode()
    told = page.replace(LATER_DATA, f'<script type="application/json" id="later">{curves}</script>')
    (tmp_path / "report.html").write_text(told)
    there = Opened(browser.new_page(viewport={"width": 1280, "height": 900}), tmp_path / "report.html")
    marks = there.page.locator("#map-list .marks").all_text_contents()
    want = ["confidence 0.06", "confidence 0.09", "confidence 0.83", "confidence 0.97"]
    assert [text.split(" · ")[0] for text in marks] == want  # 1 / (1 + exp(2.8)), ...
    there.page.locator("#map-confidence-least").fill("0.5")
    assert there.text("#map-count") == "2 of 4 objects shown"
    assert "Lowest confidence first" in there.text("#map-list-title")
    assert there.wrong == []
    there.page.close()
