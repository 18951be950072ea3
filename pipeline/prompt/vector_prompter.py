"""Known locations as a prompter: polygons, boxes or points from a vector file.

1. `_read` loads the file once, and `_in_grid_pixels` moves it to pixel edges of the run grid.
2. Per tile an index finds the locations that touch the read window.
3. `_prompt` clips a polygon to the window: its bounds become the box, `_inner_points` the points. A point
   stays a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.files.vector_file import POINTS, POLYGONS, read_vector_file
from pipeline.prompt.prompter import same_for_all
from pipeline.schema import Prompt, Reason, RunGrid, TileImage, TilePrompts, TileStatus, Window

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

Geometries = NDArray[np.object_]
"""(n,) shapely geometries."""

LABEL_COLUMNS = ("name", "label", "class")
"""Columns that become the prompt's label; the first one present wins."""

MIN_SIDE_PX = 1.0
"""A clipped polygon narrower than this is a sliver of a neighbour's object, or too small to segment."""


class VectorPrompter:
    """A `Prompter` over a vector file, placed on a run grid."""

    def __init__(self, path: str, grid: RunGrid) -> None:
        """Read the file.

        Raises:
            InputError: the file is missing, unreadable or empty, has no CRS, holds other geometries than
                polygons and points, or no location in it lies on the run grid; or the grid has no CRS.
        """
        frame = _read(path)
        self._model_id = f"vector:{Path(path).name}"
        self._geometries, self._labels = _in_grid_pixels(frame, path, grid)
        self._index = shapely.STRtree(self._geometries)

    @property
    def model_id(self) -> str:
        """`vector:` and the file's name."""
        return self._model_id

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
        """Prompts for a window of the run grid, in the order of the file.

        The second value counts the locations that were too small in the window.
        """
        frame = shapely.box(window.col0, window.row0, window.col1, window.row1)
        hits = np.sort(self._index.query(frame, predicate="intersects"))
        prompts = []
        for hit in hits:
            prompt = _prompt(self._geometries[hit], self._labels[hit], window, frame)
            if prompt is not None:
                prompts.append(prompt)
        return tuple(prompts), len(hits) - len(prompts)

    def close(self) -> None:
        """Do nothing: the file was read at the start."""


def _prompt(geometry: BaseGeometry, label: str, window: Window, frame: BaseGeometry) -> Prompt | None:
    """One location in pixels of the window; None when what is visible is too small."""
    if geometry.geom_type == "Point":
        point = (geometry.x - window.col0, geometry.y - window.row0)
        return Prompt(box_xyxy=None, points_xy=(point,), point_labels=(1,), label=label)
    visible = _polygonal(shapely.intersection(geometry, frame))
    if visible is None:
        return None
    visible = shapely.transform(visible, lambda xy: xy - (window.col0, window.row0))
    x0, y0, x1, y1 = shapely.bounds(visible).tolist()
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(window.width)), min(y1, float(window.height))
    if x1 - x0 < MIN_SIDE_PX or y1 - y0 < MIN_SIDE_PX:
        return None
    points = _inner_points(visible)
    return Prompt(box_xyxy=(x0, y0, x1, y1), points_xy=points, point_labels=(1,) * len(points), label=label)


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


def _read(path: str) -> GeoDataFrame:
    """The file as a GeoDataFrame with a CRS and at least one geometry. Raises InputError."""
    frame = read_vector_file(Path(path), what="the prompt file", kinds=POLYGONS | POINTS)
    if frame.crs is None:
        raise InputError(
            "the prompt file needs a CRS", came=f"{path} has none", remedy="write its CRS into the file"
        )
    return frame


def _in_grid_pixels(frame: GeoDataFrame, path: str, grid: RunGrid) -> tuple[Geometries, list[str]]:
    """Valid single-part geometries in pixel edges of the run grid (x = column, y = row), and their labels.

    A multi-part feature becomes one location per part.

    Raises InputError when the grid has no CRS or no geometry lies on it.
    """
    from affine import Affine

    if grid.crs_wkt is None:
        raise InputError(
            "prompts from a file need imagery with a CRS",
            came="imagery without one",
            remedy="georeference the imagery",
        )
    lonlat_bounds = frame.to_crs("OGC:CRS84").total_bounds
    placed = frame.to_crs(grid.crs_wkt)
    to_pixels = ~Affine(*grid.transform)

    def pixels(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(to_pixels @ (xy[:, 0], xy[:, 1]))

    parts, owners = _single_parts(shapely.make_valid(placed.geometry.to_numpy()))
    parts = shapely.transform(parts, pixels)
    column = next(
        (name for wanted in LABEL_COLUMNS for name in frame.columns if str(name).lower() == wanted), None
    )
    texts = (
        [""] * len(frame)
        if column is None
        else ["" if gone else str(v) for v, gone in zip(frame[column], frame[column].isna(), strict=True)]
    )
    usable = shapely.intersects(parts, shapely.box(0, 0, grid.width, grid.height))
    if not usable.any():
        west, south, east, north = lonlat_bounds
        raise InputError(
            "at least one location of the prompt file must lie on the imagery",
            came=(
                f"{path}, whose locations lie within lon {west:.6f} to {east:.6f}, "
                f"lat {south:.6f} to {north:.6f}, elsewhere"
            ),
            remedy="use imagery of that place, or correct the file's CRS",
        )
    return parts[usable], [texts[owner] for owner in owners[usable]]


def _single_parts(geometries: Geometries) -> tuple[Geometries, NDArray[np.int64]]:
    """Polygons and points with finite coordinates, and per part the index of the geometry it came from."""
    parts, owners = shapely.get_parts(geometries, return_index=True)
    # Twice: a repaired polygon may be a multi-polygon in a collection.
    parts, inner = shapely.get_parts(parts, return_index=True)
    usable = np.isin(shapely.get_type_id(parts), (0, 3)) & np.isfinite(shapely.bounds(parts)).all(axis=1)
    return parts[usable], owners[inner][usable]
