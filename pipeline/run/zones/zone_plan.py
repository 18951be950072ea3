"""Scenes of several CRSs -> zones, and the ground that each of them owns.

1. `zones_of` groups scenes by CRS. What a zone's scenes cover is its cover, in longitude and latitude.
2. The covers are cut into regions by which zones cover them. In a region of several zones the one with the
   nearest central meridian owns the ground; a CRS that has none owns by order of scenes. Where catalogues or
   the files (`zone_imagery`) say what of a scene is imagery, that is divided first.
3. A piece that borders more on ground which another zone covers alone goes to that zone, so that zones do not
   interleave.
4. Every zone works on the ground that it owns and a seam band around it, as far as its scenes reach. What
   crosses the seam is seen from both sides.

The owned parts cover all that the scenes cover, and none of it twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from pipeline.geo.globe import LONLAT_CRS, cut_at_180, polygonal, polygons_to_lonlat, to_lonlat
from pipeline.grid.aoi import Aoi
from pipeline.grid.lattice import affine_of, crs_name, in_crs, same_crs
from pipeline.grid.pixel_size import ground_side_m, pixel_side
from pipeline.grid.scene_bounds import scene_bounds_lonlat
from pipeline.grid.scene_list import SceneList
from pipeline.grid.tiles import relevant_scenes
from pipeline.schema.imagery import Scene

SNAP_DEG = 1e-9
"""Grid on which ground is divided, in degrees: a tenth of a millimetre."""

LEAST_DEG2 = 1e-12
"""Ground smaller than this, about a hundredth of a square metre, is rounding and no zone's."""

EDGE_STEPS = 32
"""Pieces into which edges of scenes are cut, so that they can bend."""

_TRANSVERSE_MERCATOR = "9807"
"""EPSG code of the projection method of UTM."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Zone:
    """Scenes of one CRS, and the ground that they are to be asked about. Geometry in degrees, cut at 180."""

    name: str
    """Folder name, made of the CRS: `EPSG_26917`."""
    crs_wkt: str
    scenes: tuple[Scene, ...]
    cover: BaseGeometry
    """All ground that its scenes cover, imagery or not."""
    owned: BaseGeometry
    """The part of its cover that is its own."""
    area: Aoi
    """What it looks at: its own part of the area of interest, and the seam band around it."""


def zones_of(
    scenes: Sequence[Scene],
    aoi: Aoi | None,
    *,
    band_px: int,
    footprints: Mapping[str, BaseGeometry] | None = None,
) -> tuple[Zone, ...]:
    """Divide the scenes that meet the AOI (None: everywhere) into zones, in order of their first scenes.

    `band_px`: width of the seam band in pixels of the zone. `footprints`: scene_id -> where it has
    imagery, in degrees. Zones without ground of their own are left out. Raises InputError
    for scenes that meet no AOI or have no place on Earth.
    """
    groups = by_crs(relevant_scenes(scenes, aoi))
    covers = [cover_of(group) for group in groups]
    crss = [str(group[0].crs_wkt) for group in groups]
    meridians = [central_meridian(wkt) for wkt in crss]
    imagery = [
        imagery_of(group, cover, footprints or {}) for group, cover in zip(groups, covers, strict=True)
    ]
    owned = owned_by_imagery(covers, imagery, meridians)
    names = _names(crss)
    zones = []
    for group, wkt, cover, own, name in zip(groups, crss, covers, owned, names, strict=True):
        part = own if aoi is None else polygonal(shapely.intersection(own, aoi.geometry))
        if part.area < LEAST_DEG2:
            continue
        near = grown(part, wkt, metres=band_px * _pixel_m(group))
        if aoi is not None:
            near = polygonal(shapely.intersection(near, aoi.geometry))
        source = f"{'whole scenes' if aoi is None else aoi.source}, zone {name}"
        zones.append(
            Zone(
                name=name,
                crs_wkt=wkt,
                scenes=tuple(group),
                cover=cover,
                owned=own,
                area=Aoi(geometry=near, source=source),
            )
        )
    return tuple(zones)


def by_crs(scenes: Sequence[Scene]) -> list[SceneList]:
    """Group scenes by CRS, in order."""
    listed = SceneList.of(scenes)
    first: list[str | None] = []
    for wkt in dict.fromkeys(listed.columns.crs.tolist()):
        if not any(same_crs(wkt, other) for other in first):
            first.append(wkt)
    return [listed.take(in_crs(listed.columns, wkt)) for wkt in first]


def cover_of(scenes: Sequence[Scene]) -> BaseGeometry:
    """Unite the outlines of scenes of one CRS, in degrees, cut at 180. Raises InputError without a place."""
    places = {(scene.transform, scene.width, scene.height): scene for scene in scenes}  # dates repeat places
    return polygonal(shapely.union_all(_lonlat_outlines(list(places.values())), grid_size=SNAP_DEG))


def covers_of(scenes: Sequence[Scene]) -> list[BaseGeometry]:
    """The `cover_of` each of some scenes of one CRS, in one step."""
    outlines = _lonlat_outlines(scenes)
    return [polygonal(one) for one in shapely.union_all(outlines[:, None], grid_size=SNAP_DEG, axis=1)]


def _lonlat_outlines(scenes: Sequence[Scene]) -> NDArray[np.object_]:
    """Outline scenes of one CRS in degrees, cut at 180, (n,). Raises InputError without a place."""
    outlines = []
    for scene in scenes:
        scene_bounds_lonlat(scene)  # refuses what lies nowhere on Earth
        corners = [(0, 0), (scene.width, 0), (scene.width, scene.height), (0, scene.height)]
        ring = shapely.Polygon([affine_of(scene.transform) @ corner for corner in corners])
        outlines.append(shapely.segmentize(ring, ring.length / 4 / EDGE_STEPS))
    lonlat = polygons_to_lonlat(np.array(outlines, dtype=object), str(scenes[0].crs_wkt))
    return np.asarray(shapely.make_valid(lonlat), dtype=object)


def imagery_of(
    scenes: Sequence[Scene], cover: BaseGeometry, footprints: Mapping[str, BaseGeometry]
) -> BaseGeometry:
    """The part of a zone's cover where its scenes have imagery, as far as footprints say. A scene without one
    counts whole.
    """
    known = [footprints[scene.scene_id] for scene in scenes if scene.scene_id in footprints]
    if not known:
        return cover
    others = [scene for scene in scenes if scene.scene_id not in footprints]
    parts = [polygonal(shapely.make_valid(footprint)) for footprint in known]
    parts += [cover_of(others)] if others else []
    united = shapely.union_all(parts, grid_size=SNAP_DEG)
    return polygonal(shapely.intersection(united, cover, grid_size=SNAP_DEG))


def owned_by_imagery(
    covers: Sequence[BaseGeometry], imagery: Sequence[BaseGeometry], meridians: Sequence[float | None]
) -> list[BaseGeometry]:
    """Divide first where zones have imagery, then what is left of their covers: the owned parts (n,).

    Scenes of satellites are squares of which the swath fills a part. A footprint that is too small loses
    nothing.
    """
    first = owned_parts(imagery, meridians)
    taken = shapely.union_all(first, grid_size=SNAP_DEG)
    left = [polygonal(shapely.difference(cover, taken, grid_size=SNAP_DEG)) for cover in covers]
    if all(part.area < LEAST_DEG2 for part in left):
        return first
    return [
        polygonal(shapely.union_all(both, grid_size=SNAP_DEG))
        for both in zip(first, owned_parts(left, meridians), strict=True)
    ]


def central_meridian(crs_wkt: str) -> float | None:
    """Find the central meridian of a transverse Mercator projection, in degrees. None: it is another."""
    crs = CRS.from_wkt(crs_wkt)
    operation = crs.coordinate_operation
    if operation is None or str(operation.method_code) != _TRANSVERSE_MERCATOR:
        return None
    for parameter in operation.params:
        if parameter.name == "Longitude of natural origin":
            return float(parameter.value * parameter.unit_conversion_factor * 180.0 / math.pi)
    return None


def owned_parts(covers: Sequence[BaseGeometry], meridians: Sequence[float | None]) -> list[BaseGeometry]:
    """Give all ground of the covers (n,) to one zone each: the owned parts (n,).

    Ground that several zones cover is the first one's if this has no central meridian; else those that have
    one share it by the nearest.
    """
    regions = _regions(covers)
    alone = [regions.get(frozenset({zone}), shapely.MultiPolygon()) for zone in range(len(covers))]
    parts: list[list[BaseGeometry]] = [[ground] for ground in alone]
    for zones, region in regions.items():
        if len(zones) == 1:
            continue
        for owner, cell in _cells(zones, meridians).items():
            for piece in shapely.get_parts(
                polygonal(shapely.intersection(region, cell, grid_size=SNAP_DEG))
            ).tolist():
                parts[_neighbour(piece, owner, zones, alone)].append(piece)
    return [polygonal(shapely.union_all(found, grid_size=SNAP_DEG)) for found in parts]


def _regions(covers: Sequence[BaseGeometry]) -> dict[frozenset[int], BaseGeometry]:
    """Divide the ground by which of the covers lie on it; none of it twice."""
    regions: dict[frozenset[int], BaseGeometry] = {}
    for zone, cover in enumerate(covers):
        rest = cover
        divided: dict[frozenset[int], BaseGeometry] = {}
        for zones, region in regions.items():
            both = polygonal(shapely.intersection(region, cover, grid_size=SNAP_DEG))
            if both.is_empty:
                divided[zones] = region
                continue
            divided[zones | {zone}] = both
            divided[zones] = polygonal(shapely.difference(region, both, grid_size=SNAP_DEG))
            rest = polygonal(shapely.difference(rest, both, grid_size=SNAP_DEG))
        divided[frozenset({zone})] = rest
        regions = {zones: region for zones, region in divided.items() if not region.is_empty}
    return regions


def _cells(zones: frozenset[int], meridians: Sequence[float | None]) -> dict[int, BaseGeometry]:
    """Divide the globe between zones: by the nearest central meridian, if the first has one, else all its."""
    first = min(zones)
    globe = shapely.box(-180.0, -90.0, 180.0, 90.0)
    if meridians[first] is None:
        return {first: globe}
    at: dict[float, int] = {}
    for zone in sorted(zones):
        meridian = meridians[zone]
        if meridian is not None:
            at.setdefault((meridian + 180.0) % 360.0 - 180.0, zone)  # of two with one meridian the first
    places = sorted(at)
    if len(places) == 1:
        return {first: globe}
    around = [places[-1] - 360.0, *places, places[0] + 360.0]
    borders = [(low + high) / 2 for low, high in pairwise(around)]
    return {
        at[place]: cut_at_180(shapely.box(west, -90.0, east, 90.0))
        for place, (west, east) in zip(places, pairwise(borders), strict=True)
    }


def _neighbour(piece: BaseGeometry, owner: int, zones: frozenset[int], alone: Sequence[BaseGeometry]) -> int:
    """The zone whose own ground a piece borders most; `owner` where no other has more of the border."""
    border = piece.boundary
    shared = {zone: shapely.intersection(border, alone[zone]).length for zone in sorted(zones)}
    best = max(shared, key=lambda zone: (shared[zone], -zone))
    return best if shared[best] > shared[owner] else owner


def grown(part: BaseGeometry, crs_wkt: str, *, metres: float) -> BaseGeometry:
    """Grow ground (degrees, cut at 180) by metres, measured in the zone's own CRS. Never less than `part`."""
    if metres <= 0:
        return part
    move = Transformer.from_crs(LONLAT_CRS, crs_wkt, always_xy=True)
    pieces = []
    for piece in shapely.get_parts(part):
        west, south, east, north = piece.bounds
        dense = piece.segmentize(max(east - west, north - south, 1e-6) / EDGE_STEPS)
        moved = shapely.transform(
            dense, lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1], errcheck=False))
        )
        moved = polygonal(shapely.make_valid(moved))
        inner = moved.representative_point()
        by = metres / ground_side_m(crs_wkt, inner.x, inner.y)
        pieces.append(to_lonlat(moved.buffer(by, quad_segs=2, join_style="mitre"), crs_wkt))
    return polygonal(shapely.union_all([part, *pieces], grid_size=SNAP_DEG))


def _pixel_m(scenes: Sequence[Scene]) -> float:
    """Side of the coarsest pixel on the ground, in metres, in the middle of its scene."""
    scene = max(scenes, key=lambda scene: pixel_side(scene.transform))
    x, y = affine_of(scene.transform) @ (scene.width / 2, scene.height / 2)
    assert scene.crs_wkt is not None
    return pixel_side(scene.transform) * ground_side_m(scene.crs_wkt, float(x), float(y))


def _names(crss: Sequence[str]) -> list[str]:
    """One folder name per CRS; those without a code, and repeated ones, are numbered."""
    names: list[str] = []
    for number, wkt in enumerate(crss):
        name = re.sub(r"[^A-Za-z0-9]+", "_", crs_name(wkt)).strip("_")[:40] or "CRS"
        names.append(name if name not in names else f"{name}_{number}")
    return names
