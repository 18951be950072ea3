"""The pictures of the report: overview with outlines, coverage map, chips. Arrays in, WebP bytes out.

Pictures are drawn at twice their size, in scaled pixels of the run grid, and then reduced, which smooths the
lines. A dark casing makes outlines visible on any ground. WebP takes a tenth of the bytes of PNG (0.9 against
9.2 MB for 30 chips and two maps), and every browser shows it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.schema.tiling import TileLattice, Window

Rgb = tuple[int, int, int]

QUERY_COLOURS: tuple[Rgb, ...] = (
    (0, 205, 240),
    (255, 60, 160),
    (250, 205, 30),
    (120, 225, 70),
    (255, 130, 40),
    (165, 120, 255),
)
"""Colours that the ground rarely has, cyan and magenta first; query i has colour i modulo their number."""

STATUS_COLOURS: Mapping[str, Rgb] = {
    "found": (38, 166, 91),
    "empty": (150, 170, 196),
    "failed": (214, 48, 49),
}
"""Colours of the coverage map."""

_SCALE = 2
_SMALLEST_CELL_PX = 4
_CASING: Rgb = (20, 20, 20)
_PAPER: Rgb = (236, 238, 242)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A polygon to draw: shapely geometry in pixels of the run grid, and its colour."""

    geometry: shapely.Geometry
    colour: Rgb


def query_colour(query_index: int) -> Rgb:
    """The colour of a query, everywhere in the report."""
    return QUERY_COLOURS[query_index % len(QUERY_COLOURS)]


def draw_shapes(
    rgb: NDArray[np.uint8],
    window: Window,
    shapes: Sequence[Shape],
    *,
    box_xyxy: Sequence[float] | None = None,
) -> bytes:
    """Draw `rgb` (h, w, 3), which shows `window` of the run grid at any scale, with filled outlines on top.

    `box_xyxy` adds a thin white rectangle (the prompt), in pixels of the run grid.
    """
    image = Image.fromarray(np.ascontiguousarray(rgb)).convert("RGB")
    size = (image.width * _SCALE, image.height * _SCALE)
    fill = Image.new("RGBA", size, (0, 0, 0, 0))
    lines = Image.new("RGBA", size, (0, 0, 0, 0))
    pens = ImageDraw.Draw(fill), ImageDraw.Draw(lines)
    scale = np.array([size[0] / max(window.width, 1), size[1] / max(window.height, 1)])
    origin = np.array([window.col0, window.row0])
    for shape in shapes:
        for part in shapely.get_parts(shape.geometry):
            rings = [
                ((np.asarray(ring.coords) - origin) * scale).ravel().tolist()
                for ring in (part.exterior, *part.interiors)
            ]
            pens[0].polygon(rings[0], fill=(*shape.colour, 28))
            for hole in rings[1:]:
                pens[0].polygon(hole, fill=(0, 0, 0, 0))
            for ring in rings:
                pens[1].line(ring, fill=(*_CASING, 120), width=4 * _SCALE)
                pens[1].line(ring, fill=(*shape.colour, 255), width=2 * _SCALE)
    if box_xyxy is not None:
        corners = ((np.asarray(box_xyxy, dtype=np.float64).reshape(2, 2) - origin) * scale).ravel().tolist()
        pens[1].rectangle(corners, outline=(255, 255, 255, 200), width=_SCALE)
    overlay = Image.alpha_composite(fill, lines).resize(image.size, Image.Resampling.BOX)
    image.paste(overlay, mask=overlay.getchannel("A"))
    return _webp(image)


def coverage_map(
    lattice: TileLattice, statuses: NDArray[np.uint8], *, rgb: NDArray[np.uint8] | None, width_px: int
) -> bytes:
    """Draw the lattice: every examined tile tinted by status, over a pale grey version of the overview.

    `statuses` is (n_tile_rows, n_tile_cols): 0 = outside the AOI, else 1 + position in STATUS_COLOURS. Where
    tiles would be smaller than four pixels, several share a cell, which shows failed before found before
    empty. The picture is at most `width_px` wide and twice as high, whatever the grid.
    """
    size = _map_size(lattice.grid.window, width_px)
    most = (max(size[0] // _SMALLEST_CELL_PX, 1), max(size[1] // _SMALLEST_CELL_PX, 1))
    step = max(-(-lattice.n_tile_cols // most[0]), -(-lattice.n_tile_rows // most[1]))
    cell_px = lattice.core_px * step
    cols = _cell_of_each_pixel(size[0], lattice.grid.width, cell_px)
    rows = _cell_of_each_pixel(size[1], lattice.grid.height, cell_px)
    pale = _tinted(_coarser(statuses, step)[np.ix_(rows, cols)], rgb)
    scale = size[0] / lattice.grid.width * lattice.core_px
    if step == 1 and scale >= 8:
        _draw_tile_lines(pale, lattice, scale)
    return _webp(pale)


def status_map(statuses: NDArray[np.uint8], *, rgb: NDArray[np.uint8] | None) -> bytes:
    """Draw statuses that are known pixel by pixel, (h, w) as in `coverage_map`, over a pale overview."""
    return _webp(_tinted(statuses, rgb))


def _tinted(statuses: NDArray[np.uint8], rgb: NDArray[np.uint8] | None) -> Image.Image:
    """A pale grey version of `rgb` in the size of `statuses` (h, w), tinted by them."""
    palette = np.array(
        [(0, 0, 0, 0), *((*colour, 150) for colour in STATUS_COLOURS.values())], dtype=np.uint8
    )
    cells = Image.fromarray(palette[statuses])
    ground = (
        Image.new("RGB", cells.size, _PAPER)
        if rgb is None
        else Image.fromarray(np.ascontiguousarray(rgb)).convert("L").convert("RGB").resize(cells.size)
    )
    pale = Image.blend(ground, Image.new("RGB", cells.size, (255, 255, 255)), 0.35)
    pale.paste(cells, mask=cells.getchannel("A"))
    return pale


def _map_size(grid: Window, width_px: int) -> tuple[int, int]:
    """(width, height) of a picture in the grid's proportions that fits `width_px` x 2 `width_px`.

    A strip is drawn thicker than it is, so that its tiles can be seen.
    """
    scale = min(width_px / grid.width, 2 * width_px / grid.height)
    return max(round(grid.width * scale), _SMALLEST_CELL_PX), max(
        round(grid.height * scale), _SMALLEST_CELL_PX
    )


def _cell_of_each_pixel(picture_px: int, grid_px: int, cell_px: int) -> NDArray[np.int64]:
    """Number of the cell that each pixel of a side of the picture shows, (picture_px,)."""
    centres = (np.arange(picture_px) + 0.5) * (grid_px / picture_px)
    return np.asarray(centres // cell_px, dtype=np.int64)


def fit(rgb: NDArray[np.uint8], *, side_px: int) -> NDArray[np.uint8]:
    """Enlarge or reduce `rgb` (h, w, 3) so that its longer side is `side_px`."""
    factor = side_px / max(rgb.shape[:2])
    size = (max(round(rgb.shape[1] * factor), 1), max(round(rgb.shape[0] * factor), 1))
    method = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize(size, method), dtype=np.uint8)


def blank(window: Window, *, side_px: int) -> NDArray[np.uint8]:
    """Make plain paper in the proportions of a window, for runs whose imagery is not at hand."""
    factor = side_px / max(window.shape)
    shape = (max(round(window.height * factor), 1), max(round(window.width * factor), 1), 3)
    return np.full(shape, _PAPER, dtype=np.uint8)


def chip_window(
    bounds: Sequence[float], grid: Window, *, margin: float = 0.35, smallest_px: int = 64
) -> Window:
    """Put a square around pixel bounds (x0, y0, x1, y1) with some ground on all sides, moved and clipped to
    the grid."""
    x0, y0, x1, y1 = bounds
    side = int(np.ceil(max((x1 - x0) * (1 + 2 * margin), (y1 - y0) * (1 + 2 * margin), smallest_px)))
    row0 = int(np.clip(round((y0 + y1 - side) / 2), grid.row0, max(grid.row1 - side, grid.row0)))
    col0 = int(np.clip(round((x0 + x1 - side) / 2), grid.col0, max(grid.col1 - side, grid.col0)))
    return Window(row0=row0, col0=col0, row1=min(row0 + side, grid.row1), col1=min(col0 + side, grid.col1))


def _coarser(statuses: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Give step x step tiles one value: the one that matters most to whoever looks for trouble."""
    rank = np.array([0, 2, 1, 3], dtype=np.uint8)  # of outside, found, empty, failed; its own inverse
    rows, cols = statuses.shape
    padded = np.pad(rank[statuses], ((0, -rows % step), (0, -cols % step)))
    return np.asarray(rank[padded.reshape(padded.shape[0] // step, step, -1, step).max(axis=(1, 3))])


def _draw_tile_lines(image: Image.Image, lattice: TileLattice, scale: float) -> None:
    pen = ImageDraw.Draw(image, "RGBA")
    for col in range(1, lattice.n_tile_cols):
        pen.line([(col * scale, 0), (col * scale, image.height)], fill=(255, 255, 255, 90))
    for row in range(1, lattice.n_tile_rows):
        pen.line([(0, row * scale), (image.width, row * scale)], fill=(255, 255, 255, 90))


def _webp(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format="WEBP", quality=86, method=4)
    return sink.getvalue()
