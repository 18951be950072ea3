"""Pictures of several sizes within their budget, and packed states."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from record_world import grid_of

from pipeline.write.report.map import map_ground
from pipeline.write.report.map.map_ground import ground_text, picture_levels, place_text
from pipeline.write.report.map.map_outlines import run_lengths


def picture(width: int, height: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    rng = np.random.default_rng(1)
    return rng.integers(0, 255, (height // 50, width // 50, 3), dtype=np.uint8).repeat(50, 0).repeat(50, 1)


def test_levels_are_halves_and_their_tiles_are_the_picture() -> None:
    rgb = picture(1200, 700)
    levels = picture_levels(rgb)
    assert [(level["w"], level["h"], len(level["tiles"])) for level in levels] == [
        (300, 175, 1),
        (600, 350, 2),
        (1200, 700, 6),
    ]
    finest = levels[-1]
    for at, text in enumerate(finest["tiles"]):
        row, col = divmod(at, 3)
        tile = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"), dtype=np.int64)
        want = rgb[row * 512 : (row + 1) * 512, col * 512 : (col + 1) * 512].astype(np.int64)
        assert tile.shape == want.shape
        assert np.abs(tile - want).mean() < 12


def test_finer_ones_than_the_budget_allows_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_ground, "MAX_PICTURE_BYTES", 1)
    assert [level["w"] for level in picture_levels(picture(1200, 700))] == [300]


def test_many_tiles_share_cells_and_the_worst_is_seen() -> None:
    states = np.full((3, 1200), 2, dtype=np.uint8)
    states[2, 700] = 12
    told = ground_text(states, (80.0, 80.0))
    assert told["shared"]
    assert (told["rows"], told["cols"], told["cell"]) == (1, 400, [240.0, 240.0])
    want = np.full(400, 2, dtype=np.uint8)
    want[233] = 12
    assert told["codes"] == run_lengths(want)
    assert not ground_text(states[:, :500], (80.0, 80.0))["shared"]


def test_units_are_those_of_the_crs() -> None:
    assert place_text(grid_of())["unit"] == "m"
    assert place_text(grid_of(crs="EPSG:4326"))["unit"] == "°"
    bare = place_text(grid_of(crs=None))
    assert (bare["unit"], bare["affine"]) == ("px", None)
