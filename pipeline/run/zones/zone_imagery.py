"""Where scenes of several zones have imagery, for the division of the ground.

1. Only scenes that lie on ground of another zone matter: elsewhere nobody else could be asked.
2. Each of these is looked at once, decimated (`pipeline.load.imagery_outline`). One without holes keeps what
   its catalogue says of it, or its rectangle.
3. A hole is cut out of that. So the zone whose scenes show the ground there is asked about it.

The looks depend on files and options alone: a resumed run divides the ground in the same way. Clouds and
quality masks are not looked at here, and make no holes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.geo.globe import polygonal, polygons_to_lonlat
from pipeline.grid.aoi import Aoi
from pipeline.grid.lattice import affine_of
from pipeline.grid.tiles import relevant_scenes
from pipeline.load.first_look import NotAloneError
from pipeline.load.imagery_outline import imagery_outline
from pipeline.load.prepare_scenes import LoadOptions
from pipeline.run.zones.zone_plan import EDGE_STEPS, LEAST_DEG2, SNAP_DEG, by_crs, cover_of, covers_of
from pipeline.schema.imagery import Scene

_SCENE_THREADS = 8
"""Scenes looked at at once: the work is mostly waiting for remote overviews."""


def imagery_footprints(
    scenes: Sequence[Scene], aoi: Aoi | None, known: Mapping[str, BaseGeometry], options: LoadOptions
) -> dict[str, BaseGeometry]:
    """Add to `known`, footprints of catalogues, the holes of scenes that lie on ground of another zone.

    Both by scene_id, in degrees. `aoi`: None: everywhere. Raises SourceError (retryable) when a server does
    not answer, and InputError as `cover_of`.
    """
    footprints = dict(known)
    contested = contested_scenes(scenes, aoi)
    for scene, outline in zip(contested, _outlines(contested, options), strict=True):
        if outline is None:
            continue
        drawn = polygonal(
            shapely.intersection(_lonlat(scene, outline), cover_of([scene]), grid_size=SNAP_DEG)
        )
        if scene.scene_id in known:
            told = polygonal(shapely.make_valid(known[scene.scene_id]))
            drawn = polygonal(shapely.intersection(drawn, told, grid_size=SNAP_DEG))
        footprints[scene.scene_id] = drawn
    return footprints


def contested_scenes(scenes: Sequence[Scene], aoi: Aoi | None) -> list[Scene]:
    """Find the scenes of which a part, within the AOI, lies on ground that scenes of another CRS cover."""
    groups = by_crs(relevant_scenes(scenes, aoi))
    covers = [cover_of(group) for group in groups]
    found: list[Scene] = []
    for number, group in enumerate(groups):
        others = shapely.union_all(covers[:number] + covers[number + 1 :])
        asked = others if aoi is None else shapely.intersection(others, aoi.geometry)
        shapely.prepare(asked)
        own = np.array(covers_of(group), dtype=object)
        meets = np.flatnonzero(shapely.intersects(asked, own))
        shared = shapely.area(shapely.intersection(asked, own[meets]))
        found += group.take(meets[shared >= LEAST_DEG2])
    return found


def _outlines(scenes: Sequence[Scene], options: LoadOptions) -> list[BaseGeometry | None]:
    """What each scene's look shows, in order; those that must be read alone come last."""
    apart: list[int] = []

    def among_others(number: int) -> BaseGeometry | None:
        try:
            return imagery_outline(scenes[number], options, alone=False)
        except NotAloneError:
            apart.append(number)
            return None

    with ThreadPoolExecutor(max_workers=_SCENE_THREADS) as pool:
        found = list(pool.map(among_others, range(len(scenes))))
    for number in apart:
        found[number] = imagery_outline(scenes[number], options, alone=True)
    return found


def _lonlat(scene: Scene, outline: BaseGeometry) -> BaseGeometry:
    """Move polygons from pixels of a scene to degrees, cut at 180; edges bend."""
    affine = affine_of(scene.transform)

    def placed(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        cols, rows = xy.T
        return np.column_stack(
            [
                affine.a * cols + affine.b * rows + affine.c,
                affine.d * cols + affine.e * rows + affine.f,
            ]
        )

    assert scene.crs_wkt is not None
    steps = (scene.width + scene.height) / 2 / EDGE_STEPS
    ground = shapely.transform(shapely.segmentize(outline, steps), placed)
    moved = polygons_to_lonlat(np.array([ground], dtype=object), scene.crs_wkt)[0]
    return polygonal(shapely.make_valid(moved))
