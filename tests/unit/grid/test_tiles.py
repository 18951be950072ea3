"""Which tiles are looked at. Oracles: one-by-one polygon areas, and grids small enough to count."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from pipeline.errors import InputError
from pipeline.grid.aoi import Aoi, aoi_from_bbox
from pipeline.grid.lattice import affine_of, tuple_of
from pipeline.grid.scene_bounds import lonlat_boxes, scene_bounds_lonlat
from pipeline.grid.tiles import GridOptions, Plan, plan_tiles
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import Window

MakeScene = Callable[..., Scene]
TO_LONLAT = pyproj.Transformer.from_crs("EPSG:32636", "OGC:CRS84", always_xy=True)


def small(**changes: object) -> GridOptions:
    return GridOptions(**({"tile_px": 32, "halo_px": 4, "block_tiles": 3} | changes))  # type: ignore[arg-type]


def lonlat_aoi(polygon_utm: object) -> Aoi:
    """An AOI whose edges follow the UTM ones to a fraction of a millimetre."""
    dense = shapely.segmentize(polygon_utm, 1.0)
    return Aoi(
        geometry=shapely.transform(
            dense, lambda xy: np.column_stack(TO_LONLAT.transform(xy[:, 0], xy[:, 1]))
        ),
        source="test",
    )


def core_utm(plan: Plan, window: Window) -> object:
    corners = [
        (window.col0, window.row0),
        (window.col1, window.row0),
        (window.col1, window.row1),
        (window.col0, window.row1),
    ]
    return shapely.Polygon([affine_of(plan.grid.transform) @ corner for corner in corners])


sizes = st.integers(1, 150)


@given(height=sizes, width=sizes, core=st.integers(1, 40), halo=st.integers(1, 9), block=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_cores_partition_the_grid(height: int, width: int, core: int, halo: int, block: int) -> None:
    scene = Scene(
        scene_id="s",
        href="s",
        crs_wkt=None,
        transform=(1, 0, 0, 0, 1, 0),
        width=width,
        height=height,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
    )
    plan = plan_tiles(None, [scene], GridOptions(tile_px=core + 2 * halo, halo_px=halo, block_tiles=block))
    owners = np.zeros((height, width), dtype=int)
    shards = np.zeros((height, width), dtype=int)
    for spec in plan.blocks():
        shards[spec.core.row0 : spec.core.row1, spec.core.col0 : spec.core.col1] += 1
        for tile in spec.tiles:
            owners[tile.core.row0 : tile.core.row1, tile.core.col0 : tile.core.col1] += 1
            assert tile.core.intersect(spec.core) == tile.core
            assert tile.read.intersect(spec.read) == tile.read
            grown = Window(
                row0=max(tile.core.row0 - halo, 0),
                col0=max(tile.core.col0 - halo, 0),
                row1=min(tile.core.row1 + halo, height),
                col1=min(tile.core.col1 + halo, width),
            )
            assert tile.read == grown
    assert (owners == 1).all()
    assert (shards == 1).all()
    assert plan.n_tiles == plan.inside.size


star = st.lists(st.tuples(st.floats(0.1, 1.0), st.floats(0.0, 1.0)), min_size=3, max_size=8)


@given(
    rays=star,
    centre=st.tuples(st.floats(-0.1, 1.1), st.floats(-0.1, 1.1)),
    size=st.floats(5, 130),
    hole=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_inside_agrees_with_brute_force(
    rays: list[tuple[float, float]], centre: tuple[float, float], size: float, hole: bool
) -> None:
    """Star-shaped AOIs, some with a hole, on a rotated scene: every tile is judged by polygon areas in UTM,
    one by one.
    """
    affine = Affine.translation(450000, 40000) @ Affine.rotation(21) @ Affine.scale(0.5, -0.5)
    scene = Scene(
        scene_id="s",
        href="s",
        crs_wkt=pyproj.CRS("EPSG:32636").to_wkt(),
        transform=tuple_of(affine),
        width=300,
        height=200,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
    )
    middle_x, middle_y = affine @ (300 * centre[0], 200 * centre[1])
    angles = np.sort([2 * np.pi * turn for _, turn in rays])
    ring = [
        (middle_x + size * r * np.cos(t), middle_y + size * r * np.sin(t))
        for (r, _), t in zip(rays, angles, strict=True)
    ]
    polygon = shapely.Polygon(ring).buffer(0.3)
    if hole:
        polygon = polygon - shapely.Point(middle_x, middle_y).buffer(size / 4)
    if polygon.is_empty:
        return
    try:
        plan = plan_tiles(lonlat_aoi(polygon), [scene], small())
    except InputError:
        whole = shapely.Polygon([affine @ corner for corner in ((0, 0), (300, 0), (300, 200), (0, 200))])
        assert polygon.intersection(whole).area < 1e-2
        return
    for tile_row in range(plan.lattice.n_tile_rows):
        for tile_col in range(plan.lattice.n_tile_cols):
            core = core_utm(plan, plan.lattice.tile(tile_row, tile_col).core)
            if plan.inside[tile_row, tile_col]:
                assert polygon.distance(core) < 1e-3  # a sliver of rounding may be kept ...
            else:
                assert (
                    polygon.intersection(core).area < 0.02
                )  # ... but no area may be lost (a pixel has 0.25 square metres)
    near = affine_of(scene.transform)
    col0, row0 = ~near @ (plan.grid.transform[2], plan.grid.transform[5])
    assert (col0, row0) == (pytest.approx(round(col0), abs=1e-6), pytest.approx(round(row0), abs=1e-6))


def test_the_grid_is_cropped_to_the_aoi_in_whole_pixels(make_scene: MakeScene) -> None:
    scene = make_scene()
    plan = plan_tiles(lonlat_aoi(shapely.box(450020.2, 39900.0, 450050.0, 39949.9)), [scene], small())
    assert plan.mode == "scene"
    assert plan.grid.transform == (0.5, 0.0, 450020.0, 0.0, -0.5, 39950.0)
    assert (plan.grid.height, plan.grid.width) == (100, 60)
    assert plan.offsets == ((-100, -40),)
    assert plan.scene_windows == (plan.grid.window,)
    assert plan.inside.all()
    assert plan.aoi_grid.symmetric_difference(shapely.box(450020.2, 39900.0, 450050.0, 39949.9)).area < 0.01


def test_tiles_in_a_hole_are_outside(make_scene: MakeScene) -> None:
    scene = make_scene(width=24 * 5, height=24 * 5)
    ring = shapely.box(450000, 39940, 450060, 40000) - shapely.box(450011, 39951, 450049, 39989)
    plan = plan_tiles(lonlat_aoi(ring), [scene], small())
    expected = np.ones((5, 5), dtype=bool)
    expected[1:4, 1:4] = False
    assert (plan.inside == expected).all()
    assert plan.n_tiles == 16
    assert plan.n_tiles_outside == 9
    listed = [tile.tile_id for block in plan.blocks() for tile in block.tiles]
    assert len(listed) == len(set(listed)) == 16


def test_blocks_without_tiles_are_not_listed(make_scene: MakeScene) -> None:
    scene = make_scene(width=24 * 9, height=24 * 9)
    corners = shapely.MultiPolygon(
        [shapely.box(450001, 39999, 450002, 39999.5), shapely.box(450105, 39893, 450106, 39894)]
    )
    plan = plan_tiles(lonlat_aoi(corners), [scene], small())
    blocks = list(plan.blocks())
    assert [len(block.tiles) for block in blocks] == [1, 1]
    assert blocks[0].read == blocks[0].tiles[0].read
    with pytest.raises(IndexError, match="no tile"):
        plan.block(0, plan.lattice.n_block_cols - 1)


def test_tiles_between_scenes_are_outside(make_scene: MakeScene) -> None:
    left = make_scene("left", width=48, height=48)
    right = make_scene("right", transform=(0.5, 0, 450000 + 96, 0, -0.5, 40000), width=48, height=48)
    plan = plan_tiles(None, [left, right], small())
    assert plan.inside.tolist() == [[True, True] + [False] * 6 + [True, True]] * 2
    assert plan.scene_windows == (
        Window(row0=0, col0=0, row1=48, col1=48),
        Window(row0=0, col0=192, row1=48, col1=240),
    )


def test_scenes_away_from_the_aoi_do_not_matter(make_scene: MakeScene) -> None:
    here = make_scene("here")
    far = make_scene("far", crs="EPSG:32633")
    plan = plan_tiles(lonlat_aoi(shapely.box(450010, 39950, 450020, 39960)), [far, here], small())
    assert [scene.scene_id for scene in plan.scenes] == ["here"]
    assert plan.mode == "scene"


def test_an_aoi_elsewhere_is_refused_with_both_extents(make_scene: MakeScene) -> None:
    with pytest.raises(InputError, match=r"\[10\.000000, 10\.000000.*scene \[32\.5") as caught:
        plan_tiles(aoi_from_bbox(10, 10, 11, 11), [make_scene()], small())
    assert "lon/lat" in str(caught.value)
    near_miss = lonlat_aoi(shapely.box(449000, 39000, 449990, 41000))
    with pytest.raises(InputError, match="touch at least one scene"):
        plan_tiles(near_miss, [make_scene()], small())


def test_an_aoi_needs_scenes_with_a_place(make_scene: MakeScene) -> None:
    with pytest.raises(InputError, match="--whole-scene"):
        plan_tiles(aoi_from_bbox(0, 0, 1, 1), [make_scene(crs=None)], small())
    local = (
        'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
    )
    with pytest.raises(InputError, match="--whole-scene"):
        plan_tiles(aoi_from_bbox(0, 0, 1, 1), [make_scene(crs=local)], small())
    assert plan_tiles(None, [make_scene(crs=None)], small()).grid.crs_wkt is None
    with pytest.raises(InputError, match="At least one source"):
        plan_tiles(None, [], small())


@pytest.mark.parametrize(
    ("tile", "halo", "block"), [(32, 16, 4), (32, 17, 4), (32, 0, 4), (32, -1, 4), (32, 4, 0)]
)
def test_refuses_impossible_tiles(tile: int, halo: int, block: int) -> None:
    with pytest.raises(ValueError, match=r"halo must be .* up to 15 px|block needs"):
        GridOptions(tile_px=tile, halo_px=halo, block_tiles=block)


def test_refuses_an_absurd_number_of_tiles(make_scene: MakeScene) -> None:
    with pytest.raises(InputError, match="tiles"):
        plan_tiles(None, [make_scene(width=60_000, height=60_000)], small(tile_px=3, halo_px=1))


def test_crossing_the_antimeridian(make_scene: MakeScene) -> None:
    scene = make_scene(
        crs="EPSG:32660", transform=(100, 0, 570585, 0, -100, 5847615), width=2325, height=2355
    )
    west, _, east, _ = scene_bounds_lonlat(scene)
    assert west > east
    to_utm = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:32660", always_xy=True)
    for bbox in [(179.5, 51, -179.5, 52), (178.5, 51, 179, 52), (-179.9, 51, -179, 52)]:
        plan = plan_tiles(aoi_from_bbox(*bbox), [scene], small(tile_px=256, halo_px=16))
        xs, ys = to_utm.transform([bbox[0], bbox[2], bbox[0], bbox[2]], [51, 51, 52, 52])
        assert plan.grid.transform[2] == pytest.approx(min(xs), abs=150)
        assert plan.grid.transform[2] + 100 * plan.grid.width == pytest.approx(max(xs), abs=150)
        assert plan.grid.transform[5] == pytest.approx(
            max(ys), abs=1500
        )  # the parallel bulges between its corners
    plan = plan_tiles(aoi_from_bbox(179.5, 51, -179.5, 52), [scene], small(crs="OGC:CRS84"))
    assert plan.grid.transform[2] == pytest.approx(179.5, abs=0.01)
    assert plan.grid.width * plan.grid.transform[0] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("bounds", "area"),
    [
        ((170, 0, -170, 1), 20),
        ((-10, 0, 10, 1), 20),
        ((170, 0, 190, 1), 20),
        ((-190, 0, -170, 1), 20),
        ((-180, -90, 180, 90), 64800),
    ],
)
def test_lonlat_boxes_stay_on_the_map(bounds: tuple[float, float, float, float], area: float) -> None:
    boxes = lonlat_boxes(bounds)
    assert boxes.area == pytest.approx(area)
    assert boxes.bounds[0] >= -180
    assert boxes.bounds[2] <= 180
    if area == 20:
        assert boxes.intersects(shapely.Point(*((180, 0.5) if abs(bounds[0]) > 90 else (0, 0.5))))


def test_seventeen_thousand_tiles_take_no_time(make_scene: MakeScene) -> None:
    scene = make_scene(transform=(0.3, 0, 400000, 0, -0.3, 200000), width=120_000, height=120_000)
    turns = np.linspace(0, 2 * np.pi, 5000)
    radius = 17500 + 1500 * np.sin(40 * turns)
    blob = shapely.Polygon(
        np.column_stack([418000 + radius * np.cos(turns), 182000 + radius * np.sin(turns)])
    )
    aoi = lonlat_aoi(shapely.segmentize(blob, 50))
    start = time.process_time()
    plan = plan_tiles(aoi, [scene], GridOptions())
    seconds = time.process_time() - start
    assert plan.inside.size > 17_000
    assert plan.n_tiles * 896**2 * 0.09 == pytest.approx(blob.area, rel=0.05)
    assert seconds < 2  # of CPU; about a third of one is usual


def test_a_plan_pickles(make_scene: MakeScene) -> None:
    plan = plan_tiles(lonlat_aoi(shapely.box(450020, 39900, 450050, 39950)), [make_scene()], small())
    copy = pickle.loads(pickle.dumps(plan))
    assert copy.lattice == plan.lattice
    assert (copy.inside == plan.inside).all()
    assert list(copy.blocks()) == list(plan.blocks())


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("bbox", [(179.999, -1, -179.999, 1), (179.999, -1, 180.001, 1)])
def test_an_area_across_180_is_looked_at_on_both_sides(
    make_scene: MakeScene, crs: str, bbox: tuple[float, ...]
) -> None:
    """A scene from 179.998 to 180.002 east, in pixels of a hundred-thousandth of a degree."""
    unit = 1.0 if crs == "EPSG:4326" else 111319.4907932736
    scene = make_scene(
        crs=crs, transform=(1e-5 * unit, 0, 179.998 * unit, 0, -1e-5 * unit, 0), width=400, height=100
    )
    plan = plan_tiles(aoi_from_bbox(*bbox), [scene], small(tile_px=64, halo_px=8))
    assert plan.grid.width == pytest.approx(200, abs=1)
    assert plan.inside.all()


def test_scenes_on_both_sides_of_180_lie_side_by_side(make_scene: MakeScene) -> None:
    scenes = [
        make_scene(name, crs="EPSG:4326", transform=(0.001, 0, x, 0, -0.001, 1), width=100, height=50)
        for name, x in (("east", 179.9), ("west", -180.0), ("over", -540.05))
    ]
    plan = plan_tiles(None, scenes, small(tile_px=64, halo_px=8))
    assert (plan.mode, plan.grid.width) == ("scene", 200)
    assert plan.offsets == ((0, 0), (0, 100), (0, 50))


@pytest.mark.parametrize(
    ("crs", "bbox"), [("EPSG:3031", (-180, -90, 180, -85)), ("EPSG:3995", (-180, 85, 180, 90))]
)
def test_an_area_around_a_pole_is_a_disc(make_scene: MakeScene, crs: str, bbox: tuple[float, ...]) -> None:
    """2000 km around the pole in pixels of 10 km; the area is a disc with the pole in its middle."""
    scene = make_scene(crs=crs, transform=(10_000, 0, -1e6, 0, -10_000, 1e6), width=200, height=200)
    plan = plan_tiles(aoi_from_bbox(*bbox), [scene], small(tile_px=6, halo_px=1))
    assert plan.aoi_grid is not None
    assert plan.aoi_grid.is_valid
    move = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    radius = abs(move.transform(0, bbox[3] if bbox[1] < 0 else bbox[1])[1])
    assert plan.aoi_grid.area == pytest.approx(math.pi * radius**2, rel=1e-3)
    assert plan.aoi_grid.distance(shapely.Point(0, 0)) < 1e-3
    rows, cols = np.nonzero(plan.inside)
    middle = plan.lattice.n_tile_rows // 2
    assert plan.inside[middle].all()
    assert not plan.inside[0, 0]
    assert (rows.min(), cols.min()) == (0, 0)


def test_a_global_area_fits_a_mercator_map(make_scene: MakeScene) -> None:
    half = 20037508.342789244
    place = (half / 100, 0, -half, 0, -half / 100, half)
    scene = make_scene(crs="EPSG:3857", transform=place, width=200, height=200)
    plan = plan_tiles(aoi_from_bbox(-180, -90, 180, 90), [scene], small(tile_px=64, halo_px=8))
    assert plan.inside.all()
    assert (plan.grid.width, plan.grid.height) == (200, 200)
