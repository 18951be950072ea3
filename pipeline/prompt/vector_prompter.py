"""Known locations as a prompter: polygons, boxes or points from a vector file.

1. `_known_locations` loads the file once, leaves out what is unsound, and moves the rest to pixel edges of
   the run grid. A multi-part feature becomes one location per part.
2. Per tile an index finds the locations that touch the read window.
3. `_prompt` clips a polygon to the window: its bounds become the box, `_inner_points` the points. A point
   stays a point, or becomes a square of a given side with the point as a click (`_squares`). Label, id and
   attributes of the feature travel with it. With the shape `chain` a long polygon gets several prompts
   (`chain_boxes`), which all name its feature.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.files.sound_geometry import UnsoundGeometryError, sound_parts
from pipeline.files.vector_file import POINTS, POLYGONS, Features, read_features
from pipeline.geo.globe import LONLAT_CRS, joined, on_all_turns
from pipeline.prompt.chain_boxes import PromptShape, outline_chain
from pipeline.prompt.prompter import same_for_all
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt, Reason, TilePrompts, TileStatus
from pipeline.schema.tiling import RunGrid, Window

Geometries = NDArray[np.object_]
"""(n,) shapely geometries."""

LABEL_COLUMNS = ("name", "label", "class")
"""Columns that become the prompt's label; the first one present wins."""

MIN_SIDE_PX = 1.0
"""A clipped polygon narrower than this is a sliver of a neighbour's object, or too small to segment."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Location:
    """One sound geometry of the file that touches the run grid."""

    geometry: BaseGeometry
    """A point or polygon in pixel edges of the run grid."""
    feature_id: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Known:
    """Locations on the run grid."""

    geometries: Geometries
    """(n,) single parts in pixel edges of the grid."""
    owners: NDArray[np.int64]
    """(n,) the feature that each is of."""
    squared: NDArray[np.bool_]
    """(n,) True = the square around a point."""
    features: Features
    notes: tuple[str, ...]

    def named(self, prompt: Prompt, index: int) -> Prompt:
        """Add label, id and attributes of its feature to the prompt of location `index`."""
        owner = int(self.owners[index])
        attributes = self.features.attributes[owner]
        return replace(
            prompt,
            label=_label(attributes),
            feature_id=self.features.ids[owner],
            attributes=_json(attributes),
        )


class VectorPrompter:
    """A `Prompter` over a vector file, placed on a run grid."""

    def __init__(
        self,
        path: str,
        grid: RunGrid,
        *,
        point_box_m: float = 0.0,
        shape: PromptShape = "fixed",
        what: str = "the prompt file",
    ) -> None:
        """Read the file.

        `point_box_m`: side in metres of the box that a point gets around it; 0: none. `shape`: `chain` gives
        long and ring-like outlines several prompts. `what`: how errors call the file.

        Raises:
            InputError: the file is missing, unreadable or empty, has no CRS, holds other geometries than
                polygons and points, none of them is sound, or no location in it lies on the run grid; the
                grid has no CRS; or points are to get boxes, and the file has none.
        """
        self._model_id = f"vector:{Path(path).name}"
        self._shape = shape
        self._known = _known_locations(path, grid, point_box_m, what)
        self._index = shapely.STRtree(self._known.geometries)

    @property
    def model_id(self) -> str:
        """`vector:` and the file's name."""
        return self._model_id

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the file: locations that are left out, and why."""
        return self._known.notes

    @property
    def locations(self) -> list[Location]:
        """All locations, in the order of the file."""
        features = self._known.features
        return [
            Location(
                geometry=geometry,
                feature_id=features.ids[owner],
                attributes=features.attributes[owner],
            )
            for geometry, owner in zip(self._known.geometries, self._known.owners.tolist(), strict=True)
        ]

    def prompt_of(self, index: int, window: Window) -> Prompt | None:
        """The prompt of location `index` in a window. None: what is visible there is too small."""
        frame = shapely.box(window.col0, window.row0, window.col1, window.row1)
        return _prompt(self._known.geometries[index], window, frame, squared=self._known.squared[index])

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        """Give the same prompts for every query. EMPTY: no location touches the read window."""
        prompts, n_dropped = self.prompts_of(image.tile.read)
        status, reason = (TileStatus.FOUND, Reason.NONE) if prompts else (TileStatus.EMPTY, Reason.PROMPTER)
        answer = TilePrompts(
            tile_id=image.tile.tile_id,
            query_index=0,
            status=status,
            reason=reason,
            prompts=prompts,
            n_dropped=n_dropped,
        )
        return same_for_all(answer, len(queries))

    def prompts_of(self, window: Window) -> tuple[tuple[Prompt, ...], int]:
        """Make the prompts of a window of the run grid, in the order of the file.

        Also returns how many locations touch the window and are too small in it to be prompted.
        """
        frame = shapely.box(window.col0, window.row0, window.col1, window.row1)
        hits = np.sort(self._index.query(frame, predicate="intersects"))
        prompts = []
        n_dropped = 0
        for hit in hits:
            prompt = self.prompt_of(int(hit), window)
            if prompt is None:
                n_dropped += 1
                continue
            chain = self._chain_of(int(hit), window, frame) if self._shape == "chain" else ()
            prompts += [self._known.named(one, hit) for one in chain or (prompt,)]
        return tuple(prompts), n_dropped

    def _chain_of(self, index: int, window: Window, frame: BaseGeometry) -> tuple[Prompt, ...]:
        """The prompts along what is visible of a long location. Empty: it is a point, or compact."""
        visible = _polygonal(shapely.intersection(self._known.geometries[index], frame))
        if visible is None:
            return ()
        inside = shapely.transform(visible, lambda xy: xy - (window.col0, window.row0))
        return outline_chain(inside, window.shape)

    def close(self) -> None:
        """Do nothing: the file was read at the start."""


def _prompt(geometry: BaseGeometry, window: Window, frame: BaseGeometry, *, squared: bool) -> Prompt | None:
    """One location in pixels of the window; None when what is visible is too small.

    `squared`: it stands for the point in its middle, which is the click where the window has it.
    """
    if geometry.geom_type == "Point":
        point = (geometry.x - window.col0, geometry.y - window.row0)
        return Prompt(box_xyxy=None, points_xy=(point,), point_labels=(1,))
    visible = _polygonal(shapely.intersection(geometry, frame))
    if visible is None:
        return None
    visible = shapely.transform(visible, lambda xy: xy - (window.col0, window.row0))
    x0, y0, x1, y1 = shapely.bounds(visible).tolist()
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(window.width)), min(y1, float(window.height))
    if x1 - x0 < MIN_SIDE_PX or y1 - y0 < MIN_SIDE_PX:
        return None
    points = _inner_points(visible)
    if squared:
        x = geometry.centroid.x - window.col0
        y = geometry.centroid.y - window.row0
        points = ((x, y),) if 0 <= x < window.width and 0 <= y < window.height else ()
    return Prompt(box_xyxy=(x0, y0, x1, y1), points_xy=points, point_labels=(1,) * len(points))


def _polygonal(geometry: BaseGeometry) -> BaseGeometry | None:
    """The polygons of an intersection. None: it has none, for touching windows leave lines and points."""
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon" and part.area > 0]
    return shapely.union_all(parts) if parts else None


def _inner_points(polygon: BaseGeometry) -> tuple[tuple[float, float], ...]:
    """Two points inside a polygon, which is halved across its longer side.

    Each is the centre of the largest circle inside its half.
    """
    x0, y0, x1, y1 = shapely.bounds(polygon).tolist()
    if x1 - x0 >= y1 - y0:
        middle = (x0 + x1) / 2
        halves = shapely.box(x0, y0, middle, y1), shapely.box(middle, y0, x1, y1)
    else:
        middle = (y0 + y1) / 2
        halves = shapely.box(x0, y0, x1, middle), shapely.box(x0, middle, x1, y1)
    points: dict[tuple[float, float], None] = {}
    for half in halves:
        part = _polygonal(shapely.intersection(polygon, half))
        if part is not None:
            biggest = max(shapely.get_parts(part), key=lambda p: p.area)
            circle = shapely.maximum_inscribed_circle(biggest, tolerance=max(x1 - x0, y1 - y0) / 100)
            x, y = shapely.get_coordinates(circle)[0].tolist()
            points.setdefault((x, y))
    return tuple(points)


def _known_locations(path: str, grid: RunGrid, point_box_m: float, what: str) -> _Known:
    """Read the file and place it on the grid. Raises InputError as `VectorPrompter` does."""
    if grid.crs_wkt is None:
        raise InputError(
            "prompts from a file need imagery with a CRS",
            came="imagery without one",
            remedy="georeference the imagery",
        )
    features = read_features(Path(path), what=what, kinds=POLYGONS | POINTS)
    if features.crs is None:
        raise InputError(f"{what} needs a CRS", came=f"{path} has none", remedy="write its CRS into the file")
    parts, owners, unsound = _sound(features)
    if not parts.size:
        raise InputError(
            f"{what} must hold at least one sound geometry",
            came=f"{unsound[0]} in {path}",
            remedy="repair it there, e.g. with QGIS `Fix geometries`",
        )
    squared = np.zeros(len(parts), dtype=np.bool_)
    if point_box_m:
        squared = shapely.get_type_id(parts) == shapely.GeometryType.POINT
        if not squared.any():
            raise InputError(
                "boxes of --prompt-box-m are for points",
                came=f"{path}, which has none",
                remedy="leave the option out: polygons bring their own boxes",
            )
        parts[squared] = _squares(parts[squared], features.crs, point_box_m)
    placed, rows = _in_grid_pixels(parts, features.crs, grid)
    if not placed.size:
        west, south, east, north = _bounds_lonlat(parts, features.crs)
        raise InputError(
            f"at least one location of {what} must lie on the imagery",
            came=(
                f"{path}, whose locations lie within lon {west:.6f} to {east:.6f}, "
                f"lat {south:.6f} to {north:.6f}, elsewhere"
            ),
            remedy="use imagery of that place, or correct the file's CRS",
        )
    return _Known(
        geometries=placed,
        features=features,
        owners=owners[rows],
        squared=squared[rows],
        notes=_notes(unsound, path),
    )


def _squares(points: Geometries, crs: CRS, side_m: float) -> Geometries:
    """Squares of `side_m` metres on the ground around points, with sides to the north and east, in the CRS of
    the points."""
    import geopandas

    lonlat = geopandas.GeoSeries(points, crs=crs).to_crs(LONLAT_CRS)
    lon = lonlat.x.to_numpy()
    lat = lonlat.y.to_numpy()
    half = np.full(len(lon), side_m / 2)
    east = Geod(ellps="WGS84").fwd(lon, lat, np.full(len(lon), 90.0), half)[0]
    north = Geod(ellps="WGS84").fwd(lon, lat, np.zeros(len(lon)), half)[1]
    width = np.abs((east - lon + 180.0) % 360.0 - 180.0)
    height = np.abs(north - lat)
    squares = shapely.box(lon - width, lat - height, lon + width, lat + height)
    moved: Geometries = geopandas.GeoSeries(squares, crs=LONLAT_CRS).to_crs(crs).to_numpy()
    return moved


def _sound(features: Features) -> tuple[Geometries, NDArray[np.int64], list[str]]:
    """(sound single parts, per part the feature that it is of, what is wrong with the others)."""
    parts: list[BaseGeometry] = []
    owners: list[int] = []
    faults: list[str] = []
    for number, (place, geometry) in enumerate(zip(features.places, features.geometries, strict=True)):
        try:
            found = sound_parts(geometry)
        except UnsoundGeometryError as error:
            faults.append(f"{error} in geometry {place}")
            continue
        parts += found
        owners += [number] * len(found)
    return np.array(parts, dtype=object), np.array(owners, dtype=np.int64), faults


def _notes(faults: list[str], path: str) -> tuple[str, ...]:
    if not faults:
        return ()
    n = len(faults)
    what = f"1 location of {path} is" if n == 1 else f"{n} locations of {path} are"
    more = f"; and {n - 3} more" if n > 3 else ""
    remedy = "repair the file, e.g. with QGIS `Fix geometries`"
    return (f"{what} left out: {'; '.join(faults[:3])}{more}. To use all, {remedy}",)


def _in_grid_pixels(parts: Geometries, crs: CRS, grid: RunGrid) -> tuple[Geometries, NDArray[np.int64]]:
    """(geometries in pixel edges of the run grid, x = column, y = row; per geometry its place in `parts`).

    Only those that touch the grid, on whatever turn of the globe it lies, in the order of `parts`.
    """
    import geopandas
    from affine import Affine

    assert grid.crs_wkt is not None
    moved = geopandas.GeoSeries(parts, crs=crs).to_crs(grid.crs_wkt).to_numpy()
    to_pixels = ~Affine(*grid.transform)
    frame = shapely.box(0, 0, grid.width, grid.height)
    found: list[Geometries] = []
    rows: list[NDArray[np.int64]] = []
    for turned in on_all_turns(joined(moved, grid.crs_wkt), grid.crs_wkt):
        pixels = shapely.transform(turned, lambda xy: np.column_stack(to_pixels @ (xy[:, 0], xy[:, 1])))
        here = np.isfinite(shapely.bounds(pixels)).all(axis=1)
        here[here] = shapely.intersects(pixels[here], frame)
        found.append(pixels[here])
        rows.append(np.flatnonzero(here))
    order = np.argsort(np.concatenate(rows), kind="stable")
    return np.concatenate(found)[order], np.concatenate(rows)[order]


def _bounds_lonlat(parts: Geometries, crs: CRS) -> tuple[float, float, float, float]:
    import geopandas

    west, south, east, north = geopandas.GeoSeries(parts, crs=crs).to_crs(LONLAT_CRS).total_bounds.tolist()
    return west, south, east, north


def _label(attributes: Mapping[str, Any]) -> str:
    """The text of the first of LABEL_COLUMNS that the feature has. A whole number has no decimals."""
    names = {str(name).lower(): name for name in reversed(list(attributes))}
    column = next((names[wanted] for wanted in LABEL_COLUMNS if wanted in names), None)
    value = None if column is None else attributes[column]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _json(attributes: Mapping[str, Any]) -> str:
    """The attributes as a JSON object. NaN and infinity become null, dates ISO 8601; bytes are left out."""
    plain = {
        str(name): None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in attributes.items()
        if not isinstance(value, bytes)
    }
    return json.dumps(plain, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
