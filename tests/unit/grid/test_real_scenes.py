"""Real headers: every raster of the sample data plans, or is refused with a sentence that helps."""

from __future__ import annotations

from pathlib import Path

import pytest
import rasterio
import shapely

from pipeline.errors import InputError
from pipeline.grid.aoi import aoi_from_bbox
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, Plan, plan_tiles

TILES = GridOptions(tile_px=256, halo_px=16)
THREE_BANDS = [
    "kampala/kampala_west.tif",
    "manila/5b90f92da0d7280005fab355_4310.tif",
    "neon/OSBS_029.tif",
    "neon/2018_SJER_477.tif",
    "pdok/test_tiled.tif",
    "naip_dates/m_4709963_se_14_1_20170827.tif",
    "overlap/mosaic_cog1.tif",
    "tricky/RGB.byte.tif",
    "tricky/RGBA.uint16.tif",
    "tricky/all-nodata.tif",
    "tricky/alpha.tif",
    "tricky/cog_uint8_rgb_mask.tif",
    "tricky/corrupt.tif",
]
ONE_BAND = ["tricky/cog_dateline.tif", "tricky/inverted_lat.tif"]

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def planned(
    data_dir: Path, *names: str, bands: tuple[int, ...] | None = None, grid: GridOptions = TILES
) -> Plan:
    scenes = open_scenes(SourceOptions(hrefs=tuple(str(data_dir / name) for name in names), bands=bands))
    return plan_tiles(None, scenes, grid)


@pytest.mark.parametrize("name", THREE_BANDS + ONE_BAND)
def test_a_scene_is_its_own_grid(data_dir: Path, name: str) -> None:
    plan = planned(data_dir, name, bands=(1, 1, 1) if name in ONE_BAND else None)
    with rasterio.open(data_dir / name) as oracle:
        assert plan.mode == "scene"
        assert (plan.grid.height, plan.grid.width) == oracle.shape
        assert plan.grid.transform == tuple(oracle.transform)[:6]
    assert plan.inside.all()
    assert plan.offsets == ((0, 0),)


@pytest.mark.parametrize("name", ONE_BAND)
def test_one_band_needs_a_choice(data_dir: Path, name: str) -> None:
    with pytest.raises(InputError, match="--bands"):
        planned(data_dir, name)


@pytest.mark.parametrize("name", ["tricky/RGBA.uint16.tif", "tricky/all-nodata.tif"])
def test_bands_stored_blue_green_red_are_found(data_dir: Path, name: str) -> None:
    assert planned(data_dir, name).scenes[0].rgb_bands == (3, 2, 1)


def test_control_points_alone_are_refused(data_dir: Path) -> None:
    with pytest.raises(InputError, match=r"ground control points.*gdalwarp"):
        planned(data_dir, "tricky/cog_gcps.tif", bands=(1, 1, 1))


def test_two_dates_a_part_pixel_apart_make_a_mosaic_on_the_first(data_dir: Path) -> None:
    plan = planned(data_dir, "naip_dates")
    assert plan.mode == "mosaic"
    assert plan.offsets == ((0, 1), None)
    assert (plan.grid.transform[0], plan.grid.transform[4]) == (5.0, -5.0)
    assert (plan.grid.transform[2], plan.grid.transform[5]) == (485897.0, 5209248.0)


def test_two_utm_zones_need_a_crs(data_dir: Path) -> None:
    with pytest.raises(InputError, match=r"EPSG:2691[78].*EPSG:2691[78].*--crs"):
        planned(data_dir, "naip_utm17_18")
    plan = planned(data_dir, "naip_utm17_18", grid=GridOptions(tile_px=256, halo_px=16, crs="EPSG:26917"))
    assert plan.mode == "mosaic"
    assert plan.grid.transform[0] == 1.0
    assert sum(offset is None for offset in plan.offsets) == 1
    west, east = plan.outlines
    assert west.intersection(east).area == pytest.approx(
        6000, rel=0.2
    )  # they are known to overlap by about 6000 px


def test_an_aoi_on_a_national_grid(data_dir: Path) -> None:
    """Oracle: the same corner through PROJ, on the Dutch grid whose axes are tilted against lon/lat."""
    scenes = open_scenes(SourceOptions(hrefs=(str(data_dir / "pdok/test_tiled.tif"),)))
    import pyproj

    move = pyproj.Transformer.from_crs("EPSG:28992", "OGC:CRS84", always_xy=True)
    lon, lat = move.transform([127400, 127450], [428150, 428200])
    plan = plan_tiles(aoi_from_bbox(lon[0], lat[0], lon[1], lat[1]), scenes, TILES)
    a, _, c, _, _, f = plan.grid.transform
    extent = shapely.box(c, f - a * plan.grid.height, c + a * plan.grid.width, f)
    assert extent.buffer(0.25).contains(shapely.MultiPoint([(127400, 428150), (127450, 428200)]))
    assert extent.area < 50 * 50 * 1.2


def test_elsewhere_is_refused(data_dir: Path) -> None:
    scenes = open_scenes(SourceOptions(hrefs=(str(data_dir / "kampala/kampala_west.tif"),)))
    with pytest.raises(InputError, match=r"32\.59"):
        plan_tiles(aoi_from_bbox(-10, 40, -9, 41), scenes, TILES)
