"""Points of a regular grid: those of neighbouring tiles are the same places."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_tiles import PATIENT, grid, lattice, tile_image
from pyproj import Geod, Transformer

from pipeline.errors import InputError
from pipeline.prompt.grid_prompter import GridPrompter, check_spacing, spacing_px
from pipeline.prompt.prompter import Prompter
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Reason, TilePrompts, TileStatus

_conforms: Prompter = GridPrompter(8.0)


def asked(image: TileImage, spacing: float, queries: tuple[str, ...] = ("everything",)) -> list[TilePrompts]:
    return asyncio.run(GridPrompter(spacing).prompt(image, queries))


def places(image: TileImage, spacing: float) -> set[tuple[float, float]]:
    """The points of a tile, on the run grid."""
    (answer,) = asked(image, spacing)
    read = image.tile.read
    return {
        (prompt.points_xy[0][0] + read.col0, prompt.points_xy[0][1] + read.row0) for prompt in answer.prompts
    }


def test_points_by_hand() -> None:
    """A tile that begins at row 0 and column 30: points at 5, 15, ... of the grid."""
    tiles = lattice(grid(100, 80), tile_px=60, halo_px=10)
    image = tile_image(tiles, 0, 1)
    assert (image.tile.read.row0, image.tile.read.col0, image.tile.read.col1) == (0, 30, 90)
    (answer,) = asked(image, 10.0)
    assert [prompt.points_xy[0] for prompt in answer.prompts[:7]] == [
        *((x, 5.0) for x in (5.0, 15.0, 25.0, 35.0, 45.0, 55.0)),
        (5.0, 15.0),
    ]
    assert len(answer.prompts) == 6 * 5
    assert {prompt.point_labels for prompt in answer.prompts} == {(1,)}


@PATIENT
@given(
    spacing=st.floats(4.0, 40.0),
    width=st.integers(40, 150),
    height=st.integers(40, 120),
    halo=st.integers(1, 15),
)
def test_all_tiles_try_the_same_places(spacing: float, width: int, height: int, halo: int) -> None:
    """Each tile has the points of the whole picture that lie in its read window: no more, and no fewer."""
    run_grid = grid(width, height)
    whole = places(tile_image(lattice(run_grid, tile_px=400, halo_px=1)), spacing)
    assert len(whole) == len(np.arange(spacing / 2, width, spacing)) * len(
        np.arange(spacing / 2, height, spacing)
    )
    tiles = lattice(run_grid, tile_px=32 + 2 * halo, halo_px=halo)
    for row in range(tiles.n_tile_rows):
        for col in range(tiles.n_tile_cols):
            image = tile_image(tiles, row, col)
            read = image.tile.read
            expected = {(x, y) for x, y in whole if read.col0 <= x < read.col1 and read.row0 <= y < read.row1}
            np.testing.assert_allclose(
                sorted(places(image, spacing)), sorted(expected) or np.empty((0,)), atol=1e-9
            )


def test_points_without_imagery_are_not_tried() -> None:
    image = tile_image(lattice(grid()))
    valid = image.valid.copy()
    valid[:, 20:] = False
    (answer,) = asked(replace(image, valid=valid), 10.0)
    assert {prompt.points_xy[0][0] for prompt in answer.prompts} == {5.0, 15.0}
    (none,) = asked(replace(image, valid=np.zeros_like(valid)), 10.0)
    assert (none.status, none.reason, none.prompts) == (TileStatus.EMPTY, Reason.PROMPTER, ())


def test_every_query_gets_the_same_answer() -> None:
    first, second = asked(tile_image(lattice(grid())), 10.0, ("a", "b"))
    assert (first.query_index, second.query_index) == (0, 1)
    assert first.prompts == second.prompts


def test_metres_are_measured_on_the_ground() -> None:
    """In Web Mercator at 60 N a pixel of one unit is half a metre."""
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(10.0, 60.0)
    mercator = replace(grid(crs="EPSG:3857"), transform=(1.0, 0.0, x - 50, 0.0, -1.0, y + 40))
    assert spacing_px(10.0, mercator) == pytest.approx(20.0, rel=0.01)
    assert spacing_px(10.0, grid()) == pytest.approx(10.0, rel=0.001)
    degrees = replace(grid(crs="EPSG:4326"), transform=(1e-5, 0.0, 10.0, 0.0, -1e-5, 60.0))
    side_x = Geod(ellps="WGS84").inv(10.0, 60.0, 10.00001, 60.0)[2]
    side_y = Geod(ellps="WGS84").inv(10.0, 60.0, 10.0, 60.00001)[2]
    assert spacing_px(10.0, degrees) == pytest.approx(10.0 / np.sqrt(side_x * side_y), rel=0.001)


def test_grids_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(InputError, match="--points-per-side"):
        spacing_px(2.0, grid(crs=None))
    check_spacing(4.0)
    with pytest.raises(InputError, match=r"at least 4 px apart. Got: 3.9 px"):
        check_spacing(3.9)
