"""Finished objects -> rows on their way to instances/*.parquet, and the counts that the run keeps of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.run.merge.merge_job import MergeJob
from pipeline.schema.tiling import TileLattice
from pipeline.stitch.supertiles import GHOST
from pipeline.write.instance_rows import MergedColumns, PromptBook, instance_rows
from pipeline.write.records.record_source import RecordSource


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Objects that were found and are not published, each by the first of these reasons."""

    outside_aoi: int = 0
    """No pixel of the area of interest."""
    below_min_area_px: int = 0
    below_min_area_m2: int = 0
    mostly_covered: int = 0
    """Seen by a neighbour alone, and other objects leave too little of it (`rescue_share`)."""

    @classmethod
    def counted(
        cls,
        *,
        outside: NDArray[np.bool_],
        few_px: NDArray[np.bool_],
        covered: NDArray[np.bool_],
        few_m2: int,
    ) -> LeftOut:
        """Count the objects that fail each rule, from masks (n,); `few_m2`: those that fail by it alone."""
        return cls(
            outside_aoi=int(outside.sum()),
            below_min_area_px=int((few_px & ~outside).sum()),
            below_min_area_m2=few_m2,
            mostly_covered=int((covered & ~few_px & ~outside).sum()),
        )

    def __add__(self, other: LeftOut) -> LeftOut:
        return LeftOut(
            outside_aoi=self.outside_aoi + other.outside_aoi,
            below_min_area_px=self.below_min_area_px + other.below_min_area_px,
            below_min_area_m2=self.below_min_area_m2 + other.below_min_area_m2,
            mostly_covered=self.mostly_covered + other.mostly_covered,
        )


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """What some rows add up to; empty when there are none."""

    n_rows: int = 0
    n_objects: int = 0
    """Distinct ids; a part other than the first does not count."""
    area_px: int = 0
    """Pixels of all rows."""
    n_truncated: int = 0
    n_one_sided: int = 0
    n_rescued: int = 0
    """Objects that no owner of their pixels saw."""
    at_seam: int = 0
    """Objects whose bounding window is centred in a seam zone."""
    n_unknown_m2: int = 0
    """Objects whose ground area is unknown."""
    left_out: LeftOut = field(default_factory=lambda: LeftOut())
    bounds: tuple[float, float, float, float] | None = None
    """xmin, ymin, xmax, ymax of the centres of the bounding boxes, in CRS coordinates."""


@dataclass(frozen=True, kw_only=True)
class SeamDensity:
    """How many core pixels judged tiles have, and how many of them a neighbouring tile saw too."""

    seam_px: int = 0
    core_px: int = 0


def finished_rows(job: MergeJob, merged: MergedColumns, query: int) -> pa.Table | None:
    """Make the rows of finished objects of one query. None: there are none."""
    if not len(merged):
        return None
    book = PromptBook(job.lattice, query, job.record, job.keys)
    return instance_rows(
        merged, book, query_index=query, lattice=job.lattice, scenes=job.scenes, meta=job.meta
    )


def row_counts(job: MergeJob, merged: MergedColumns, rows: pa.Table | None) -> RowCounts:
    """Count finished objects, of which `rows` were made."""
    if rows is None:
        return RowCounts()
    head = merged.part_no == 0
    return RowCounts(
        n_rows=len(merged),
        n_objects=int(head.sum()),
        area_px=int(merged.area_px.sum()),
        n_truncated=int((merged.truncated & head).sum()),
        n_one_sided=int((merged.one_sided & head).sum()),
        n_rescued=int(((merged.instance_id > GHOST) & head).sum()),
        at_seam=int((in_seam_zone(job.lattice, shapely.bounds(merged.polygons).reshape(-1, 4)) & head).sum()),
        n_unknown_m2=int((np.isnan(merged.area_m2) & head).sum()),
        bounds=centre_bounds(rows),
    )


def centre_bounds(rows: pa.Table) -> tuple[float, float, float, float]:
    """xmin, ymin, xmax, ymax over the centres of the bbox column: the extent of the Hilbert curve along which
    files are sorted.
    """
    box = rows["bbox"].combine_chunks()
    edge = {name: box.field(name).to_numpy(zero_copy_only=False) for name in ("xmin", "ymin", "xmax", "ymax")}
    x = (edge["xmin"] + edge["xmax"]) / 2.0
    y = (edge["ymin"] + edge["ymax"]) / 2.0
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def in_seam_zone(lattice: TileLattice, bounds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say (n,) whether the centre of each bounding box (x0, y0, x1, y1 in pixel edges) lies where another
    tile sees too.
    """
    side = lattice.core_px
    halo = lattice.halo_px
    zone = np.zeros(len(bounds), dtype=np.bool_)
    for low, high, n_tiles, length in (
        (0, 2, lattice.n_tile_cols, lattice.grid.width),
        (1, 3, lattice.n_tile_rows, lattice.grid.height),
    ):
        centre = ((bounds[:, low] + bounds[:, high]) // 2).astype(np.int64)
        tile = np.minimum(centre // side, n_tiles - 1)
        before = centre - tile * side
        after = np.minimum((tile + 1) * side, length) - centre - 1
        zone |= ((before < halo) & (tile > 0)) | ((after < halo) & (tile < n_tiles - 1))
    return zone


def seam_zone(lattice: TileLattice, source: RecordSource, block: tuple[int, int]) -> SeamDensity:
    """Pixels of one block's judged tiles, counted from the lattice."""
    seam = core = 0
    for tile in lattice.tiles_of_block(*block):
        if source.paintable(tile.tile_row, tile.tile_col):
            rows = _inner(tile.core.height, tile.tile_row, lattice.n_tile_rows, lattice.halo_px)
            cols = _inner(tile.core.width, tile.tile_col, lattice.n_tile_cols, lattice.halo_px)
            core += tile.core.area_px
            seam += tile.core.area_px - rows * cols
    return SeamDensity(seam_px=seam, core_px=core)


def _inner(length: int, index: int, n_tiles: int, halo: int) -> int:
    return max(length - halo * ((index > 0) + (index < n_tiles - 1)), 0)
