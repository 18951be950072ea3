"""Pictures of the units of a sample: imagery as JPEG, and outlines as SVG paths that lie on top or do not.

1. `chip_of` chooses the window: an object with ground around it, a cell with a margin, a point in the middle.
2. `OutlineFinder` reads the published outlines that such windows show, in one pass over the instances.
3. The imagery is read as the run read it. Where it cannot be read, the chip has no picture, and says so.

A point is shown without outlines: who knows what the map says there agrees with it too often (Olofsson et
al., Remote Sensing of Environment 148, 2014).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray
from PIL import Image

from pipeline.assess.sample_design import SampleUnit
from pipeline.assess.sampling_frame import UNJUDGED
from pipeline.errors import SourceError
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.georeference import to_crs_coordinates, to_pixels
from pipeline.write.report.report_images import chip_window, fit
from pipeline.write.report.report_rows import instance_files, rows_where
from pipeline.write.run_dir import RunDir

CHIP_PX = 360
"""Longer side of a chip."""

POINT_PX = 96
"""Side of the window around a point, in pixels of the run grid."""

CELL_MARGIN_PX = 24
"""Ground around a cell, in pixels of the run grid."""

_JPEG_QUALITY = 82
_SIMPLER_PX = 0.3
"""How far an outline on a chip may lie from the published one, in pixels of the chip."""

ReadWindow = Callable[[Window], NDArray[np.uint8]]
"""Window of the run grid -> (h, w, 3). Raises SourceError."""


@dataclass(frozen=True, kw_only=True)
class ReviewChip:
    """What the page shows of a unit. Paths are in pixels of the chip."""

    width: int
    height: int
    jpeg: str
    """Base64. Empty: the imagery could not be read."""
    later: str = ""
    """The same window at the second date, of a unit that asks about two."""
    own: str = ""
    """The object that is asked about, as an SVG path."""
    others: str = ""
    """Other published objects of the query."""
    unjudged: str = ""
    """Ground of the cell that the run did not judge: what was missed there does not count."""
    frame: tuple[float, float, float, float] | None = None
    """The cell: x, y, width, height."""
    cross: tuple[float, float] | None = None
    """The point: x, y."""
    problem: str = ""
    """Why there is no picture."""


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A published object, in pixel edges of the run grid."""

    instance_id: int
    shape: shapely.Geometry


class OutlineFinder:
    """The published outlines of one query that lie in any of some windows."""

    def __init__(self, run_dir: RunDir, grid: RunGrid, query_index: int, windows: Sequence[Window]) -> None:
        """Read them: one pass over the narrow columns, geometries only where a window is near."""
        boxes = to_crs_boxes(windows, grid)
        tree = shapely.STRtree(boxes)
        names: list[int] = []
        shapes: list[shapely.Geometry] = []

        def near(rows: pa.Table) -> NDArray[np.bool_]:
            box = rows["bbox"].combine_chunks()
            edges = [box.field(i).to_numpy(zero_copy_only=False) for i in range(4)]
            mine = rows["query_index"].to_numpy() == query_index
            hit = np.zeros(rows.num_rows, dtype=np.bool_)
            hit[np.unique(tree.query(shapely.box(*edges), predicate="intersects")[0])] = True
            return np.asarray(mine & hit)

        for path in instance_files(run_dir) if len(boxes) else ():
            for batch in rows_where(
                path, near, by=("query_index", "bbox"), columns=("instance_id", "geometry")
            ):
                names += batch["instance_id"].to_pylist()
                shapes += list(shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False)))
        self._names = np.asarray(names, dtype=np.uint64)
        self._shapes = to_pixels(shapes, grid) if shapes else np.zeros(0, dtype=object)
        self._tree = shapely.STRtree(self._shapes)

    def within(self, window: Window) -> list[Outline]:
        """Outlines that meet a window, parts of one object as one."""
        found: dict[int, list[shapely.Geometry]] = {}
        box = shapely.box(window.col0, window.row0, window.col1, window.row1)
        for place in np.sort(self._tree.query(box, predicate="intersects")).tolist():
            found.setdefault(int(self._names[place]), []).append(self._shapes[place])
        return [
            Outline(instance_id=name, shape=parts[0] if len(parts) == 1 else shapely.union_all(parts))
            for name, parts in found.items()
        ]


def to_crs_boxes(windows: Sequence[Window], grid: RunGrid) -> NDArray[np.object_]:
    """Windows as boxes in the CRS of a run grid; of a rotated grid the boxes around them."""
    if not windows:
        return np.zeros(0, dtype=object)
    shapes = [shapely.box(w.col0, w.row0, w.col1, w.row1) for w in windows]
    bounds = shapely.bounds(to_crs_coordinates(shapes, grid))
    return np.asarray(shapely.box(*bounds.T), dtype=object)


def window_of(unit: SampleUnit, grid: RunGrid) -> Window:
    """The window of the run grid that the chip of a unit shows."""
    whole = grid.window
    window = unit.window
    if unit.kind == "object":
        return chip_window(
            (window.col0, window.row0, window.col1, window.row1), whole, margin=0.6, smallest_px=96
        )
    margin = CELL_MARGIN_PX if unit.kind == "cell" else POINT_PX // 2
    return Window(
        row0=max(window.row0 - margin, 0),
        col0=max(window.col0 - margin, 0),
        row1=min(window.row1 + margin, whole.row1),
        col1=min(window.col1 + margin, whole.col1),
    )


def unjudged_ground(classes: NDArray[np.uint8], window: Window) -> list[Outline]:
    """Outline the pixels of a window that were not judged. `classes`: of `GroundReader`, (h, w)."""
    left = (classes == UNJUDGED).astype(np.uint8)
    if not left.any():
        return []
    moved = Affine.translation(window.col0, window.row0)
    found = rasterio.features.shapes(left, mask=left.astype(np.bool_), transform=moved)
    return [Outline(instance_id=-1, shape=shapely.geometry.shape(shape)) for shape, _ in found]


def chip_of(
    unit: SampleUnit,
    window: Window,
    outlines: Sequence[Outline],
    read: ReadWindow,
    *,
    unjudged: Sequence[Outline] = (),
) -> ReviewChip:
    """Make the chip of a unit, which shows `window`. `unjudged`: of its cell."""
    scale = CHIP_PX / max(window.shape)
    jpeg = ""
    problem = ""
    try:
        jpeg = base64.b64encode(_jpeg(fit(read(window), side_px=CHIP_PX))).decode()
    except SourceError as error:
        problem = str(error)
    is_point = unit.kind in ("point", "change")
    mine = [each for each in outlines if each.instance_id == unit.instance_id]
    rest = [each for each in outlines if each.instance_id != unit.instance_id]
    x0, y0, x1, y1 = shapely.bounds(unit.shape_px).tolist()
    left = (x0 - window.col0) * scale
    top = (y0 - window.row0) * scale
    return ReviewChip(
        width=round(window.width * scale),
        height=round(window.height * scale),
        jpeg=jpeg,
        own=_path(mine, window, scale),
        others="" if is_point else _path(rest, window, scale),
        unjudged=_path(unjudged, window, scale),
        frame=(left, top, (x1 - x0) * scale, (y1 - y0) * scale) if unit.kind == "cell" else None,
        cross=(left, top) if is_point else None,
        problem=problem,
    )


def _jpeg(rgb: NDArray[np.uint8]) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(sink, format="JPEG", quality=_JPEG_QUALITY)
    return sink.getvalue()


def _path(outlines: Sequence[Outline], window: Window, scale: float) -> str:
    """Outlines as one SVG path, to a tenth of a pixel of the chip."""
    origin = np.array([window.col0, window.row0])
    view = shapely.box(window.col0 - 9, window.row0 - 9, window.col1 + 9, window.row1 + 9)
    words = []
    for each in outlines:
        seen = shapely.simplify(shapely.intersection(each.shape, view), _SIMPLER_PX / scale)
        for part in shapely.get_parts(seen):
            if part.geom_type != "Polygon" or part.is_empty:
                continue
            for ring in (part.exterior, *part.interiors):
                xy = np.round((np.asarray(ring.coords)[:-1] - origin) * scale, 1)
                words.append("M" + "L".join(f"{x:g},{y:g}" for x, y in xy.tolist()) + "Z")
    return "".join(words)
