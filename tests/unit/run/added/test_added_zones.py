"""A zone, made again of what run.json says."""

from __future__ import annotations

import rasterio.crs
import shapely

from pipeline.run.added.added_zones import zone_again
from pipeline.run.zones.zone_plan import cover_of
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.run_json import RunInfo
from pipeline.write.zoned.zoned_json import ZoneEntry

UTM = rasterio.crs.CRS.from_epsg(32633).to_wkt(version="WKT2_2019")
EDGES = (1.0, 0.0, 500_000.0, 0.0, -1.0, 5_500_000.0)
SCENE = Scene(
    scene_id="a",
    href="/a.tif",
    crs_wkt=UTM,
    transform=EDGES,
    width=200,
    height=100,
    count=3,
    dtype="uint8",
    rgb_bands=(1, 2, 3),
    nodata=None,
)


def test_its_ground_is_that_of_the_run() -> None:
    owned = shapely.box(14.99, 49.64, 15.01, 49.66)
    entry = ZoneEntry(
        name="EPSG_32633",
        crs="",
        path="zones/EPSG_32633",
        fingerprint="",
        id_offset=0,
        n_scenes=1,
        n_tiles=1,
        owned_wkb=owned.wkb_hex,
    )
    grid = RunGrid(crs_wkt=UTM, transform=EDGES, width=200, height=100)
    area = shapely.box(500_000.0, 5_499_950.0, 500_100.0, 5_500_000.0)
    info = RunInfo(
        run_id="",
        fingerprint="",
        status="complete",
        parameters={},
        queries=("q",),
        lattice=TileLattice(grid=grid, tile_px=32, halo_px=4, block_tiles=2),
        scenes=(SCENE,),
        aoi_wkb=area.wkb_hex,
    )
    zone = zone_again(entry, info)
    assert (zone.name, zone.crs_wkt, zone.scenes) == ("EPSG_32633", UTM, (SCENE,))
    assert zone.owned.equals(owned)
    assert zone.cover.equals(cover_of([SCENE]))
    share = shapely.intersection(zone.area.geometry, zone.cover).area / zone.cover.area
    assert abs(share - 0.25) < 1e-3, "a quarter of the scene is looked at"
    assert abs(zone.area.geometry.bounds[0] - 15.0) < 1e-9, "the central meridian"
