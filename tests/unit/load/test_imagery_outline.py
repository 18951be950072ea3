"""Where a scene has imagery. Oracle: the pixels that were written, by rasterio alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.load import imagery_outline as module
from pipeline.load.imagery_outline import HOLE_PX, imagery_outline, large_holes, outline_around
from pipeline.load.prepare_scenes import LoadOptions
from pipeline.schema.imagery import Scene

MakeTif = Callable[..., str]


def noise(height: int, width: int) -> NDArray[Any]:
    return np.random.default_rng(0).integers(60, 255, (3, height, width)).astype("uint8")


def scene_of(path: str) -> Scene:
    return open_scenes(SourceOptions(hrefs=(path,)))[0]


def outline_of(path: str, **options: Any) -> Any:
    return imagery_outline(scene_of(path), LoadOptions(**options))


class TestOfAFile:
    def test_a_stripe_of_nodata_is_left_out_and_no_more_than_its_surroundings(
        self, make_tif: MakeTif
    ) -> None:
        pixels = noise(120, 200)
        pixels[:, :, 50:100] = 0
        drawn = outline_of(make_tif("a.tif", pixels, nodata=0))
        inside = shapely.intersection(drawn, shapely.box(0, 0, 200, 120))
        sure = shapely.union_all([shapely.box(0, 0, 48, 120), shapely.box(102, 0, 200, 120)])
        assert inside.symmetric_difference(sure).area == 0

    def test_what_hides_no_object_is_no_hole(self, make_tif: MakeTif) -> None:
        pixels = noise(120, 200)
        assert outline_of(make_tif("whole.tif", pixels, nodata=0)) is None
        pixels[:, :, : HOLE_PX - 1] = 0
        pixels[:, 60:70] = 0
        pixels[:, ::7, ::5] = 0
        assert outline_of(make_tif("narrow.tif", pixels, nodata=0)) is None
        pixels[:, :, :HOLE_PX] = 0
        assert outline_of(make_tif("wide.tif", pixels, nodata=0)) is not None

    def test_options_say_what_is_no_imagery_as_they_do_for_tiles(self, make_tif: MakeTif) -> None:
        pixels = noise(200, 200)
        pixels[:, :, :70] = 0
        path = make_tif("a.tif", pixels)
        edge = shapely.box(0, 0, 60, 200)
        black = outline_of(path)  # a collar that nothing declares
        assert black is not None
        assert not shapely.intersects(black, edge)
        assert outline_of(path, collar="off") is None
        assert not shapely.intersects(outline_of(path, collar="off", nodata="0"), edge)
        assert outline_of(make_tif("tagged.tif", pixels, nodata=0), nodata="none", collar="off") is None

    def test_a_scene_without_any_imagery_has_an_empty_outline(self, make_tif: MakeTif) -> None:
        drawn = outline_of(make_tif("a.tif", np.zeros((3, 80, 80), "uint8"), nodata=0))
        assert drawn is not None
        assert drawn.is_empty

    def test_a_large_scene_is_read_through_its_overviews_or_not_at_all(
        self, make_tif: MakeTif, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import rasterio

        monkeypatch.setattr(module, "SIDE_PX", 64)
        monkeypatch.setattr(module, "FULL_READ_BYTES", 40_000)
        pixels = noise(240, 512)
        pixels[:, :, 200:300] = 0
        path = make_tif("a.tif", pixels, nodata=0)
        assert outline_of(path) is None
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4, 8])
        drawn = shapely.intersection(outline_of(path), shapely.box(0, 0, 512, 240))
        assert not shapely.intersects(drawn, shapely.box(200, 0, 300, 240))
        assert shapely.covers(drawn, shapely.box(0, 0, 200 - 3 * 8, 240))
        assert shapely.covers(drawn, shapely.box(300 + 3 * 8, 0, 512, 240))

    def test_a_broken_scene_tells_nothing_and_a_silent_server_ends_the_planning(
        self, make_tif: MakeTif, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene = scene_of(make_tif("a.tif", noise(60, 60), nodata=0))
        assert imagery_outline(replace(scene, failure="gone"), LoadOptions()) is None
        assert imagery_outline(replace(scene, href=scene.href + ".gone"), LoadOptions()) is None

        def failing(*_: object, **__: object) -> None:
            raise SourceError("no answer", retryable=True)

        monkeypatch.setattr(module, "look_at", failing)
        with pytest.raises(SourceError, match="no answer"):
            imagery_outline(scene, LoadOptions())


rectangles = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 40), st.integers(1, 40)), max_size=5
)


@settings(max_examples=60, deadline=None)
@given(rectangles=rectangles, cell_px=st.sampled_from([1, 8, 20]))
def test_nothing_of_a_hole_is_claimed_and_little_of_the_rest_is_lost(
    rectangles: list[tuple[int, int, int, int]], cell_px: int
) -> None:
    valid = np.ones((60, 60), dtype=np.bool_)
    for row, col, height, width in rectangles:
        valid[row : row + height, col : col + width] = False
    holes = large_holes(valid, cell_px=cell_px)
    assert not (holes & valid).any()
    if not holes.any():
        return
    drawn = outline_around(holes, width=60 * cell_px, height=60 * cell_px)
    assert drawn.is_valid
    rows, cols = np.indices((60, 60))
    cells = shapely.box(cols * cell_px, rows * cell_px, (cols + 1) * cell_px, (rows + 1) * cell_px)
    shared = shapely.area(shapely.intersection(cells, drawn)) / cell_px**2
    assert shared[holes].max() == 0
    far = np.ones_like(valid)
    for row, col in np.argwhere(holes).tolist():
        far[max(row - 4, 0) : row + 5, max(col - 4, 0) : col + 5] = False
    assert shared[far].min(initial=1.0) == pytest.approx(1.0)


def test_holes_are_measured_in_pixels_of_the_scene() -> None:
    valid = np.ones((40, 40), dtype=np.bool_)
    valid[10:14, 10:14] = False
    valid[30, 5:35] = False
    assert large_holes(valid, cell_px=HOLE_PX // 4).sum() == 16
    assert not large_holes(valid, cell_px=HOLE_PX // 5).any()
    assert large_holes(valid, cell_px=10 * HOLE_PX).sum() == 16, "two cells at least"
