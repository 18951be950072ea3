"""Right angles in a whole export: no new overlaps, whatever the objects are, and what does not fit stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS
from shapely import affinity

from pipeline.errors import InputError
from pipeline.run.clean_outlines import CleaningRequest
from pipeline.run.right_angled_outlines import plane_at, square_up
from pipeline.schema.tiling import RunGrid, Window
from pipeline.stitch.simple_outlines import joined
from pipeline.write.export.mask_reader import MaskReader
from pipeline.write.export.outline_store import OutlineStore
from pipeline.write.on_body import ground_of

SIDE = 96
GRID = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=SIDE, height=SIDE)


class RasterInMemory(MaskReader):
    """The ids of one query."""

    def __init__(self, ids: NDArray[np.uint64]) -> None:
        self._ids = ids

    def read(self, array: str, query_index: int, window: Window) -> NDArray[np.uint64]:
        assert (array, query_index) == ("instance_id", 0)
        return self._ids[window.row0 : window.row1, window.col0 : window.col1]


def pixel_outlines(ids: NDArray[np.uint64]) -> dict[int, shapely.Geometry]:
    found: dict[int, list[shapely.Geometry]] = {}
    for shape, number in rasterio.features.shapes(ids.astype("int32"), mask=ids > 0):
        found.setdefault(int(number), []).append(shapely.geometry.shape(shape))
    return {number: shapely.union_all(parts) for number, parts in found.items()}


def squared(
    path: Path, ids: NDArray[np.uint64], least_iou: float
) -> tuple[dict[int, shapely.Geometry], dict[int, shapely.Geometry], int]:
    """(outlines before, after, how many became right-angled)."""
    path.unlink(missing_ok=True)
    before = pixel_outlines(ids)
    with OutlineStore(path, joined) as store:
        numbers = np.array(list(before), dtype=np.uint64)
        store.add(0, numbers, np.array(list(before.values()), dtype=object))
        store.close_pieces()
        done = square_up(
            store, RasterInMemory(ids), grid=GRID, queries=(0,), least_iou=least_iou, progress=lambda _: None
        )
        after = store.outlines(0, numbers)
    assert done.n_right_angled + done.n_as_before == len(before)
    return before, dict(zip(before, after, strict=True)), done.n_right_angled


Box = tuple[int, int, int, int, float]


def town(houses: Sequence[Box]) -> NDArray[np.uint64]:
    ids = np.zeros((SIDE, SIDE), dtype=np.uint64)
    for number, (x, y, width, height, degrees) in enumerate(houses, 1):
        house = affinity.rotate(shapely.box(x, y, x + width, y + height), degrees)
        burnt = rasterio.features.rasterize([house], out_shape=ids.shape, dtype="uint8")
        ids[burnt.astype(bool)] = number
    return ids


houses = st.lists(
    st.tuples(
        st.integers(4, 70), st.integers(4, 70), st.integers(5, 24), st.integers(5, 24), st.floats(0, 90)
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(houses)
def test_nothing_overlaps_and_what_changed_still_fits(tmp_path: Path, houses: list[Box]) -> None:
    before, after, n = squared(tmp_path / "o.sqlite", town(houses), 0.7)
    changed = 0
    shapes = list(after.values())
    for number, shape in after.items():
        assert shape.is_valid
        if shape.equals(before[number]):
            continue
        changed += 1
        common = shape.intersection(before[number]).area
        assert common / (shape.area + before[number].area - common) >= 0.7 - 1e-9
    assert changed <= n
    for at, one in enumerate(shapes):
        for other in shapes[at + 1 :]:
            assert one.intersection(other).area < 1e-6


def test_a_lone_house_gets_four_corners_and_a_crowded_one_stays(tmp_path: Path) -> None:
    ids = town([(20, 20, 30, 18, 25.0)])
    before, after, n = squared(tmp_path / "a.sqlite", ids, 0.85)
    assert n == 1
    assert shapely.count_coordinates(after[1]) == 5 < shapely.count_coordinates(before[1])
    inside = before[1].buffer(3, join_style="mitre")
    ring = rasterio.features.rasterize([inside], out_shape=ids.shape, dtype="uint8").astype(bool) & (ids == 0)
    crowded = np.where(ring, np.uint64(2), ids)  # another object touches it all around
    _, after, _ = squared(tmp_path / "b.sqlite", crowded, 0.85)
    assert after[1].within(before[1].buffer(1e-9))
    beside = ids.copy()
    beside[:, 52:] = np.where(ids[:, 52:] == 0, np.uint64(2), ids[:, 52:])  # and here on one side alone
    _, after, n = squared(tmp_path / "c.sqlite", beside, 0.85)
    assert n == 2
    assert 5 <= shapely.count_coordinates(after[1]) < shapely.count_coordinates(before[1])
    assert after[1].intersection(after[2]).area < 1e-6


def test_the_plane_has_the_ground_s_angles() -> None:
    grid = RunGrid(
        crs_wkt=CRS(4326).to_wkt(), transform=(1e-5, 0.0, 10.0, 0.0, -1e-5, 60.0), width=SIDE, height=SIDE
    )
    plane = plane_at(shapely.box(40, 40, 50, 50), ground_of(grid))
    assert abs(np.linalg.det(plane)) == pytest.approx(1.0)
    lengths = np.hypot(*plane)
    assert lengths[0] / lengths[1] == pytest.approx(np.cos(np.radians(60)), rel=0.01), (
        "of the Earth at 60 degrees"
    )
    assert plane[:, 0] @ plane[:, 1] == pytest.approx(0.0, abs=1e-6)
    assert np.array_equal(plane_at(shapely.box(0, 0, 1, 1), None), np.eye(2))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"right_angles": 1.5}, "an overlap from 0 to 1"),
        ({"right_angles": 0.8, "simplify_m": 1.0}, "Got: both"),
    ],
)
def test_requests_that_say_nothing_clear_are_refused(wrong: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        CleaningRequest(**wrong)
    assert CleaningRequest(right_angles=0.8).asked
