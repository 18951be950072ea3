"""Where scenes lie on a lattice, by hand-made worlds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from pipeline.grid.lattice import affine_of, outer_window, place_scenes, tuple_of
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import RunGrid

MakeScene = Callable[..., Scene]

AFFINES = {
    "north up": Affine(0.5, 0, 450000, 0, -0.5, 40000),
    "south up": Affine(0.5, 0, 450000, 0, 0.5, 40000),
    "oblong": Affine(0.1000976, 0, 450000.03, 0, -0.0999756, 40000.07),
    "rotated": Affine.translation(450000, 40000) @ Affine.rotation(33) @ Affine.scale(0.3, -0.3),
    "pixel space": Affine.identity(),
}


def moved(affine: Affine, rows: float, cols: float) -> tuple[float, ...]:
    return tuple_of(affine @ Affine.translation(cols, rows))


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@given(rows=st.integers(-100_000, 100_000), cols=st.integers(-100_000, 100_000))
@settings(max_examples=40, deadline=None)
def test_whole_pixel_shifts_are_one_lattice(affine: Affine, rows: int, cols: int) -> None:
    grid = RunGrid(crs_wkt=None, transform=tuple_of(affine), width=10, height=10)
    scene = Scene(
        scene_id="s",
        href="s.tif",
        crs_wkt=None,
        transform=moved(affine, rows, cols),  # type: ignore[arg-type]
        width=50,
        height=40,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
    )
    assert place_scenes([scene], grid).offsets == ((rows, cols),)


@pytest.mark.parametrize("shift", [(0.4, 0.0), (0.0, 0.6), (0.02, 0.0)])
def test_part_pixel_shifts_are_not(make_scene: MakeScene, shift: tuple[float, float]) -> None:
    first = make_scene()
    other = make_scene(transform=moved(affine_of(first.transform), *shift))
    grid = RunGrid(crs_wkt=first.crs_wkt, transform=first.transform, width=9, height=9)
    assert place_scenes([other], grid).offsets == (None,)


def test_pixel_sizes_that_drift_apart_are_not(make_scene: MakeScene) -> None:
    first = make_scene(width=20000, height=20000)
    grid = RunGrid(crs_wkt=first.crs_wkt, transform=first.transform, width=9, height=9)
    steady = make_scene(transform=(0.5000001, 0, 450000, 0, -0.5, 40000), width=20000)
    drifting = make_scene(transform=(0.50001, 0, 450000, 0, -0.5, 40000), width=20000)
    assert place_scenes([steady, drifting], grid).offsets == ((0, 0), None)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ((0.0, 0.0, 4.0, 5.0), (0, 0, 5, 4)),
        ((-1e-7, 1e-7, 4 + 1e-7, 5 - 1e-7), (0, 0, 5, 4)),
        ((0.5, -0.5, 4.2, 5.2), (-1, 0, 6, 5)),
    ],
)
def test_outer_window(edges: tuple[float, ...], expected: tuple[int, ...]) -> None:
    window = outer_window(*edges)
    assert (window.row0, window.col0, window.row1, window.col1) == expected
