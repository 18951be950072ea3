from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from record_world import grid_of, lattice_of

from pipeline.schema.tiling import Window
from pipeline.write.report.report_images import (
    QUERY_COLOURS,
    STATUS_COLOURS,
    Shape,
    blank,
    chip_window,
    coverage_map,
    draw_shapes,
    fit,
    query_colour,
)


def pixels(data: bytes) -> NDArray[np.int64]:
    assert data[8:12] == b"WEBP"
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.int64)


def test_outlines_lie_on_the_edge_of_the_object_and_nowhere_else() -> None:
    grey = np.full((100, 120, 3), 128, dtype=np.uint8)
    window = Window(row0=1000, col0=2000, row1=1200, col1=2240)  # the picture shows it at half size
    square = shapely.box(2060, 1060, 2160, 1140) - shapely.box(2100, 1090, 2120, 1110)
    image = pixels(draw_shapes(grey, window, [Shape(geometry=square, colour=(255, 60, 160))]))
    assert image.shape == (100, 120, 3)
    difference = np.abs(image - 128).sum(axis=2)
    assert difference[:25].max() < 40  # far above the object nothing changed
    assert difference[30, 40:70].min() > 60  # the top edge, row (1060 - 1000) / 2
    assert difference[60, 55] < difference[30, 55]  # inside is only tinted
    assert difference[50, 55] < 40  # the hole shows the ground


def test_multipolygons_boxes_and_nothing_can_be_drawn() -> None:
    grey = np.full((50, 50, 3), 128, dtype=np.uint8)
    window = Window(row0=0, col0=0, row1=50, col1=50)
    two = shapely.MultiPolygon([shapely.box(5, 5, 15, 15), shapely.box(30, 30, 45, 45)])
    image = pixels(
        draw_shapes(grey, window, [Shape(geometry=two, colour=(0, 255, 0))], box_xyxy=(2, 2, 48, 48))
    )
    assert (np.abs(image[5, 5:15] - 128).sum(axis=1) > 50).all()
    assert (np.abs(image[45, 30:45] - 128).sum(axis=1) > 50).all()
    assert image[2, 20].min() > 180  # the white prompt box
    assert np.abs(pixels(draw_shapes(grey, window, [])) - 128).max() < 4


def test_the_coverage_map_tints_each_tile_by_status() -> None:
    lattice = lattice_of(grid_of(50, 40))  # 4 x 5 tiles of 10 px
    statuses = np.zeros((4, 5), dtype=np.uint8)
    statuses[0, 0], statuses[1, 2], statuses[3, 4] = 1, 2, 3
    image = pixels(coverage_map(lattice, statuses, rgb=None, width_px=500))
    assert image.shape == (400, 500, 3)

    def at(row: int, col: int) -> NDArray[np.int64]:
        return image[row * 100 + 50, col * 100 + 50]

    assert at(0, 0).argmax() == 1  # green
    assert at(3, 4).argmax() == 0  # red
    assert at(1, 2).argmax() == 2  # blue grey
    assert at(2, 2).min() > 230  # not planned: paper
    rgb = np.zeros((20, 25, 3), dtype=np.uint8)
    assert pixels(coverage_map(lattice, statuses, rgb=rgb, width_px=500))[250, 250].max() < at(2, 2).min()


def test_a_map_of_more_tiles_than_pixels_still_shows_a_failure() -> None:
    lattice = lattice_of(grid_of(30000, 30000))
    statuses = np.ones((3000, 3000), dtype=np.uint8)
    statuses[1501, 777] = 3
    image = pixels(coverage_map(lattice, statuses, rgb=None, width_px=300))
    rows, cols = (image[..., 0] > image[..., 1] + 20).nonzero()
    assert rows.size >= 4
    assert abs(rows.mean() - 150) < 5
    assert abs(cols.mean() - 78) < 5


@pytest.mark.parametrize("tile_px", [48, 1024, 2**16])
@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (1, 1, (300, 300)),
        (1, 300, (4, 600)),
        (300, 1, (300, 4)),
        (20_000, 3, (300, 4)),
        (3, 2**21, (4, 600)),
        (90, 30, (300, 100)),
    ],
)
def test_the_map_of_any_grid_is_a_small_picture(
    tile_px: int, width: int, height: int, size: tuple[int, int]
) -> None:
    """Green all over, however small the grid is in its tile and however thin."""
    lattice = replace(lattice_of(grid_of(width, height)), tile_px=tile_px, halo_px=8)
    statuses = np.ones((lattice.n_tile_rows, lattice.n_tile_cols), dtype=np.uint8)
    image = pixels(coverage_map(lattice, statuses, rgb=None, width_px=300))
    assert image.shape == (size[1], size[0], 3)
    assert (image.argmax(axis=2) == 1).mean() > 0.99


def test_a_strip_shows_each_tile_in_its_place() -> None:
    lattice = lattice_of(grid_of(60, 1))  # 1 x 6 tiles of 10 px
    statuses = np.array([[1, 0, 3, 0, 1, 3]], dtype=np.uint8)
    image = pixels(coverage_map(lattice, statuses, rgb=None, width_px=600))
    middle = image[2, 50::100]
    assert middle.argmax(axis=1)[statuses[0] == 3].tolist() == [0, 0]
    assert middle.argmax(axis=1)[statuses[0] == 1].tolist() == [1, 1]


@settings(deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.floats(0, 400),
    st.floats(0, 400),
    st.floats(0.5, 300),
    st.floats(0.5, 300),
)
def test_a_chip_lies_on_the_grid_and_holds_its_object(
    width: int, height: int, x: float, y: float, w: float, h: float
) -> None:
    grid = Window(row0=0, col0=0, row1=height, col1=width)
    x0 = min(x, width - 0.1)
    y0 = min(y, height - 0.1)
    x1 = min(x0 + w, width)
    y1 = min(y0 + h, height)
    window = chip_window((x0, y0, x1, y1), grid)
    assert window.intersect(grid) == window
    assert window.col0 <= x0 + 1
    assert x1 <= window.col1 + 1
    assert window.row0 <= y0 + 1
    assert y1 <= window.row1 + 1
    assert window.width >= min(64, width)


@pytest.mark.parametrize("shape", [(10, 40), (300, 3), (1, 1)])
def test_pictures_are_fitted_by_their_longer_side(shape: tuple[int, int]) -> None:
    assert max(fit(np.zeros((*shape, 3), dtype=np.uint8), side_px=100).shape) == 100
    assert max(blank(Window(row0=0, col0=0, row1=shape[0], col1=shape[1]), side_px=100).shape) == 100


def test_colours_are_distinct_and_repeat() -> None:
    assert len(set(QUERY_COLOURS)) == len(QUERY_COLOURS)
    assert query_colour(0) == query_colour(len(QUERY_COLOURS))
    assert list(STATUS_COLOURS) == ["found", "empty", "failed"]
