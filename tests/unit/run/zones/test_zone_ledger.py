"""Searched ground of two zones against the area of what was judged, by pyproj and shapely alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import zarr
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyproj import Geod
from zone_results import CORE_PX, SIDE_PX, geodesic_km2, lonlat_from, two_zones

from pipeline.run.zones.zone_ground import ZoneFiles, files_of
from pipeline.run.zones.zone_ledger import owned_ledgers, shared_ground
from pipeline.write.zoned.zoned_tables import OwnedKm2, write_zoned_coverage

Places = frozenset[tuple[int, int]]
Hole = tuple[int, int, int, int]

PLACES = st.frozensets(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=6)
EDGE = st.integers(0, SIDE_PX)


def holed(files: ZoneFiles, hole: Hole, *, failed: Places, outside: Places) -> tuple[shapely.Geometry, ...]:
    """Take what was judged from a zone of `zone_results`; returns its planned and judged ground in degrees.

    `hole`: rows and columns, half-open, that hold no imagery.
    """
    row0, row1, col0, col1 = hole
    left, top = files.lattice.grid.transform[2], files.lattice.grid.transform[5]
    missing = shapely.box(left + col0, top - row1, left + col1, top - row0)
    mask = np.full((1, SIDE_PX, SIDE_PX), 0, dtype=np.uint8)
    mask[0, row0:row1, col0:col1] = 255
    zarr.create_group(str(files.run_dir.masks), overwrite=True).create_array("mask", data=mask)
    path = files.run_dir.coverage.local()
    table = pq.read_table(path)
    rows, planned, judged = [], [], []
    for row in table.to_pylist():
        place = (row["tile_row"], row["tile_col"])
        core = shapely.from_wkb(row["geometry"])
        valid = shapely.difference(core, missing)
        seen = valid if place not in failed else shapely.Polygon()
        row |= {"status": "found", "reason": "", "valid_share": valid.area / CORE_PX**2}
        if place in outside:
            row |= {"status": "empty", "reason": "outside_aoi"}
            seen = shapely.Polygon()
        elif place in failed:
            row |= {"status": "failed", "reason": "malformed"}
        elif valid.is_empty:
            row |= {"status": "empty", "reason": "nodata"}
        planned += [core] if place not in outside else []
        judged.append(seen)
        rows.append(row | {"searched_km2": geodesic_km2(seen, files.crs_wkt) if not seen.is_empty else 0.0})
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    return tuple(lonlat_from(shapely.union_all(shapes), files.crs_wkt) for shapes in (planned, judged))


def joint_km2(zones: list[ZoneFiles], folder: Path) -> OwnedKm2:
    km2 = write_zoned_coverage(folder / "joint.parquet", owned_ledgers(zones, n_queries=1))
    table = pq.read_table(folder / "joint.parquet")
    assert table["searched_km2"].to_numpy().sum() == pytest.approx(km2.searched[0], rel=1e-12, abs=1e-15)
    assert (table["searched_km2"].to_numpy() <= table["km2"].to_numpy() * (1 + 1e-6)).all()
    return km2


def km2_of(shapes: list[shapely.Geometry]) -> float:
    united = shapely.orient_polygons(shapely.union_all(shapes))
    return float(Geod(ellps="WGS84").geometry_area_perimeter(united)[0]) / 1e6


@pytest.fixture(scope="module")
def both_zones(tmp_path_factory: pytest.TempPathFactory) -> list[ZoneFiles]:
    """Two zones whose ledgers every example writes anew."""
    return [files_of(each) for each in two_zones(tmp_path_factory.mktemp("zones"), [], [])]


@settings(max_examples=10, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    holes=st.tuples(*(st.tuples(EDGE, EDGE, EDGE, EDGE) for _ in range(2))),
    failed=st.tuples(PLACES, PLACES),
    outside=st.tuples(PLACES, PLACES),
)
def test_the_joint_ledger_has_the_area_of_all_that_any_zone_judged(
    both_zones: list[ZoneFiles],
    holes: tuple[Hole, Hole],
    failed: tuple[Places, Places],
    outside: tuple[Places, Places],
) -> None:
    """Whatever lacks imagery, failed or lies outside the area, on either side of the seam."""
    grounds = []
    for number, zone in enumerate(both_zones):
        row0, row1, col0, col1 = holes[number]
        hole = (min(row0, row1), max(row0, row1), min(col0, col1), max(col0, col1))
        grounds.append(holed(zone, hole, failed=failed[number], outside=outside[number]))
    planned, judged = (list(shapes) for shapes in zip(*grounds, strict=True))
    km2 = joint_km2(both_zones, both_zones[0].run_dir.path.local())
    # a pixel is 1e-6 km2; outlines are rounded to a tenth of a millimetre on their way to degrees
    assert km2.planned == pytest.approx(km2_of(planned), rel=1e-6, abs=1e-9)
    assert km2.searched == (pytest.approx(km2_of(judged), rel=1e-6, abs=1e-9),)


def test_a_core_that_the_seam_cuts_counts_all_its_imagery(tmp_path: Path) -> None:
    """The western scene ends in the middle of cores that the seam cuts: no share is taken of a share."""
    west, east = (files_of(each) for each in two_zones(tmp_path, [], []))
    grounds = [
        holed(west, (0, SIDE_PX, 155, SIDE_PX), failed=frozenset(), outside=frozenset())[1],
        holed(east, (0, SIDE_PX, 0, 20), failed=frozenset(), outside=frozenset())[1],
    ]
    km2 = joint_km2([west, east], tmp_path)
    assert km2.searched == (pytest.approx(km2_of(grounds), rel=1e-6),)
    assert shapely.union_all(grounds).area == pytest.approx(sum(each.area for each in grounds), rel=0.1)


def test_ground_that_no_other_zone_looks_at_is_not_shared(tmp_path: Path) -> None:
    zones = [files_of(each) for each in two_zones(tmp_path, [], [])]
    both = shapely.intersection(*(lonlat_from(shapely.box(*bounds_m(zone)), zone.crs_wkt) for zone in zones))
    assert shared_ground(zones).area == pytest.approx(both.area, rel=1e-6)
    assert shared_ground(zones[:1]).is_empty


def bounds_m(zone: ZoneFiles) -> tuple[float, float, float, float]:
    left, top = zone.lattice.grid.transform[2], zone.lattice.grid.transform[5]
    return left, top - SIDE_PX, left + SIDE_PX, top
