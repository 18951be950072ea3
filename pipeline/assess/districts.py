"""Districts of a user's file, by which an answer is parted.

1. `read_districts` reads polygons, mends them where that is clear, and brings them to the CRS of the run.
2. Districts that overlap are refused: an object would count twice.
3. `place_of` tells the district that holds a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from pipeline.errors import InputError
from pipeline.files.public_text import public_line
from pipeline.files.sound_geometry import UnsoundGeometryError, sound_parts
from pipeline.files.vector_file import POLYGONS, Features, read_features
from pipeline.geo.globe import polygonal
from pipeline.schema.tiling import RunGrid
from pipeline.write.georeference import crs_of, transformer

MAX_OVERLAP = 1e-4
"""Share of the smaller of two districts that they may have in common: borders that were drawn twice."""

_NAMES = ("name", "NAME", "Name", "district", "id")
"""Columns that are taken for the name when none is given, the first that is there."""


@dataclass(frozen=True, kw_only=True)
class Districts:
    """Districts in the CRS of a run's tables."""

    names: tuple[str, ...]
    shapes: tuple[shapely.Geometry, ...]

    def place_of(self, points: NDArray[np.object_]) -> NDArray[np.int64]:
        """Number of the district that holds each point, (n,); len(names): none."""
        places = np.full(len(points), len(self.names), dtype=np.int64)
        if self.shapes and len(points):
            which, district = shapely.STRtree(list(self.shapes)).query(points, predicate="intersects")
            order = np.argsort(-district, kind="stable")  # the first of two that share a border
            places[which[order]] = district[order]
        return places


def read_districts(path: Path, grid: RunGrid, *, column: str | None = None) -> Districts:
    """Read a file of districts. `column`: the one that holds their names.

    Raises InputError for what cannot be read, mended or placed, a column that is not there, and overlaps.
    """
    features = read_features(path, what="--by", kinds=POLYGONS)
    crs = crs_of(grid)
    if crs is None or features.crs is None:
        raise InputError(
            "--by needs a CRS on both sides",
            came=f"none in {'the run' if crs is None else path}",
            remedy="give a file with a CRS, for a run of imagery with a CRS",
        )
    shapes = [_placed(features, number, features.crs, crs) for number in range(len(features.ids))]
    names = _names(features, column)
    _require_apart(shapes, names)
    return Districts(names=names, shapes=tuple(shapes))


def _placed(features: Features, number: int, source: CRS, target: CRS) -> shapely.Geometry:
    """One district in the CRS of the run."""
    move = transformer(source.to_wkt(), target.to_wkt())
    try:
        shape = shapely.union_all(sound_parts(features.geometries[number]))
    except UnsoundGeometryError as error:
        raise InputError(
            f"geometry {features.places[number]} of --by must be a valid polygon",
            came=f"{error} in {features.path}",
            remedy="mend it in a GIS",
        ) from error

    def moved(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(move.transform(xy[:, 0], xy[:, 1]))

    placed = shapely.transform(shape, moved)
    if not np.isfinite(shapely.get_coordinates(placed)).all():
        raise InputError(
            "--by must lie where the run's CRS is defined",
            came=f"geometry {features.places[number]} of {features.path}, which does not",
            remedy="take it out, or cut it",
        )
    return polygonal(shapely.make_valid(placed))


def _names(features: Features, column: str | None) -> tuple[str, ...]:
    """Names of the districts; numbers in brackets tell those of one name apart."""
    there = list(features.attributes[0]) if len(features.attributes) else []
    if column is not None and column not in there:
        raise InputError(
            "--by-name must be a column of --by",
            came=column,
            remedy=f"choose from {', '.join(map(str, there)) or 'none: the file has no columns'}",
        )
    chosen = column or next((name for name in _NAMES if name in there), None)
    given = [
        features.ids[i] if chosen is None else features.attributes[i][chosen]
        for i in range(len(features.ids))
    ]
    texts = ["without a name" if _is_null(value) else public_line(str(value)) for value in given]
    return tuple(f"{t} ({i + 1})" if texts.count(t) > 1 else t for i, t in enumerate(texts))


def _is_null(value: object) -> bool:
    return value is None or value != value or not str(value).strip()  # a column of numbers holds NaN


def _require_apart(shapes: Sequence[shapely.Geometry], names: Sequence[str]) -> None:
    tree = shapely.STRtree(list(shapes))
    for number, shape in enumerate(shapes):
        for other in tree.query(shape, predicate="intersects").tolist():
            if other <= number:
                continue
            common = shape.intersection(shapes[other]).area
            if common > MAX_OVERLAP * min(shape.area, shapes[other].area):
                raise InputError(
                    "districts of --by must not overlap: an object would count twice",
                    came=f"{names[number]!r} and {names[other]!r}",
                    remedy="give them in two files, or cut one out of the other",
                )
