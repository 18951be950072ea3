"""The merge of one query over one region in one process: fragments of all tiles in, whole instances out.

1. `fragment_table`    all fragments as columns, ranked by their smallest core pixel   (flat_sources)
2. `match_seams`       the two sides of every seam, joined; audited if asked           (flat_matches)
3. `resolve`           components, ids, representatives, flags                         (flat_components)
4. `InstancePainter`   blocks of component numbers, complete objects first             (instance_painter)
5. `measure_painted`   first pass over all blocks: areas, AOI share, bounding windows  (instance_table)
6. `Merge`             second pass: `paint_block` and `polygons` of the instances to keep

In semantic mode connected components of the union of all masks replace 2 to 4 (semantic_painter).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tiling import TileLattice
from pipeline.stitch.flat.flat_components import Components, resolve
from pipeline.stitch.flat.flat_matches import audit_matches, match_seams
from pipeline.stitch.flat.flat_sources import TileSource, fragment_table
from pipeline.stitch.flat.instance_painter import InstancePainter
from pipeline.stitch.flat.instance_table import AoiMask, Instances, Painter, instance_table, measure_painted
from pipeline.stitch.flat.polygon_stream import stream_polygons
from pipeline.stitch.flat.semantic_painter import SemanticPainter
from pipeline.stitch.fragment_table import FragmentTable
from pipeline.stitch.sources import TileCache
from pipeline.stitch.stitch_options import StitchOptions

Mode = Literal["instances", "semantic"]
Ids = Collection[int] | NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeStats:
    """Counts for the report of a run."""

    n_fragments: int
    n_ghosts: int
    """Fragments without a core pixel: evidence only."""
    n_edges: int
    """Matched pairs of pieces over all seams; 0 in semantic mode."""
    n_components: int
    n_unpainted: int
    """Components left out: nothing of them shows, or fewer than min_area_px pixels."""
    n_complete: int
    n_truncated: int
    n_one_sided: int


class Merge:
    """The merged instances of one query, and the painter that shows them."""

    def __init__(
        self,
        lattice: TileLattice,
        painter: Painter,
        *,
        number: NDArray[np.int64],
        instances: Instances,
        stats: MergeStats,
    ) -> None:
        """`number` is the painter's component number of each row of `instances`."""
        self.lattice = lattice
        self.instances = instances
        self.stats = stats
        self._painter = painter
        self._number = number

    def paint_block(self, block_row: int, block_col: int, keep: Ids | None = None) -> NDArray[np.uint64]:
        """Instance ids (h, w) over `lattice.block_core(block_row, block_col)`, 0 = background.

        Only instances of `keep` are shown; None = all rows of `instances` (an array of ids is fastest).
        Raises ValueError for an id without a row.
        """
        ids = np.zeros(self._top, dtype=np.uint64)
        shown = self._shown(keep)
        ids[self._number[shown]] = self.instances.instance_id[shown]
        return ids[self._painter.block(block_row, block_col)]

    def polygons(self, keep: Ids | None = None) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.object_]]]:
        """Batches of (instance ids (n,) ascending, geometries (n,)), each instance of `keep` exactly once.

        Polygon or MultiPolygon in pixel-edge coordinates (x = column, y = row) of the run grid; area =
        `area_px`.
        """
        shown = self._shown(keep)
        table = np.zeros(self._top, dtype=np.int32)
        table[self._number[shown]] = np.flatnonzero(shown) + 1
        window = np.concatenate([np.zeros((1, 4), dtype=np.int64), self.instances.window])
        area_px = np.concatenate([np.zeros(1, dtype=np.int64), self.instances.area_px])

        def paint(block_row: int, block_col: int) -> NDArray[np.int32]:
            return table[self._painter.block(block_row, block_col)]

        for rows, geometries in stream_polygons(self.lattice, paint, window, area_px):
            yield self.instances.instance_id[rows - 1], geometries

    @property
    def _top(self) -> int:
        """One more than the largest component number that the painter may show."""
        return self.stats.n_components + 1

    def _shown(self, keep: Ids | None) -> NDArray[np.bool_]:
        """(n,) rows to show."""
        have = self.instances.instance_id
        if keep is None:
            return np.ones(have.size, dtype=np.bool_)
        wanted = np.unique(
            keep.astype(np.uint64)
            if isinstance(keep, np.ndarray)
            else np.fromiter(map(int, keep), dtype=np.uint64)
        )
        row = np.searchsorted(have, wanted)
        known = np.append(have, np.uint64(0))[row] == wanted
        if not known.all():
            raise ValueError(
                f"keep must hold ids of the instance table, {int((~known).sum())} are not, "
                f"first {int(wanted[~known][0])}"
            )
        shown = np.zeros(have.size, dtype=np.bool_)
        shown[row] = True
        return shown


def merge_region(
    lattice: TileLattice,
    tiles: TileSource,
    options: StitchOptions,
    *,
    mode: Mode,
    aoi_mask: AoiMask | None = None,
) -> Merge:
    """Merge the tiles of ONE query. `aoi_mask` is asked once per block for the pixels that count into
    `aoi_px`.

    In memory at a time: the fragment table, (K + 2)^2 tiles of labels, one block of component numbers, and
    pieces of objects that cross block borders. Neither the order of the records nor the size of blocks
    changes the result. Raises RecordError when records contradict each other or the lattice.
    """
    cache = TileCache(tiles, lattice)
    table = fragment_table(tiles.records(), lattice)
    painter: Painter
    if mode == "semantic":
        regions = SemanticPainter(lattice, cache, table, options)
        painter = regions
        components = regions.components
        n_edges = 0
    else:
        matches = match_seams(lattice, cache, table, options)
        matches = audit_matches(lattice, cache, table, matches) if options.audit else matches
        index, components = resolve(lattice, table, matches, options)
        painter = InstancePainter(
            lattice,
            cache,
            table,
            index=index,
            components=components,
            keep_share=options.keep_share,
        )
        n_edges = matches.edges.a.size
    painted = measure_painted(lattice, painter, components.n, aoi_mask)
    number, instances = instance_table(table, components, painted, options)
    return Merge(
        lattice,
        painter,
        number=number,
        instances=instances,
        stats=_stats(table, components, instances, n_edges),
    )


def _stats(table: FragmentTable, components: Components, instances: Instances, n_edges: int) -> MergeStats:
    return MergeStats(
        n_fragments=len(table),
        n_ghosts=int((table.anchor < 0).sum()),
        n_edges=n_edges,
        n_components=components.n,
        n_unpainted=components.n - len(instances),
        n_complete=int(instances.complete.sum()),
        n_truncated=int(instances.truncated.sum()),
        n_one_sided=int(instances.one_sided.sum()),
    )
