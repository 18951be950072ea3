"""Shares of what is not judged. Worlds small enough to count by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from rasterio.transform import Affine

from pipeline.grid.lattice import place_scenes
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.load.collar import Collar, find_collar
from pipeline.load.first_look import FirstLook, look_at
from pipeline.load.unjudged import PlannedArea, percent, unjudged_shares, unjudged_text
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import RunGrid, TileLattice

MakeTif = Callable[..., str]
AFFINE = (0.5, 0.0, 450000.0, 0.0, -0.5, 40000.0)


def looked(path: str) -> tuple[Scene, FirstLook]:
    (scene,) = open_scenes(SourceOptions(hrefs=(path,)))
    return scene, look_at(scene)


def lattice(width: int, height: int, crs: str | None, transform: tuple[float, ...] = AFFINE) -> TileLattice:
    grid = RunGrid(crs_wkt=crs, transform=transform, width=width, height=height)  # type: ignore[arg-type]
    return TileLattice(grid=grid, tile_px=60, halo_px=5, block_tiles=2)


def coloured(dtype: str = "uint8", bands: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(30, 250, (bands, 100, 200)).astype(dtype)


@pytest.mark.parametrize(
    ("kind", "extra"), [("nodata", {"nodata": 7}), ("mask", {}), ("alpha", {"alpha": "yes"})]
)
def test_what_the_file_leaves_out_has_its_reason(
    make_tif: MakeTif, kind: str, extra: dict[str, object]
) -> None:
    pixels = coloured(bands=4 if kind == "alpha" else 3)
    hole = np.zeros((100, 200), dtype=bool)
    hole[:, :30] = True
    if kind == "nodata":
        pixels[:, hole] = 7
    if kind == "mask":
        extra = {"mask": ~hole}
    if kind == "alpha":
        pixels[3] = np.where(hole, 0, 255)
    scene, look = looked(make_tif("a.tif", pixels, **extra))
    assert unjudged_shares(look, scene, collar=None, area=None) == {kind: pytest.approx(0.15)}


def test_what_is_not_a_number_is_said_so(make_tif: MakeTif) -> None:
    pixels = coloured("float32")
    pixels[:, :25] = np.nan
    scene, look = looked(make_tif("a.tif", pixels))
    assert unjudged_shares(look, scene, collar=None, area=None) == {"not a number": pytest.approx(0.25)}
    scene, look = looked(make_tif("b.tif", pixels, nodata=np.nan))
    assert unjudged_shares(look, scene, collar=None, area=None) == {"nodata": pytest.approx(0.25)}


def test_a_collar_is_counted_with_the_others(make_tif: MakeTif) -> None:
    pixels = coloured()
    pixels[:, :, :40] = 0
    scene, look = looked(make_tif("a.tif", pixels))
    collar = find_collar(pixels, cell_px=1, lossy=False)
    assert isinstance(collar, Collar)
    assert unjudged_shares(look, scene, collar=collar, area=None) == {"collar": pytest.approx(0.2)}
    assert unjudged_shares(look, scene, collar=None, area=None) == {}


def test_places_outside_the_plan_come_first(make_tif: MakeTif) -> None:
    """Cores of 50 px: the scene fills 2 x 4 tiles, of which three are planned; half of one is nodata."""
    pixels = coloured()
    pixels[:, :50, :25] = 7
    scene, look = looked(make_tif("a.tif", pixels, nodata=7))
    inside = np.zeros((2, 4), dtype=bool)
    inside[0, :2] = inside[1, 3] = True
    area = PlannedArea(lattice=lattice(200, 100, scene.crs_wkt), inside=inside)
    shares = unjudged_shares(look, scene, collar=None, area=area)
    assert shares == {"outside": pytest.approx(5 / 8), "nodata": pytest.approx(1 / 16)}


def test_a_grid_that_is_smaller_than_the_scene_leaves_the_rest_outside(make_tif: MakeTif) -> None:
    scene, look = looked(make_tif("a.tif", coloured()))
    moved = Affine(*AFFINE) @ Affine.translation(150, 20)
    place = lattice(50, 50, scene.crs_wkt, tuple(moved)[:6])
    area = PlannedArea(lattice=place, inside=np.ones((1, 1), dtype=bool))
    shares = unjudged_shares(look, scene, collar=None, area=area)
    assert shares == {"outside": pytest.approx(1 - 2500 / 20000)}


def test_another_crs_is_followed(make_tif: MakeTif) -> None:
    """A run grid in Web Mercator around the whole scene leaves nothing out; its west half leaves half."""
    scene, look = looked(make_tif("a.tif", coloured()))
    mercator = open_scenes(SourceOptions(hrefs=(make_tif("b.tif", coloured(), crs="EPSG:3857"),)))[0].crs_wkt
    probe = RunGrid(crs_wkt=mercator, transform=(0.5, 0.0, 0.0, 0.0, -0.5, 0.0), width=1, height=1)
    (outline,) = place_scenes([scene], probe).outlines
    col0, row0, col1, row1 = (int(v) for v in outline.bounds)
    corner = Affine(*probe.transform) @ Affine.translation(col0 - 2, row0 - 2)
    width, height = col1 - col0 + 4, row1 - row0 + 4
    for part, share in ((1.0, 0.0), (0.5, 0.5)):
        place = lattice(round(width * part), height, mercator, tuple(corner)[:6])
        inside = np.ones((place.n_tile_rows, place.n_tile_cols), dtype=bool)
        shares = unjudged_shares(look, scene, collar=None, area=PlannedArea(lattice=place, inside=inside))
        assert shares.get("outside", 0.0) == pytest.approx(share, abs=0.02)


def test_a_lonlat_grid_past_the_antimeridian_holds_both_sides(make_tif: MakeTif) -> None:
    scene, look = looked(
        make_tif("a.tif", coloured(), crs="EPSG:4326", transform=Affine(0.01, 0, -180.5, 0, -0.01, 10))
    )
    place = lattice(200, 100, scene.crs_wkt, (0.01, 0.0, 179.5, 0.0, -0.01, 10.0))
    inside = np.ones((place.n_tile_rows, place.n_tile_cols), dtype=bool)
    assert unjudged_shares(look, scene, collar=None, area=PlannedArea(lattice=place, inside=inside)) == {}


def test_shares_in_words() -> None:
    assert (
        unjudged_text({"outside": 0.5, "collar": 0.031})
        == "50.0 % outside the area, 3.1 % black border (collar)"
    )
    assert unjudged_text({}) == ""
    assert [percent(share) for share in (0, 0.0001, 0.5, 0.99999, 1)] == [
        "0.0 %",
        "less than 0.1 %",
        "50.0 %",
        "more than 99.9 %",
        "100.0 %",
    ]
