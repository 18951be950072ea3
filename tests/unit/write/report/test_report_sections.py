"""Sections that both kinds of report have; the whole pages are tested with these."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from record_world import QUERIES, golden_run, grid_of

from pipeline.errors import SourceError
from pipeline.schema.tiling import Window
from pipeline.write.report.report_html import Html
from pipeline.write.report.report_objects import ObjectNames, ObjectSummary, read_objects
from pipeline.write.report.report_sections import (
    Pixels,
    css,
    distributions_section,
    nothing_section,
    objects_section,
    overview_section,
    short_text,
    tile_card,
)
from pipeline.write.run_dir import RunDir

GRID = Window(row0=0, col0=0, row1=40, col1=80)
LEFT_IS_WHITE = np.repeat(np.where(np.arange(20) < 10, 255, 0)[None, :, None], 10, axis=0).repeat(3, axis=2)
"""An overview of GRID, a quarter as fine."""


def part(col0: int, col1: int) -> Window:
    return Window(row0=8, col0=col0, row1=24, col1=col1)


def webp() -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (4, 4)).save(sink, format="WEBP")
    return sink.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, ObjectSummary]:
    folder = tmp_path_factory.mktemp("run")
    golden_run(folder)
    run_dir = RunDir(folder)
    return run_dir, read_objects(run_dir, n_queries=len(QUERIES), seed=1)


class TestPixels:
    def test_a_window_comes_from_the_imagery_first(self) -> None:
        def read_rgb(window: Window) -> NDArray[np.uint8]:
            return np.full((*window.shape, 3), 77, dtype=np.uint8)

        pixels = Pixels(GRID, LEFT_IS_WHITE.astype(np.uint8), read_rgb)
        cut = pixels.cut(part(0, 32), 64)
        assert cut.shape == (32, 64, 3)
        assert (cut == 77).all()

    def test_then_from_the_overview(self) -> None:
        def gone(_: Window) -> NDArray[np.uint8]:
            raise SourceError("gone")

        for read_rgb in (None, gone):
            pixels = Pixels(GRID, LEFT_IS_WHITE.astype(np.uint8), read_rgb)
            assert pixels.cut(part(0, 32), 64).min() == 255
            assert pixels.cut(part(48, 80), 64).max() == 0
            assert pixels.whole(160).shape == (80, 160, 3)

    def test_then_it_is_plain_paper(self) -> None:
        pixels = Pixels(GRID, None, None)
        assert len(np.unique(pixels.cut(part(0, 32), 64).reshape(-1, 3), axis=0)) == 1
        assert pixels.whole(160).shape == (80, 160, 3)

    def test_imagery_larger_than_a_chip_is_worth_is_not_read(self) -> None:
        large = Window(row0=0, col0=0, row1=10, col1=2049)
        pixels = Pixels(large, None, lambda _: pytest.fail("it was read"))
        assert pixels.cut(large, 64).shape[1] == 64


def test_every_object_is_outlined_and_chosen_ones_get_a_card(finished: tuple[RunDir, ObjectSummary]) -> None:
    run_dir, objects = finished
    pixels = Pixels(grid_of().window, None, None)
    overview = overview_section(run_dir, objects, grid_of(), pixels, tiles=webp())
    assert f"{len(objects)} objects" in overview
    assert overview.count("<img") == 2
    cards = objects_section(run_dir, objects, grid_of(), pixels)
    assert cards.count("<article") == len({key for group in objects.groups.values() for key in group})
    assert distributions_section(objects).count("<svg") == 2


def test_nothing_is_said_in_words(tmp_path: Path) -> None:
    nothing = ObjectSummary(
        n_per_query=np.zeros(1, dtype=np.int64),
        score_counts=np.zeros((1, 1), dtype=np.int64),
        px=None,  # type: ignore[arg-type]
        m2=None,  # type: ignore[arg-type]
        outlined=None,
        doubtful=ObjectNames(
            query_index=np.zeros(0, dtype=np.int64), instance_id=np.zeros(0, dtype=np.uint64)
        ),
        groups={},
    )
    pixels = Pixels(GRID, None, None)
    assert "No objects were found." in objects_section(RunDir(tmp_path), nothing, grid_of(), pixels)
    assert distributions_section(nothing) == Html("")
    assert nothing_section([]) == Html("")


def test_texts_are_short_and_hide_secrets() -> None:
    card = tile_card("a/r0", "see  https://h/a.tif?sig=SECRET <b>", webp())
    assert "SECRET" not in card
    assert "&lt;b&gt;" in card
    assert nothing_section([card]).count("<article") == 1
    assert len(short_text("word " * 200)) <= 420
    assert css((255, 0, 16)) == "#ff0010"
