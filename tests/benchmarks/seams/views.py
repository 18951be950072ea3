"""What each tile sees of the seam world: the same masks for every method.

1. `tile_masks` cuts the world into the tiles of a lattice with the project's own oracle
   (`pipeline.world.oracle`): exact crops, or its mild or strong noise, drawn anew for every tile, so that the
   two sides of a seam disagree.
2. Every mask gets a confidence that grows with the share of its object that it shows, plus a little noise.
   Detectors are rarely that helpful; it is the best case for the rules that keep the most confident of
   several masks.
3. Masks are traced along pixel edges by GDAL (4-connected), so that no method loses half a pixel on the way
   in.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import rasterio.features
import shapely
from benchmarks.seams.adapters.exchange import TileMasks
from benchmarks.seams.world import SeamWorld
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.schema.tiling import RunGrid, TileLattice, TileSpec
from pipeline.world.oracle import NoiseName, OracleTruth


def lattice_over(world: SeamWorld, tile_px: int, halo_px: int) -> TileLattice:
    """Tiles of `tile_px` with `halo_px` on each side over the whole world."""
    height, width = world.labels.shape
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0), width=width, height=height)
    return TileLattice(grid=grid, tile_px=tile_px, halo_px=halo_px, block_tiles=4)


def crossing(world: SeamWorld, lattice: TileLattice) -> NDArray[np.bool_]:
    """(n,) True for objects with pixels in more than one core; an object is connected, so its bounding box
    tells.
    """
    boxes = ndimage.find_objects(world.labels)
    side = lattice.core_px
    return np.array(
        [any(span.start // side != (span.stop - 1) // side for span in box) for box in boxes], dtype=np.bool_
    )


def write_truth(path: Path, world: SeamWorld) -> None:
    """The label raster that the oracle reads."""
    height, width = world.labels.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "int32"}
    tiling = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "zstd"}
    with rasterio.open(
        path, "w", **profile, **tiling, transform=rasterio.Affine(1, 0, 500_000, 0, -1, 5_500_000)
    ) as dataset:
        dataset.write(world.labels, 1)


def tile_masks(
    world: SeamWorld, labels_tif: Path, lattice: TileLattice, noise: NoiseName | None
) -> TileMasks:
    """Masks of all tiles. `labels_tif` is what `write_truth` wrote."""
    oracle = OracleTruth(str(labels_tif), noise, world.seed)
    rng = np.random.default_rng((world.seed, 77))
    size_px = np.bincount(world.labels.ravel(), minlength=world.n + 1)
    tiles = [lattice.tile(r, c) for r in range(lattice.n_tile_rows) for c in range(lattice.n_tile_cols)]
    images = []
    rows = []
    boxes = []
    wkb = []
    for index, tile in enumerate(tiles):
        labels = oracle.tile(tile).labels.astype(np.uint16)
        images.append(labels)
        shown = _shown_share(labels, world.labels[tile.read.slices_in(lattice.grid.window)], size_px)
        shapes = _outlines(labels, tile)
        for local, shape in enumerate(shapes, start=1):
            rows.append((index, local, 0.5 + 0.45 * shown[local - 1] + 0.04 * rng.random()))
            boxes.append([int(v) for v in shape.bounds])
            wkb.append(shapely.to_wkb(shape))
    tile, local, score = zip(*rows, strict=True)
    return TileMasks(
        shape=world.labels.shape,
        tile_px=lattice.tile_px,
        halo_px=lattice.halo_px,
        tile_rc=np.array([(t.tile_row, t.tile_col) for t in tiles]),
        read=np.array([(t.read.row0, t.read.col0, t.read.row1, t.read.col1) for t in tiles]),
        core=np.array([(t.core.row0, t.core.col0, t.core.row1, t.core.col1) for t in tiles]),
        labels=tuple(images),
        tile=np.array(tile),
        local=np.array(local),
        score=np.array(score),
        box=np.array(boxes),
        wkb=tuple(wkb),
    )


def _shown_share(
    labels: NDArray[np.uint16], truth: NDArray[np.int32], size_px: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(k,) per mask, 0..1: pixels in common with the object that it shows most of, over its size."""
    n = int(labels.max(initial=0))
    pairs, count = np.unique(
        labels[labels > 0].astype(np.int64) * size_px.size + truth[labels > 0], return_counts=True
    )
    local = pairs // size_px.size
    thing = pairs % size_px.size
    share = np.where(thing > 0, count / np.maximum(size_px[thing], 1), 0.0)
    best = np.zeros(n + 1)
    np.maximum.at(best, local, share)
    return best[1:]


def _outlines(labels: NDArray[np.uint16], tile: TileSpec) -> list[shapely.Geometry]:
    """Polygon or MultiPolygon of each local id 1..k, in pixel edges of the grid."""
    parts: dict[int, list[shapely.Geometry]] = {}
    for outline, value in rasterio.features.shapes(labels, mask=labels > 0, connectivity=4):
        parts.setdefault(int(value), []).append(shapely.geometry.shape(outline))
    move = np.array([tile.read.col0, tile.read.row0])
    ordered = [parts[local] for local in range(1, int(labels.max(initial=0)) + 1)]
    return [
        shapely.transform(p[0] if len(p) == 1 else shapely.MultiPolygon(p), lambda xy: xy + move)
        for p in ordered
    ]
