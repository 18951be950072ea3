"""Count the figures of a query of a finished run, tile by tile.

1. `score_tiles` asks a truth (`TruthByTile.look`) for the true objects in every tile.
2. `_add_tile` adds the tile's core to the query's table of overlaps and to its samples. A failed tile is one
   without an answer: its objects are missed, and it never counts as a rejection.
3. `QueryScore.figures` computes the figures; `score_table` shows them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import shapely
import zarr
from numpy.typing import NDArray

from pipeline.evaluate.figures.overlap import Overlaps
from pipeline.evaluate.finished_run.run_ledger import (
    NOT_LOOKED_AT,
    LedgerEntry,
    read_ledger,
    require_published,
)
from pipeline.files.store.store_path import Place
from pipeline.files.store.stored_files import zarr_store
from pipeline.schema.tile_answers import TileStatus
from pipeline.schema.tiling import TileLattice, TileSpec
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.run_document import finished_run


@dataclass(kw_only=True)
class QueryScore:
    """Figures of one query.

    - precision, recall: instances at IoU >= 0.5;
    - gIoU: mean over tile cores of the mask IoU. If nothing is there, the tile scores 1 for no predicted
      pixel, 0 for a false alarm (gRefCOCO's convention, used by Think2Seg-RS section 4.1), and 0 without an
      answer. `giou_present` is the mean over tiles that hold the class;
    - cIoU: intersection over union of all pixels together;
    - rejection: share of truly empty tiles (no pixel of the class in the READ window) with the answer
      "nothing here"; false rejection: share of tiles whose core holds the class with that answer;
    - false alarms per 100 km2 on empty land. A predicted instance belongs to the first core that shows it,
      row by row. It is a false alarm when that tile is truly empty and it shares no pixel with a true object
      of the class. The area is the ground area of the counted pixels of these cores, without failed tiles.
    """

    query: str
    kind: str
    class_name: str
    query_index: int = 0
    """Index of the query in the run."""
    overlaps: Overlaps = field(default_factory=Overlaps)
    tile_iou: list[float] = field(default_factory=list)
    tile_present: list[bool] = field(default_factory=list)
    truly_empty: int = 0
    rejected_empty: int = 0
    truly_present: int = 0
    rejected_present: int = 0
    empty_m2: float = 0.0
    """Ground area of the truly empty tiles that were answered; NaN without a CRS."""
    seen: set[int] = field(default_factory=set)
    """Ids of the predicted instances seen so far."""
    begun_on_empty: set[int] = field(default_factory=set)
    """Ids of those that were first seen in a truly empty tile."""

    @property
    def false_alarms(self) -> int:
        """Count the instances of `begun_on_empty` that share no pixel with a true object."""
        return len(self.begun_on_empty - self.overlaps.touching())

    def figures(self) -> dict[str, object]:
        """Compute the figures, JSON-ready; None: undefined."""
        match = self.overlaps.match(0.5)
        present = [iou for iou, here in zip(self.tile_iou, self.tile_present, strict=True) if here]
        raw = {
            "precision": match.precision,
            "recall": match.recall,
            "giou": float(np.mean(self.tile_iou)) if self.tile_iou else float("nan"),
            "giou_present": float(np.mean(present)) if present else float("nan"),
            "ciou": self.overlaps.pixel_iou(),
            "rejection": self.rejected_empty / self.truly_empty if self.truly_empty else float("nan"),
            "false_rejection": self.rejected_present / self.truly_present
            if self.truly_present
            else float("nan"),
        }
        return {
            "query": self.query,
            "kind": self.kind,
            "class": self.class_name,
            "n_true": match.n_true,
            "n_predicted": match.n_predicted,
            "n_matched": len(match.iou),
            "truly_empty_tiles": self.truly_empty,
            "false_alarms": self.false_alarms,
            "empty_km2": None if np.isnan(self.empty_m2) else round(self.empty_m2 / 1e6, 6),
            "per_100_km2": round(self.false_alarms / self.empty_m2 * 1e8, 1) if self.empty_m2 > 0 else None,
            **{key: None if np.isnan(value) else round(value, 4) for key, value in raw.items()},
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class TrueTile:
    """The truth about one tile and one query."""

    seen: NDArray[np.int64]
    """Ids of the true objects, (H, W) over `tile.read`; 0 = none."""
    counted: NDArray[np.bool_]
    """Pixels that count, (h, w) over `tile.core`."""


class TruthByTile(Protocol):
    """The true objects, tile by tile. Tiles are asked for row by row, each once per query."""

    def look(self, tile: TileSpec, query_index: int, *, entry: LedgerEntry) -> TrueTile | None:
        """Give a tile's truth. None: the tile does not count. `entry`: its entry in the run's ledger."""
        ...


def score_tiles(run_dir: Place, lattice: TileLattice, scores: list[QueryScore], truth: TruthByTile) -> None:
    """Count every tile of a published run into the scores of some of its queries.

    Raises InputError when its rasters or its ledger are missing.
    """
    require_published(run_dir)
    ledger = read_ledger(run_dir)
    predicted = zarr.open_group(zarr_store(finished_run(run_dir).masks, read_only=True), mode="r")[
        "instance_id"
    ]
    for tile_row in range(lattice.n_tile_rows):
        for tile_col in range(lattice.n_tile_cols):
            tile = lattice.tile(tile_row, tile_col)
            core = tile.core
            area_m2 = _core_m2(lattice, tile)
            for score in scores:
                entry = ledger.get((tile.tile_id, score.query_index), NOT_LOOKED_AT)
                true = truth.look(tile, score.query_index, entry=entry)
                if true is not None:
                    found = predicted[score.query_index, core.row0 : core.row1, core.col0 : core.col1].astype(
                        np.int64
                    )
                    _add_tile(score, tile, true, found, entry, area_m2)


def _add_tile(
    score: QueryScore,
    tile: TileSpec,
    true: TrueTile,
    found: NDArray[np.int64],
    entry: LedgerEntry,
    area_m2: float,
) -> None:
    """Count one tile. `found`: predicted ids of its core; `area_m2`: ground area of the core."""
    rows, cols = tile.core.slices_in(tile.read)
    true_core = np.where(true.counted, true.seen[rows, cols], 0)
    found = np.where(true.counted, found, 0)
    score.overlaps.add(true_core, found)
    union = int(((true_core != 0) | (found != 0)).sum())
    common = int(((true_core != 0) & (found != 0)).sum())
    nothing = 0.0 if entry.failed else 1.0
    score.tile_iou.append(common / union if union else nothing)
    score.tile_present.append(bool(true_core.any()))
    if true_core.any():
        score.truly_present += 1
        score.rejected_present += entry.status is TileStatus.EMPTY
    new = set(np.unique(found).tolist()) - score.seen - {0}
    score.seen |= new
    if not true.seen.any():
        score.truly_empty += 1
        score.rejected_empty += entry.status is TileStatus.EMPTY
        if entry.answered:
            score.empty_m2 += area_m2 * float(true.counted.mean())
            score.begun_on_empty |= new


def _core_m2(lattice: TileLattice, tile: TileSpec) -> float:
    """Compute the ground area of a tile's core on the ellipsoid; NaN without a CRS."""
    core = tile.core
    return float(geodesic_area_m2([shapely.box(core.col0, core.row0, core.col1, core.row1)], lattice.grid)[0])


def score_table(scores: list[QueryScore]) -> str:
    """Write the figures as a plain-text table, one line per query; a last line explains unknown areas."""
    columns = (
        "kind",
        "class",
        "n_true",
        "n_predicted",
        "precision",
        "recall",
        "giou",
        "giou_present",
        "ciou",
        "rejection",
        "false_rejection",
        "false_alarms",
        "empty_km2",
        "per_100_km2",
    )
    rows = [score.figures() for score in scores]
    cells = [["query", *columns], *([_cell(row["query"]), *(_cell(row[c]) for c in columns)] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    if any(row["empty_km2"] is None for row in rows):
        lines.append(
            "empty_km2 and per_100_km2 are unknown: the run grid has no CRS, "
            "so its pixels have no size on the ground"
        )
    elif any(row["per_100_km2"] is None for row in rows):
        lines.append("per_100_km2 is unknown where no truly empty tile was answered")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
