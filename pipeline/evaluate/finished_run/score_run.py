"""Score every query of a finished run by the exact truth of its world.

`_WorldTiles` shows the labels of a tile to `score_tiles`. A failed tile counts as a tile without an answer.
The other kind of truth are a user's own polygons (`score_polygons`).
"""

from __future__ import annotations

import numpy as np
import rasterio
from numpy.typing import NDArray

from pipeline.evaluate.finished_run.run_ledger import (
    LedgerEntry,
    RunPixels,
    aoi_in_pixels,
    require_published,
)
from pipeline.evaluate.finished_run.score_tiles import QueryScore, TrueTile, score_tiles
from pipeline.evaluate.finished_run.world_truth import Truth, read_labels
from pipeline.files.store.store_path import Place
from pipeline.schema.tiling import TileSpec
from pipeline.world.oracle import grid_offset
from pipeline.write.run_json import RunInfo


def score_run(run_dir: Place, truth: Truth, info: RunInfo) -> list[QueryScore]:
    """Score every query of a run. Its grid must share the label raster's lattice; a sub-window is fine."""
    require_published(run_dir)
    kinds = {item["query"]: item["kind"] for item in (*truth.queries, *truth.other_wordings)}
    scores = [
        QueryScore(query=q, kind=kinds.get(q, ""), class_name=truth.class_for(q), query_index=i)
        for i, q in enumerate(info.queries)
    ]
    pixels = RunPixels(run_dir, aoi_in_pixels(bytes.fromhex(info.aoi_wkb), info.lattice.grid))
    with rasterio.open(truth.labels_path) as labels:
        ids = [truth.ids_of(score.class_name) for score in scores]
        tiles = _WorldTiles(labels, grid_offset(labels, info.lattice.grid), ids, pixels)
        score_tiles(run_dir, info.lattice, scores, tiles)
    return scores


class _WorldTiles:
    """`TruthByTile` of a world. In a failed tile all pixels of the region count.

    Which of them are imagery is not recorded.
    """

    def __init__(
        self,
        labels: rasterio.DatasetReader,
        offset: tuple[int, int],
        ids: list[NDArray[np.int64]],
        pixels: RunPixels,
    ) -> None:
        """`offset`: `grid_offset` of the labels. `ids`: for each query, the objects that answer it."""
        self._labels = labels
        self._offset = offset
        self._ids = ids
        self._pixels = pixels
        self._last: tuple[str, NDArray[np.int64]] | None = None

    def look(self, tile: TileSpec, query_index: int, *, entry: LedgerEntry) -> TrueTile | None:
        if not entry.failed and not entry.answered:
            return None
        counted = (
            self._pixels.in_region(tile.core) if entry.failed else self._pixels.judged(tile.core, query_index)
        )
        if not counted.any():
            return None
        if self._last is None or self._last[0] != tile.tile_id:
            self._last = (tile.tile_id, read_labels(self._labels, tile.read, self._offset))
        seen = self._last[1]
        return TrueTile(seen=np.where(np.isin(seen, self._ids[query_index]), seen, 0), counted=counted)
