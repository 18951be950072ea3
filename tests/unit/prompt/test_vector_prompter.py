"""Prompts from vector files, on squares small enough to check by hand. The grid: 100 x 80 px of 1 m, corner
(500000, 40000).
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import geopandas
import pandas
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_tiles import PATIENT, UTM, grid, lattice, tile_image

from pipeline.errors import InputError
from pipeline.geo.globe import turn_of
from pipeline.prompt.prompter import Prompter
from pipeline.prompt.vector_prompter import VectorPrompter
from pipeline.schema.tile_answers import Prompt, Reason, TileStatus
from pipeline.schema.tiling import RunGrid, Window

_: type[Prompter] = VectorPrompter


def on_ground(px: Any) -> Any:
    """Pixel edges of the grid -> its CRS."""
    return shapely.transform(px, lambda xy: [(500_000 + x, 40_000 - y) for x, y in xy])


def write(
    path: Path, geometries: list[Any], *, crs: str | None = UTM, to: str | None = None, **columns: list[Any]
) -> str:
    frame = geopandas.GeoDataFrame(columns, geometry=[on_ground(g) for g in geometries], crs=crs)
    if to is not None:
        frame = frame.to_crs(to)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_file(path)
    return str(path)


def window(row0: int, col0: int, row1: int, col1: int) -> Window:
    return Window(row0=row0, col0=col0, row1=row1, col1=col1)


def assert_two_points_inside(prompt: Prompt, polygon_px: Any) -> None:
    assert len(prompt.points_xy) == 2
    assert prompt.point_labels == (1, 1)
    assert all(polygon_px.contains(shapely.Point(point)) for point in prompt.points_xy)


@pytest.mark.parametrize("name", ["p.geojson", "p.gpkg", "p.parquet", "p.shp"])
def test_a_square_becomes_its_box_and_two_inner_points(tmp_path: Path, name: str) -> None:
    square = shapely.box(10, 20, 30, 40)
    prompter = VectorPrompter(write(tmp_path / name, [square]), grid())
    ((prompt,), n_dropped) = prompter.prompts_of(window(0, 0, 80, 100))
    assert prompt.box_xyxy == pytest.approx(
        (10, 20, 30, 40), abs=1e-2
    )  # GeoJSON keeps 7 decimals of a degree
    # halves [10, 20] and [20, 30] of the width: their inscribed circles have centres on x = 15 and x = 25
    assert sorted(x for x, _ in prompt.points_xy) == pytest.approx([15, 25], abs=0.3)
    assert_two_points_inside(prompt, square)
    assert n_dropped == 0


def test_lonlat_file_is_reprojected(tmp_path: Path) -> None:
    prompter = VectorPrompter(
        write(tmp_path / "p.geojson", [shapely.box(10, 20, 30, 40)], to="EPSG:4326"), grid()
    )
    ((prompt,), _) = prompter.prompts_of(window(0, 0, 80, 100))
    assert prompt.box_xyxy == pytest.approx((10, 20, 30, 40), abs=0.05)


def test_clipped_to_the_window_and_in_its_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "p.gpkg", [shapely.box(10, 20, 30, 40)])
    ((prompt,), _) = VectorPrompter(path, grid()).prompts_of(window(30, 16, 80, 100))
    assert prompt.box_xyxy == pytest.approx((0, 0, 14, 10))
    assert_two_points_inside(prompt, shapely.box(0, 0, 14, 10))


def test_touching_and_sliver_are_dropped_and_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.gpkg",
        [shapely.box(0, 0, 20, 20), shapely.box(0, 0, 20.5, 20), shapely.box(0, 0, 22, 20)],
    )
    prompts, n_dropped = VectorPrompter(path, grid()).prompts_of(window(0, 20, 80, 100))
    assert [p.box_xyxy for p in prompts] == [pytest.approx((0, 0, 2, 20))]
    assert n_dropped == 2


def test_points_inside_a_concave_shape(tmp_path: Path) -> None:
    ring = shapely.box(10, 10, 50, 50).difference(shapely.box(15, 15, 45, 60))  # a U open to the south
    ((prompt,), _) = VectorPrompter(write(tmp_path / "p.gpkg", [ring]), grid()).prompts_of(
        window(0, 0, 80, 100)
    )
    assert prompt.box_xyxy == pytest.approx((10, 10, 50, 50))
    assert_two_points_inside(prompt, ring)


def test_multipart_labels_and_order(tmp_path: Path) -> None:
    parts = shapely.MultiPolygon([shapely.box(0, 0, 5, 5), shapely.box(10, 0, 15, 5)])
    path = write(
        tmp_path / "p.gpkg",
        [shapely.box(50, 50, 60, 60), parts],
        id=[1, 2],
        Class=["tank", None],
        name=[None, "pond"],
    )
    prompts, _ = VectorPrompter(path, grid()).prompts_of(window(0, 0, 80, 100))
    assert [p.label for p in prompts] == ["", "pond", "pond"]
    assert [p.box_xyxy for p in prompts[1:]] == [pytest.approx((0, 0, 5, 5)), pytest.approx((10, 0, 15, 5))]


def test_point_features(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.gpkg",
        [shapely.Point(12.5, 20.25), shapely.MultiPoint([(40, 41), (99, 79)])],
        label=["a", "b"],
    )
    prompts, _ = VectorPrompter(path, grid()).prompts_of(window(10, 10, 60, 60))
    assert [(p.box_xyxy, p.label) for p in prompts] == [(None, "a"), (None, "b")]
    assert prompts[0].points_xy == (pytest.approx((2.5, 10.25)),)
    assert prompts[1].points_xy == (pytest.approx((30, 31)),)


def test_a_point_gets_a_box_of_metres_on_the_ground(tmp_path: Path) -> None:
    """UTM's scale is 0.9996 at its middle, so 10 m on the ground are 9.996 pixels of 1 m."""
    near = shapely.Point(50, 40)
    path = write(tmp_path / "p.gpkg", [near, shapely.box(5, 5, 15, 15)], label=["a", "b"])
    prompter = VectorPrompter(path, grid(), point_box_m=10.0)
    point, polygon = prompter.prompts_of(window(0, 0, 80, 100))[0]
    assert point.box_xyxy == pytest.approx((45.002, 35.002, 54.998, 44.998), abs=0.001)
    assert (point.points_xy, point.point_labels, point.label) == ((pytest.approx((50, 40)),), (1,), "a")
    assert polygon == VectorPrompter(path, grid()).prompts_of(window(0, 0, 80, 100))[0][1], "as without boxes"
    ((beside,), _) = prompter.prompts_of(window(0, 52, 80, 100))
    assert beside.box_xyxy == pytest.approx((0, 35.002, 2.998, 44.998), abs=0.001)
    assert (beside.points_xy, beside.point_labels) == ((), ()), "the click lies outside of this window"


def test_metres_are_those_of_the_ground_far_north_and_across_180(tmp_path: Path) -> None:
    """Web Mercator stretches by 1 / cos(latitude): 20 m at 60 degrees north are some 40 of its metres."""
    wkt = pyproj.CRS("EPSG:3857").to_wkt()
    x, y = pyproj.Transformer.from_crs("EPSG:4326", wkt, always_xy=True).transform(180.0, 60.0)
    past = RunGrid(crs_wkt=wkt, transform=(1.0, 0, x - 50, 0, -1.0, y + 50), width=100, height=100)
    path = tmp_path / "p.geojson"
    points = [shapely.Point(180.0, 60.0)]
    geopandas.GeoDataFrame(geometry=points, crs="EPSG:4326").to_file(path)
    ((prompt,), _) = VectorPrompter(str(path), past, point_box_m=20.0).prompts_of(past.window)
    assert prompt.box_xyxy == pytest.approx((30, 30, 70, 70), abs=0.15)  # an ellipsoid is no ball
    assert prompt.points_xy == (pytest.approx((50, 50), abs=0.01),)


def test_boxes_for_points_need_points(tmp_path: Path) -> None:
    path = write(tmp_path / "p.gpkg", [shapely.box(5, 5, 15, 15)])
    with pytest.raises(InputError, match="which has none"):
        VectorPrompter(path, grid(), point_box_m=10.0)


def test_an_unsound_location_is_left_out_and_said(tmp_path: Path) -> None:
    """Nobody can tell which half of a bow-tie was meant; a file of nothing else is refused."""
    bow_tie = shapely.Polygon([(10, 10), (30, 30), (30, 10), (10, 30)])
    spiked = shapely.Polygon([(50, 50), (60, 50), (60, 60), (55, 60), (55, 70), (55, 60), (50, 60)])
    prompter = VectorPrompter(write(tmp_path / "p.gpkg", [bow_tie, spiked]), grid())
    prompts, _ = prompter.prompts_of(window(0, 0, 80, 100))
    assert [p.box_xyxy for p in prompts] == [pytest.approx((50, 50, 60, 60))]
    (note,) = prompter.notes
    assert "1 location of" in note
    assert "Self-intersection" in note
    assert "geometry 0" in note
    with pytest.raises(InputError, match=r"sound geometry.*Self-intersection"):
        VectorPrompter(write(tmp_path / "only.gpkg", [bow_tie]), grid())


def test_id_and_attributes_travel_with_every_prompt(tmp_path: Path) -> None:
    parts = shapely.MultiPolygon([shapely.box(0, 0, 5, 5), shapely.box(10, 0, 15, 5)])
    path = tmp_path / "p.parquet"
    write(
        path,
        [shapely.box(50, 50, 60, 60), parts],
        osm=[7, 8],
        height=[2.5, float("nan")],
        built=["1990", None],
    )
    prompter = VectorPrompter(str(path), grid())
    assert prompter.notes == ()
    prompts, _ = prompter.prompts_of(window(0, 0, 80, 100))
    assert [p.feature_id for p in prompts] == ["0", "1", "1"]
    assert json.loads(prompts[0].attributes) == {"osm": 7, "height": 2.5, "built": "1990"}
    assert json.loads(prompts[2].attributes) == {"osm": 8, "height": None, "built": None}


@pytest.mark.parametrize("suffix", ["geojson", "gpkg", "parquet"])
def test_labels_of_an_integer_column_with_gaps_stay_integers(tmp_path: Path, suffix: str) -> None:
    boxes = [shapely.box(10 * k, 0, 10 * k + 5, 5) for k in range(3)]
    path = write(tmp_path / f"p.{suffix}", boxes, Class=pandas.array([3, None, 4], dtype="Int64"))
    prompts, _ = VectorPrompter(path, grid()).prompts_of(window(0, 0, 80, 100))
    assert [p.label for p in prompts] == ["3", "", "4"]
    floats = write(tmp_path / f"f.{suffix}", boxes, Class=[3.0, float("nan"), 4.5])
    prompts, _ = VectorPrompter(floats, grid()).prompts_of(window(0, 0, 80, 100))
    assert [p.label for p in prompts] == ["3", "", "4.5"]


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("counted", [0.0, 360.0])
def test_locations_on_both_sides_of_180_lie_on_a_grid_that_runs_past_it(
    tmp_path: Path, crs: str, counted: float
) -> None:
    """The grid begins at 179.99 E. The file has a square at -179.995 (or 180.005), and one across 180."""
    turn = turn_of(pyproj.CRS(crs).to_wkt())
    assert turn is not None
    left = turn.x_at_0 + 179.99 * turn.per_degree
    pixel = 1e-4 * turn.per_degree
    past = RunGrid(
        crs_wkt=pyproj.CRS(crs).to_wkt(), transform=(pixel, 0, left, 0, -pixel, 0), width=200, height=100
    )
    far = shapely.box(-179.995 + counted, -0.003, -179.994 + counted, -0.001)
    across = shapely.box(179.999, -0.005, 180.001, -0.004)
    path = tmp_path / "p.geojson"
    geopandas.GeoDataFrame(geometry=[far, across], crs="EPSG:4326").to_file(path)
    prompts, _ = VectorPrompter(str(path), past).prompts_of(past.window)
    assert [p.feature_id for p in prompts] == ["0", "1"]
    assert prompts[0].box_xyxy == pytest.approx((150, 10, 160, 30), abs=0.1)
    assert prompts[1].box_xyxy == pytest.approx((90, 40, 110, 50), abs=0.1)


def test_answers_of_a_tile(tmp_path: Path) -> None:
    tiles = lattice(grid(), tile_px=60, halo_px=10)  # cores of 40 px: columns 0-40, 40-80, 80-100
    prompter = VectorPrompter(write(tmp_path / "p.gpkg", [shapely.box(5, 5, 15, 15)]), grid())
    found = asyncio.run(prompter.prompt(tile_image(tiles, 0, 0), ["a", "b"]))
    assert [(a.query_index, a.status, a.reason, len(a.prompts), a.n_calls) for a in found] == [
        (0, TileStatus.FOUND, Reason.NONE, 1, 0),
        (1, TileStatus.FOUND, Reason.NONE, 1, 0),
    ]
    (empty,) = asyncio.run(prompter.prompt(tile_image(tiles, 1, 2), ["a"]))
    assert (empty.tile_id, empty.status, empty.reason, empty.prompts) == (
        "r00001c00002",
        TileStatus.EMPTY,
        Reason.PROMPTER,
        (),
    )
    assert prompter.model_id == "vector:p.gpkg"
    prompter.close()
    prompter.close()


corner = st.tuples(st.floats(-20, 120), st.floats(-20, 100))
hulls = st.lists(corner, min_size=3, max_size=7, unique=True).map(
    lambda xy: shapely.MultiPoint(xy).convex_hull
)


@settings(PATIENT, max_examples=12)
@given(
    shapes=st.lists(hulls.filter(lambda hull: hull.geom_type == "Polygon"), min_size=3, max_size=6),
    data=st.data(),
)
def test_any_polygon_gives_prompts_inside_window_and_shape(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[Any], data: st.DataObject
) -> None:
    shapes = [shapely.box(0, 0, 2, 2), *shapes]  # the first, so that the file always meets the grid
    path = write(
        tmp_path_factory.mktemp("hull") / "p.parquet", shapes, name=[str(n) for n in range(len(shapes))]
    )
    prompter = VectorPrompter(path, grid())
    for row0, col0 in data.draw(
        st.lists(st.tuples(st.integers(0, 60), st.integers(0, 70)), min_size=3, max_size=6)
    ):
        view = window(row0, col0, min(row0 + 30, 80), min(col0 + 30, 100))
        prompts, _ = prompter.prompts_of(view)
        for prompt in prompts:
            shape = shapely.transform(
                shapes[int(prompt.label)], lambda xy, view=view: xy - (view.col0, view.row0)
            )
            assert_inside(prompt, view, shape.buffer(1e-6))


def assert_inside(prompt: Prompt, view: Window, shape: Any) -> None:
    assert prompt.box_xyxy is not None
    x0, y0, x1, y1 = prompt.box_xyxy
    assert 0 <= x0 < x1 <= view.width
    assert 0 <= y0 < y1 <= view.height
    assert prompt.points_xy
    for x, y in prompt.points_xy:
        assert x0 <= x <= x1
        assert y0 <= y <= y1
        assert shape.contains(shapely.Point(x, y))


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.geojson").write_text("{not json")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    empty = {"type": "FeatureCollection", "features": []}
    (tmp_path / "empty.geojson").write_text(json.dumps(empty))
    nothing = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {}, "geometry": None}],
    }
    (tmp_path / "null.geojson").write_text(json.dumps(nothing))
    cases = {
        str(tmp_path / "missing.geojson"): "no file",
        str(tmp_path): "no file",
        str(tmp_path / "broken.geojson"): "readable vector file",
        str(tmp_path / "broken.parquet"): "readable vector file",
        str(tmp_path / "empty.geojson"): "at least one geometry|with geometries",
        str(tmp_path / "null.geojson"): "at least one geometry|with geometries",
        write(tmp_path / "nocrs.gpkg", [shapely.box(0, 0, 5, 5)], crs=None): "needs a CRS",
        write(tmp_path / "line.gpkg", [shapely.LineString([(0, 0), (5, 5)])]): "polygons and points only",
        write(tmp_path / "far.gpkg", [shapely.box(5000, 5000, 5100, 5100)]): "must lie on the imagery",
    }
    for path, said in cases.items():
        with pytest.raises(InputError, match=said) as caught:
            VectorPrompter(path, grid())
        assert "To fix:" in str(caught.value)


def test_imagery_without_crs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="imagery with a CRS"):
        VectorPrompter(write(tmp_path / "p.gpkg", [shapely.box(0, 0, 5, 5)]), grid(crs=None))


def test_building_outlines_of_a_real_scene() -> None:
    folder = Path(__file__).parents[3] / ".." / "shared" / "data" / "kampala"
    if not folder.is_dir():
        pytest.skip("the Kampala imagery and its building outlines are not at hand")
    import rasterio

    from pipeline.schema.tiling import RunGrid

    with rasterio.open(folder / "kampala_west.tif") as scene:
        run_grid = RunGrid(
            crs_wkt=scene.crs.to_wkt(),
            transform=tuple(scene.transform)[:6],
            width=scene.width,
            height=scene.height,
        )
    path = folder / "kampala_west_buildings.geojson"
    prompts, n_dropped = VectorPrompter(str(path), run_grid).prompts_of(run_grid.window)
    n_features = len(json.loads(path.read_text())["features"])
    assert len(prompts) + n_dropped >= 0.9 * n_features
    assert all(p.box_xyxy is not None and 1 <= len(p.points_xy) <= 2 for p in prompts)


def test_a_long_outline_gets_a_chain_and_a_compact_one_does_not(tmp_path: Path) -> None:
    road = shapely.LineString([(5, 10), (90, 10), (90, 70)]).buffer(2, cap_style="flat", join_style="mitre")
    house = shapely.box(20, 30, 50, 60)
    path = write(tmp_path / "p.parquet", [road, house], name=["road", "house"])
    chained = VectorPrompter(path, grid(), shape="chain")
    prompts, n_dropped = chained.prompts_of(window(0, 0, 80, 100))
    fixed, _ = VectorPrompter(path, grid()).prompts_of(window(0, 0, 80, 100))
    assert n_dropped == 0
    pieces = [prompt for prompt in prompts if prompt.label == "road"]
    assert [prompt for prompt in prompts if prompt.label == "house"] == [fixed[1]]
    assert len(pieces) >= 8
    assert {prompt.feature_id for prompt in pieces} == {fixed[0].feature_id}
    boxes = [shapely.box(*prompt.box_xyxy) for prompt in pieces if prompt.box_xyxy is not None]
    assert shapely.union_all(boxes).contains(road)
    assert shapely.union_all(boxes).area < 0.3 * shapely.box(*road.bounds).area
    for prompt in pieces:
        assert all(road.contains(shapely.Point(point)) for point in prompt.points_xy)
    below, _ = chained.prompts_of(window(40, 60, 80, 100))
    assert all(0 <= value <= 40 for prompt in below for value in prompt.box_xyxy or ())
    assert len(below) >= 3
