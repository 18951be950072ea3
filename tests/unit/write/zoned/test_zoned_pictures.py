"""Pictures of two zones that meet at 0 E, 45 N: what is where, in metres from there."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image
from pyproj import CRS, Transformer
from zone_results import PARAMETERS, Seen, two_zones, zoned_info

from pipeline.run.zones.zone_publish import publish_zones
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.report.map.map_outlines import outlines_text
from pipeline.write.report.report_data import TILE_STATES
from pipeline.write.report.report_images import STATUS_COLOURS
from pipeline.write.run_dir import RunDir
from pipeline.write.zoned.zoned_pictures import ZonedPictures, ZoneTiles, picture_sections, read_tile_statuses

GRID = RunGrid(
    crs_wkt=CRS.from_proj4("+proj=laea +lon_0=0 +lat_0=45 +datum=WGS84").to_wkt(),
    transform=(1.0, 0.0, -200.0, 0.0, -1.0, 200.0),
    width=400,
    height=400,
)
FOUND, FAILED = (1 + list(STATUS_COLOURS).index(name) for name in ("found", "failed"))


@pytest.fixture
def pictures(tmp_path: Path) -> ZonedPictures:
    """A roof of 20 m that both zones saw half of, and one in each; a tile of the western zone has failed."""
    over = shapely.box(-10, -10, 10, 10)
    results = two_zones(
        tmp_path,
        [Seen(1, over), Seen(2, shapely.box(-100, 50, -80, 70))],
        [Seen(1, over), Seen(2, shapely.box(100, -70, 120, -50))],
        failed=[(0, 0)],
    )
    publish_zones(RunDir(tmp_path), results, min_area_m2=0.0, info=zoned_info(PARAMETERS))

    def read_rgb(window: Window) -> NDArray[np.uint8]:
        return np.full((*window.shape, 3), 200, dtype=np.uint8)

    return ZonedPictures(
        grid=GRID,
        zones={
            each.zone.name: ZoneTiles(
                run_dir=each.run_dir, lattice=each.info.lattice, keys=AlikeKeys(each.info.fingerprint)
            )
            for each in results
        },
        overview_rgb=np.full((100, 100, 3), 200, dtype=np.uint8),
        read_rgb=read_rgb,
    )


def published(folder: Path) -> RunDir:
    """The directory of all zones, with the one snapshot that it has."""
    run_dir = RunDir(folder)
    (name,) = run_dir.snapshots.children()
    return run_dir.in_snapshot(name)


def images_of(markup: str) -> dict[str, NDArray[np.int64]]:
    """alt -> pixels."""
    found = re.findall(r'src="data:image/webp;base64,([^"]+)" alt="([^"]+)"', markup)
    return {
        alt: np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), dtype=np.int64)
        for data, alt in found
    }


def test_objects_of_all_zones_are_drawn_once_where_they_are(pictures: ZonedPictures, tmp_path: Path) -> None:
    _, _, overview, objects, _, distributions = picture_sections(
        published(tmp_path), pictures, queries=["roofs"], seed=1
    )
    assert "3 objects" in overview
    image = images_of(overview)["overview of the imagery with outlines of all objects"]
    assert image.shape == (1200, 1200, 3)
    coloured = np.abs(image - 200).max(axis=2) > 12
    expected = np.zeros((400, 400), dtype=np.bool_)
    for east, north in ((-10, -10), (-100, 50), (100, -70)):
        expected[200 - north - 20 : 200 - north, 200 + east : 220 + east] = True
    inside = expected.repeat(3, axis=0).repeat(3, axis=1)
    near = np.zeros_like(inside)
    for down in (-12, 0, 12):
        for right in (-12, 0, 12):
            near |= np.roll(inside, (down, right), axis=(0, 1))
    assert coloured[inside].mean() > 0.9
    assert not coloured[~near].any()
    assert objects.count("<article") == 3
    assert "2 tiles" in objects  # one of each zone
    assert distributions.count("<svg") == 2


def test_the_map_shows_the_tiles_of_all_zones(pictures: ZonedPictures, tmp_path: Path) -> None:
    """The western zone looks at -160..40 m, the eastern one at -40..160 m, both at -100..100 m north; its
    north-western tile of 50 m has failed. Grid north turns by a degree or two: edges are left out.
    """
    statuses = read_tile_statuses(published(tmp_path), GRID, (200, 200))
    assert (statuses[60:140, 40:160] == FOUND).mean() > 0.9
    assert (statuses[58:70, 26:42] == FAILED).all()
    assert (statuses[:44] == 0).all()
    assert (statuses[156:] == 0).all()
    assert (statuses[:, :14] == 0).all()
    overview = picture_sections(published(tmp_path), pictures, queries=["roofs"], seed=1)[2]
    shown = images_of(overview)["map of tile statuses"]
    red, green, _ = shown[205:240, 95:145].reshape(-1, 3).mean(axis=0)
    assert red > green + 40
    red, green, _ = shown[300:400, 200:500].reshape(-1, 3).mean(axis=0)
    assert green > red + 40


def test_the_map_holds_the_objects_of_all_zones_and_their_borders(
    pictures: ZonedPictures, tmp_path: Path
) -> None:
    to_lonlat = Transformer.from_crs(GRID.crs_wkt, "OGC:CRS84", always_xy=True)
    a, _, c, _, e, f = GRID.transform
    xs, ys = to_lonlat.transform([c, c + 200 * a, c + 200 * a, c], [f, f, f + 400 * e, f + 400 * e])
    owned = [shapely.Polygon(zip(xs, ys, strict=True))]
    section = picture_sections(published(tmp_path), pictures, queries=["roofs"], seed=1, owned=owned)[0]
    (told,) = re.findall(r'id="map-data">(.*?)</script>', section)
    data = json.loads(told)
    assert data["objects"]["n"] == len(data["objects"]["id"]) == 3
    assert sorted(data["objects"]["tiles"])[-1] == 2
    assert data["lattice"] is None
    want = outlines_text(np.array([shapely.box(0, 0, 200, 400)]), step_px=1.0)
    assert base64.b64decode(data["borders"]["points"]) == base64.b64decode(want.points) == bytes([4])
    pairs = np.frombuffer(base64.b64decode(data["ground"]["codes"]), dtype=np.uint8)
    assert 2 * TILE_STATES.index("failed") in pairs
    assert "borders of zones" in section


def test_without_imagery_it_is_drawn_on_paper(pictures: ZonedPictures, tmp_path: Path) -> None:
    plain = ZonedPictures(grid=GRID, zones=pictures.zones)
    _, _, overview, objects, *_ = picture_sections(published(tmp_path), plain, queries=["roofs"], seed=1)
    assert len(images_of(overview)) == 2
    assert len(images_of(objects)) == 3
