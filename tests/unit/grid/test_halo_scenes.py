"""A world is cut into scenes, and no tile may see where. Oracle: the world itself, as one array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from item_files import LEFT, TOP, write_pixels
from numpy.typing import NDArray

from pipeline.grid.aoi import Aoi
from pipeline.grid.halo_scenes import seen_ground
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, Plan, plan_tiles
from pipeline.load.prepare_scenes import LoadOptions, prepare_scenes
from pipeline.load.reader import CogReader
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import Window

SIDE = 120
GRID = GridOptions(tile_px=40, halo_px=8, block_tiles=2)
AS_STORED = LoadOptions(scale=(0, 255))
MakeScene = Callable[..., Scene]


def world() -> NDArray[np.uint8]:
    """(3, SIDE, SIDE) noise without nodata."""
    return np.random.default_rng(3).integers(1, 255, (3, SIDE, SIDE)).astype(np.uint8)


def aoi_of(pixels: shapely.Polygon) -> Aoi:
    """An AOI whose edges follow those of a polygon (x, y) in pixels of the world."""
    move = pyproj.Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True)
    dense = shapely.segmentize(pixels, 2.0)
    return Aoi(
        geometry=shapely.transform(
            dense, lambda xy: np.column_stack(move.transform(LEFT + xy[:, 0], TOP - xy[:, 1]))
        ),
        source="drawn",
    )


def cut_along(
    folder: Path,
    pixels: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    names: Sequence[str] = ("one", "other"),
) -> list[Path]:
    """Write the pixels of `inside` and the others as two files, each no larger than it must be."""
    paths = []
    for name, mask in zip(names, (inside, ~inside), strict=True):
        rows = np.flatnonzero(mask.any(axis=1))
        cols = np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            continue
        part = np.where(mask, pixels, 0)[:, rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        row0, col0 = int(rows[0]), int(cols[0])
        paths.append(write_pixels(folder / f"{name}.tif", part, row0=row0, col0=col0))
    return paths


def origin(plan: Plan) -> tuple[int, int]:
    """(row, col) of the run grid's first pixel in the world."""
    return round(TOP - plan.grid.transform[5]), round(plan.grid.transform[2] - LEFT)


def assert_sees_the_world(plan: Plan, pixels: NDArray[np.uint8]) -> None:
    """Every pixel of every tile's read window is the world's; beyond the world nothing is valid."""
    sources = prepare_scenes(plan.scenes, AS_STORED, offsets=plan.offsets, windows=plan.scene_windows)
    reader = CogReader(sources, plan.grid, options=AS_STORED)
    row0, col0 = origin(plan)
    for block in plan.blocks():
        image = reader.read(block)
        assert not image.unreadable
        for tile in block.tiles:
            view = image.tile_image(tile)
            window = tile.read.shifted(row0, col0)
            want = pixels[:, window.row0 : window.row1, window.col0 : window.col1]
            assert view.valid.all()
            assert (view.rgb == np.moveaxis(want, 0, 2)).all()
    reader.close()


corner = st.tuples(st.integers(1, SIDE - 1), st.integers(1, SIDE - 1))


@given(
    corners=st.tuples(corner, corner, corner),
    angle=st.floats(0, 2 * np.pi),
    away=st.floats(-40, 40),
    swapped=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_cut_world_is_seen_whole(
    corners: tuple[tuple[int, int], ...], angle: float, away: float, swapped: bool
) -> None:
    """A triangle as area, and a line that cuts the world in two scenes, through the area or beside it."""
    triangle = shapely.Polygon(corners)
    if triangle.area < 50:
        return
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    middle = triangle.centroid
    inside = (x - middle.x) * np.cos(angle) + (y - middle.y) * np.sin(angle) < away
    with TemporaryDirectory() as name:
        folder = Path(name)
        pixels = world()
        paths = cut_along(folder, pixels, inside)
        paths = paths[::-1] if swapped else paths
        scenes = open_scenes(SourceOptions(hrefs=tuple(map(str, paths))))
        plan = plan_tiles(aoi_of(triangle), scenes, GRID)
        if len(paths) == 2 and all(scene_holds(scene, triangle) for scene in scenes):
            whole = open_scenes(SourceOptions(hrefs=(str(write_pixels(folder / "whole.tif", pixels)),)))
            uncut = plan_tiles(aoi_of(triangle), whole, GRID)
            assert plan.lattice == uncut.lattice
            assert (plan.inside == uncut.inside).all()
        assert_sees_the_world(plan, pixels)


def scene_holds(scene: Scene, pixels: shapely.Polygon) -> bool:
    left = round(scene.transform[2] - LEFT)
    top = round(TOP - scene.transform[5])
    return bool(shapely.box(left, top, left + scene.width, top + scene.height).covers(pixels))


@pytest.mark.parametrize("named_first", ["area", "beside"])
def test_a_scene_beside_the_area_fills_halos_and_changes_nothing_else(
    tmp_path: Path, named_first: str
) -> None:
    """The area is an L. The second scene begins right of its upright, in the corner that the L leaves."""
    pixels = world()
    inside = np.zeros((SIDE, SIDE), dtype=np.bool_)
    inside[:, :45] = True
    inside[75:] = True
    area = shapely.box(5, 5, 44, 115).union(shapely.box(5, 76, 115, 115))
    area_path = write_pixels(tmp_path / "area.tif", np.where(inside, pixels, 0))
    beside_path = write_pixels(tmp_path / "beside.tif", pixels[:, :75, 45:], col0=45)
    paths = {"area": area_path, "beside": beside_path}
    order = [named_first, *(name for name in paths if name != named_first)]
    scenes = open_scenes(SourceOptions(hrefs=tuple(str(paths[name]) for name in order)))
    plan = plan_tiles(aoi_of(area), scenes, GRID)
    alone = plan_tiles(aoi_of(area), [scene for scene in scenes if scene.scene_id == "area"], GRID)
    assert [scene.scene_id for scene in plan.scenes] == order
    assert dict(zip(order, plan.only_in_halos, strict=True)) == {"area": False, "beside": True}
    assert plan.lattice == alone.lattice
    assert (plan.inside == alone.inside).all()
    assert not plan.inside.all()
    assert plan.mode == "scene"
    assert_sees_the_world(plan, pixels)


def test_scenes_that_no_tile_sees_are_not_kept(make_scene: MakeScene) -> None:
    """Of a row of narrow scenes the halo of the last tile reaches the first two beyond the area alone."""
    base = (1.0, 0.0, LEFT, 0.0, -1.0, TOP)
    wide = make_scene("wide", crs="EPSG:32633", transform=base, width=100, height=100)
    area = aoi_of(shapely.box(0, 0, 50, 50).union(shapely.box(0, 0, 5, 100)))
    strips = [
        make_scene(
            f"s{col}", crs="EPSG:32633", transform=(1, 0, LEFT + col, 0, -1, TOP - 80), width=4, height=10
        )
        for col in range(6, 50, 4)
    ]
    plan = plan_tiles(area, [wide, *strips], GridOptions(tile_px=30, halo_px=5, block_tiles=1))
    assert plan.only_in_halos[0] is False
    read = [tile.read for block in plan.blocks() for tile in block.tiles]
    want = [scene.scene_id for scene in strips if any(r.intersect(window_of(scene)) for r in read)]
    assert [scene.scene_id for scene in plan.scenes[1:]] == want
    assert 0 < len(want) < len(strips)


def window_of(scene: Scene) -> Window:
    col = round(scene.transform[2] - LEFT)
    row = round(TOP - scene.transform[5])
    return Window(row0=row, col0=col, row1=row + scene.height, col1=col + scene.width)


def test_another_crs_is_warped_into_halos_only_where_one_was_named(make_scene: MakeScene) -> None:
    """The area is an L; a scene of the zone to the west lies in the corner that it leaves."""
    transform = (1.0, 0.0, LEFT, 0.0, -1.0, TOP)
    area = make_scene("area", crs="EPSG:32633", transform=transform, width=120, height=120)
    move = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:32632", always_xy=True)
    x, y = move.transform(LEFT + 35, TOP - 20)
    place = (1.0, 0.0, round(x), 0.0, -1.0, round(y))
    other = make_scene("other", crs="EPSG:32632", transform=place, width=40, height=40)
    aoi = aoi_of(shapely.box(1, 1, 20, 119).union(shapely.box(1, 90, 119, 119)))
    plan = plan_tiles(aoi, [area, other], GRID)
    assert [scene.scene_id for scene in plan.scenes] == ["area"]
    assert plan.mode == "scene"
    named = plan_tiles(aoi, [other, area], replace(GRID, crs="EPSG:32633"))
    assert [scene.scene_id for scene in named.scenes] == ["other", "area"]
    assert named.only_in_halos == (True, False)
    assert named.offsets[0] is None
    assert named.mode == "mosaic"
    assert named.lattice == plan.lattice


def test_seen_ground_holds_every_read_window(make_scene: MakeScene) -> None:
    scene = make_scene(
        "s", crs="EPSG:32633", transform=(1.0, 0.0, LEFT, 0.0, -1.0, TOP), width=200, height=150
    )
    plan = plan_tiles(aoi_of(shapely.Polygon([(3, 3), (190, 30), (60, 140)])), [scene], GRID)
    ground = seen_ground(plan.lattice, plan.inside)
    assert ground is not None
    row0, col0 = origin(plan)
    windows = [tile.read.shifted(row0, col0) for block in plan.blocks() for tile in block.tiles]
    boxes = [shapely.box(w.col0, w.row0, w.col1, w.row1) for w in windows]
    united = aoi_of(shapely.union_all(boxes)).geometry
    assert ground.covers(united)
    assert shapely.area(ground) == pytest.approx(united.area, rel=0.05)


def test_seen_ground_of_a_grid_that_leaves_the_earth_is_not_told(make_scene: MakeScene) -> None:
    """A picture of a whole globe has corners that lie beside it."""
    side = 500.0
    crs = "+proj=ortho +lat_0=0 +lon_0=0 +R=6371000 +units=m"
    scene = make_scene(
        "s", crs=crs, transform=(side, 0.0, -6_400_000.0, 0.0, -side, 6_400_000.0), width=25600
    )
    plan = plan_tiles(None, [scene], GridOptions())
    assert seen_ground(plan.lattice, plan.inside) is None
