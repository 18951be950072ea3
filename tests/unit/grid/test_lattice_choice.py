"""Which lattice a run works on. Oracles: hand-made worlds, and PROJ directly where a CRS changes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyproj
import pytest
import shapely
from rasterio.transform import Affine

from pipeline.errors import InputError
from pipeline.grid.lattice import affine_of, tuple_of
from pipeline.grid.lattice_choice import choose_lattice
from pipeline.schema.imagery import Scene

MakeScene = Callable[..., Scene]

AFFINES = {
    "south up": Affine(0.5, 0, 450000, 0, 0.5, 40000),
    "oblong": Affine(0.1000976, 0, 450000.03, 0, -0.0999756, 40000.07),
    "rotated": Affine.translation(450000, 40000) @ Affine.rotation(33) @ Affine.scale(0.3, -0.3),
}


def moved(affine: Affine, rows: float, cols: float) -> tuple[float, ...]:
    return tuple_of(affine @ Affine.translation(cols, rows))


def test_scene_mode_keeps_the_scenes_pixels(make_scene: MakeScene) -> None:
    first = make_scene("first")
    second = make_scene(
        "second", transform=moved(affine_of(first.transform), -30, 250), width=100, height=100
    )
    placed = choose_lattice([first, second], None, None)
    assert placed.mode == "scene"
    assert placed.places.offsets == ((30, 0), (0, 250))
    assert (placed.grid.height, placed.grid.width) == (330, 400)
    assert placed.grid.transform == moved(affine_of(first.transform), -30, 0)
    assert placed.places.outlines[1].bounds == (250, 0, 350, 100)


@pytest.mark.parametrize("name", ["south up", "rotated", "oblong"])
def test_scene_mode_takes_any_affine(make_scene: MakeScene, name: str) -> None:
    scene = make_scene(transform=tuple_of(AFFINES[name]))
    placed = choose_lattice([scene], None, None)
    assert (placed.mode, placed.places.offsets) == ("scene", ((0, 0),))
    assert placed.grid.transform == scene.transform


def test_naming_the_scenes_own_crs_and_resolution_changes_nothing(make_scene: MakeScene) -> None:
    assert choose_lattice([make_scene()], "EPSG:32636", 0.5).mode == "scene"
    assert choose_lattice([make_scene()], "EPSG:32636", 0.25).mode == "mosaic"
    assert choose_lattice([make_scene()], "EPSG:32637", None).mode == "mosaic"


def test_a_mosaic_follows_its_finest_scene(make_scene: MakeScene) -> None:
    coarse = make_scene("coarse", transform=(1.0, 0.0, 450000.3, 0.0, -1.0, 40000.0))
    fine = make_scene("fine", transform=(0.25, 0.0, 450010.1, 0.0, -0.25, 39990.0))
    placed = choose_lattice([coarse, fine], None, None)
    assert placed.mode == "mosaic"
    assert placed.places.offsets[0] is None
    assert placed.places.offsets[1] is not None
    assert placed.grid.transform[0] == 0.25
    assert (placed.grid.transform[2] - 450010.1) / 0.25 == pytest.approx(
        round((placed.grid.transform[2] - 450010.1) / 0.25), abs=1e-6
    )
    for outline in placed.places.outlines:
        x0, y0, x1, y1 = outline.bounds
        assert x0 > -1 - 1e-9
        assert y0 > -1 - 1e-9
        assert x1 < placed.grid.width + 1
        assert y1 < placed.grid.height + 1


def test_a_given_resolution_snaps_origins_to_its_multiples(make_scene: MakeScene) -> None:
    grid = choose_lattice([make_scene(transform=(0.5, 0, 450000.2, 0, -0.5, 40000.1))], None, 0.3).grid
    for origin in (grid.transform[2], grid.transform[5]):
        assert origin / 0.3 == pytest.approx(round(origin / 0.3), abs=1e-6)
    assert grid.width == math.ceil((450200.2) / 0.3) - math.floor(450000.2 / 0.3)


def test_another_crs_gets_the_scenes_extent_and_resolution(make_scene: MakeScene) -> None:
    scene = make_scene(width=2000, height=1000)
    placed = choose_lattice([scene], "EPSG:3857", None)
    move = pyproj.Transformer.from_crs("EPSG:32636", "EPSG:3857", always_xy=True)
    xs, ys = move.transform([450000, 451000, 450000, 451000], [40000, 40000, 39500, 39500])
    a, _, c, _, e, f = placed.grid.transform
    assert a == -e == pytest.approx(0.5, rel=0.01)
    assert (c, f) == (pytest.approx(min(xs), abs=2 * a), pytest.approx(max(ys), abs=2 * a))
    assert c + a * placed.grid.width == pytest.approx(max(xs), abs=2 * a)
    assert placed.places.offsets == (None,)


def test_a_lonlat_grid_runs_on_across_the_antimeridian(make_scene: MakeScene) -> None:
    """UTM 60 N up to 178.5 W, and UTM 1 N: neighbours on the globe must be neighbours on the grid."""
    west = make_scene(
        "west", crs="EPSG:32660", transform=(100, 0, 570000, 0, -100, 5850000), width=2400, height=2300
    )
    east = make_scene(
        "east", crs="EPSG:32601", transform=(100, 0, 300000, 0, -100, 5850000), width=500, height=500
    )
    placed = choose_lattice([west, east], "OGC:CRS84", None)
    assert placed.grid.width * placed.grid.transform[0] < 10
    assert placed.grid.transform[2] == pytest.approx(178, abs=0.3)
    lon, lat = pyproj.Transformer.from_crs("EPSG:32601", "OGC:CRS84", always_xy=True).transform(
        300000, 5850000
    )
    col, row = ~affine_of(placed.grid.transform) @ (lon + 360, lat)
    corner = np.array(placed.places.outlines[1].exterior.coords[0])
    assert corner == pytest.approx(np.array([col, row]), abs=1e-3)


def test_a_large_scene_lies_within_its_outline(make_scene: MakeScene) -> None:
    """Its edges are curves in another CRS. Oracle: pyproj, at 20,000 points of the edges."""
    scene = make_scene(width=200_000, height=160_000, transform=(0.5, 0.0, 600000.0, 0.0, -0.5, 5700000.0))
    placed = choose_lattice([scene], "EPSG:3857", 0.8)
    ramp = np.linspace(0, 1, 5000)
    x = 600000 + 100_000 * np.concatenate([ramp, ramp, 0 * ramp, 0 * ramp + 1])
    y = 5700000 - 80_000 * np.concatenate([0 * ramp, 0 * ramp + 1, ramp, ramp])
    move = pyproj.Transformer.from_crs("EPSG:32636", "EPSG:3857", always_xy=True)
    cols, rows = ~Affine(*placed.grid.transform) @ np.array(move.transform(x, y))
    edge = shapely.points(cols, rows)
    assert shapely.distance(placed.places.outlines[0].exterior, edge).max() < 0.15
    assert cols.min() > -0.15
    assert rows.min() > -0.15
    assert cols.max() < placed.grid.width + 0.15
    assert rows.max() < placed.grid.height + 0.15
    assert len(placed.places.outlines[0].exterior.coords) > 4 * 21


def test_refuses_scenes_that_cannot_share_a_grid(make_scene: MakeScene) -> None:
    other = make_scene("other", crs="EPSG:32637")
    with pytest.raises(InputError, match=r"EPSG:32636.*EPSG:32637.*--crs"):
        choose_lattice([make_scene(), other], None, None)
    with pytest.raises(InputError, match="--crs"):
        choose_lattice([make_scene(), make_scene("nameless", crs=None)], None, None)
    with pytest.raises(InputError, match="--resolution"):
        choose_lattice([make_scene(crs=None)], None, 2.0)
    for resolution in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="--resolution"):
            choose_lattice([make_scene()], None, resolution)
    with pytest.raises(InputError, match="--crs must name"):
        choose_lattice([make_scene()], "the usual one", None)
    with pytest.raises(InputError, match="pixels a side"):
        choose_lattice([make_scene(width=2**28)], None, 0.01)


def test_refuses_a_crs_that_is_undefined_at_the_scene(make_scene: MakeScene) -> None:
    behind = make_scene(crs="EPSG:4326", transform=(0.1, 0, 150, 0, -0.1, 30), width=100, height=100)
    with pytest.raises(InputError, match="choose another --crs"):
        choose_lattice([behind], "+proj=ortho +lat_0=0 +lon_0=0", None)
