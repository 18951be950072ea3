"""Outlines as SVG: where they lie, in which colours, and how many."""

from __future__ import annotations

import re

import numpy as np
import pytest
import shapely

from pipeline.evaluate.finished_run import layer_picture as module
from pipeline.evaluate.finished_run.layer_match import EXTRA, MATCHED, MISSED
from pipeline.evaluate.finished_run.layer_picture import COLOURS, layer_picture


def shapes(*boxes: tuple[float, float, float, float]) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([shapely.box(*box) for box in boxes], dtype=object)


def test_outlines_fill_the_picture_and_have_the_colour_of_their_status() -> None:
    """The longer side is 200 pixels of the run, so a pixel is 5 of the picture."""
    found = layer_picture(shapes((100, 50, 120, 60), (290, 140, 300, 150)), [MATCHED, MISSED])
    paths = dict(re.findall(r'<path d="([^"]*)" stroke="([^"]*)"', found))
    assert {colour: sorted(_corners(path)) for path, colour in paths.items()} == {
        COLOURS[MATCHED]: [(0, 0), (0, 50), (100, 0), (100, 50)],
        COLOURS[MISSED]: [(950, 450), (950, 500), (1000, 450), (1000, 500)],
    }
    assert 'viewBox="-2 -2 1004 504"' in found


def _corners(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_a_hole_is_a_ring_of_its_own() -> None:
    ring = shapely.box(0, 0, 10, 10).difference(shapely.box(4, 4, 6, 6))
    found = layer_picture(np.array([ring], dtype=object), [EXTRA])
    assert found.count("M") == found.count("Z") == 2


def test_of_many_those_that_differ_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OBJECTS", 2)
    many = shapes((0, 0, 1, 1), (2, 0, 3, 1), (4, 0, 5, 1), (6, 0, 7, 1))
    found = layer_picture(many, [MATCHED, MATCHED, MISSED, EXTRA])
    assert found.count("<path") == 2
    assert "2 more that agree are not drawn" in found


def test_nothing_to_draw() -> None:
    assert "nothing to draw" in layer_picture(shapes(), [])
