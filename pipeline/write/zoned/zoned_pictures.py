"""Pictures in the report of several zones, all on one grid that lies under them.

1. Map, overview and chips are those of an ordinary report (`report_sections`): outlines are moved from
   longitude and latitude to the picture's grid, where the imagery of all zones is at hand.
2. `tile_map` draws the tiles of all zones. Where zones overlap, a failed tile covers a found one, and that an
   empty one.
3. `nothing_found` takes tiles in turns from the zones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from pipeline.geo.globe import LONLAT_CRS
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.georeference import to_pixels
from pipeline.write.plan_table import core_polygons
from pipeline.write.records.record_keys import RecordKeys
from pipeline.write.report.map.map_ground import MAX_CELLS
from pipeline.write.report.map.map_section import LATER_SECTIONS, map_section
from pipeline.write.report.report_data import (
    N_NOTHING,
    EmptyTile,
    moved,
    read_empty_tiles,
    state_codes,
    statuses_of,
)
from pipeline.write.report.report_html import Html
from pipeline.write.report.report_images import (
    Rgb,
    Shape,
    blank,
    chip_window,
    draw_shapes,
    status_map,
)
from pipeline.write.report.report_objects import read_objects
from pipeline.write.report.report_rows import batches
from pipeline.write.report.report_sections import (
    CHIP_PX,
    MAP_PX,
    Pixels,
    ReadRgb,
    distributions_section,
    nothing_section,
    objects_section,
    overview_section,
    tile_card,
)
from pipeline.write.run_dir import RunDir

_CORE: Rgb = (255, 255, 255)
"""Outline of a tile's core."""


@dataclass(frozen=True, kw_only=True)
class ZoneTiles:
    """A zone as its tiles are looked up."""

    run_dir: RunDir
    lattice: TileLattice
    keys: RecordKeys
    """Of its block records."""


@dataclass(frozen=True, kw_only=True)
class ZonedPictures:
    """What the pictures are made of, beside the files of the run."""

    grid: RunGrid
    """Lies under all zones."""
    zones: Mapping[str, ZoneTiles]
    overview_rgb: NDArray[np.uint8] | None = None
    """(h, w, 3) of the whole grid, decimated by any factor. None: plain paper."""
    read_rgb: ReadRgb | None = None


def picture_sections(
    root: RunDir,
    pictures: ZonedPictures,
    *,
    queries: Sequence[str],
    seed: int,
    owned: Sequence[shapely.Geometry] = (),
) -> list[Html]:
    """Make map, overview, objects, tiles in which nothing was found, and distributions. `owned`: the ground
    of every zone, in longitude and latitude.
    """
    grid = pictures.grid
    pixels = Pixels(grid.window, pictures.overview_rgb, pictures.read_rgb)
    objects = read_objects(root, n_queries=len(queries), seed=seed)
    shape = blank(grid.window, side_px=MAX_CELLS).shape[:2]
    move = Transformer.from_crs(LONLAT_CRS, grid.crs_wkt, always_xy=True)
    drawn = map_section(
        root,
        objects,
        pixels,
        grid,
        queries=queries,
        states=read_tile_states(root, grid, shape),
        lattice=None,
        borders=to_pixels(moved(np.array(owned, dtype=object), move), grid),
    )
    return [
        drawn,
        LATER_SECTIONS,
        overview_section(root, objects, grid, pixels, tiles=tile_map(root, grid, pixels)),
        objects_section(root, objects, grid, pixels),
        nothing_found(pictures, pixels, seed=seed),
        distributions_section(objects),
    ]


def tile_map(root: RunDir, grid: RunGrid, pixels: Pixels) -> bytes:
    """Draw what became of the tiles of all zones (WebP)."""
    paper = pixels.whole(MAP_PX)
    shown = None if pixels.overview is None else paper
    return status_map(read_tile_statuses(root, grid, paper.shape[:2]), rgb=shown)


def read_tile_statuses(root: RunDir, grid: RunGrid, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Read statuses of the tiles into a picture of the grid, `shape` (h, w): 0 = nobody looked there, else
    1 + place in STATUS_COLOURS. A tile is at least a pixel.
    """
    return statuses_of(read_tile_states(root, grid, shape))


def read_tile_states(root: RunDir, grid: RunGrid, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Read the codes of the tiles (`report_data.state_codes`) into a picture of the grid, `shape` (h, w). A
    tile is at least a pixel; where several lie, the highest code counts.
    """
    height, width = shape
    scale = Affine.scale(grid.width / width, grid.height / height)
    worst = np.zeros((height, width), dtype=np.uint8)
    move = Transformer.from_crs(LONLAT_CRS, grid.crs_wkt, always_xy=True)
    columns = ["status", "reason", "valid_share", "geometry"]
    for batch in batches(root.coverage, columns):
        codes = state_codes(batch, root.coverage)
        cores = np.asarray(shapely.from_wkb(batch["geometry"].to_pylist()), dtype=object)
        for code in np.unique(codes[codes > 0]).tolist():
            chosen = to_pixels(moved(cores[codes == code], move), grid)
            np.maximum(
                worst,
                rasterio.features.rasterize(
                    ((outline, code) for outline in chosen),
                    out_shape=(height, width),
                    transform=scale,
                    all_touched=True,
                    dtype="uint8",
                ),
                out=worst,
            )
    return worst


def nothing_found(pictures: ZonedPictures, pixels: Pixels, *, seed: int) -> Html:
    """Show tiles that the prompter found empty, one of each zone in turn."""
    found = [
        [(name, tile) for tile in read_empty_tiles(zone.run_dir, zone.lattice, keys=zone.keys, seed=seed)]
        for name, zone in pictures.zones.items()
    ]
    turns = [entry for entry in chain.from_iterable(zip_longest(*found)) if entry is not None]
    return nothing_section([_card(name, tile, pictures, pixels) for name, tile in turns[:N_NOTHING]])


def _card(name: str, tile: EmptyTile, pictures: ZonedPictures, pixels: Pixels) -> Html:
    lattice = pictures.zones[name].lattice
    core = core_polygons(lattice, np.array([tile.tile_row]), np.array([tile.tile_col]))
    move = Transformer.from_crs(lattice.grid.crs_wkt, pictures.grid.crs_wkt, always_xy=True)
    (outline,) = to_pixels(moved(core, move), pictures.grid)
    window = chip_window(outline.bounds, pictures.grid.window, margin=0.05)
    drawn = draw_shapes(pixels.cut(window, CHIP_PX), window, [Shape(geometry=outline, colour=_CORE)])
    return tile_card(f"{name}/{tile.tile_id}", tile.rationale, drawn)
