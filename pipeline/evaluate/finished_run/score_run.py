"""A finished run against the truth: one row of figures per query.

1. `read_truth` opens what `jobs/make_world.py` wrote: the label raster, the class of every instance, the
   class that every query asks for ("" = nothing in any world answers it). `score_run` scores every
   query of a run with it; polygons of a user's own are the other kind of truth (`score_polygons`).
2. `score_tiles` asks the truth (`TileTruth.look`) for the true objects that every tile sees, and fills, tile
   core by tile core and per query, an `Overlaps` table (instances, pixels) and a list of per-tile samples.
   What became of a tile is read from coverage.parquet (`TileFate`), which a region that was merged again has
   too.
3. Only what the run looked at counts (`RunPixels`): imagery that touches the AOI. Tiles that nobody looked at
   (outside the AOI, nodata, cloud) and pixels outside are in no figure; truth and predictions are cut alike,
   so an object at the border of the region is compared by its part inside, and one that lies beyond is none.
   A failed tile is not among them: with a world it counts as a tile without an answer. What it holds is
   missed, it never rejects, and where nothing is to be found it scores 0 and not 1.
4. `QueryScore` derives the figures:
   - precision, recall: instances at IoU >= 0.5;
   - gIoU: mean over tile cores of the mask IoU, where "nothing there, nothing predicted" counts 1 and a false
     alarm 0 (gRefCOCO's convention, used by Think2Seg-RS section 4.1), and "nothing there, no answer" 0 too
     (as `metrics` scores an unreadable reply); `giou_present` is the mean over tiles that hold the class;
   - cIoU: intersection over union of all pixels together;
   - rejection: the share of truly empty tiles (no pixel of the class in the READ window) that were answered
     "nothing here"; false rejection: the share of tiles whose core holds the class that were answered so;
   - false alarms per 100 km2 on empty land: predicted instances that begin in a truly empty tile (the first
     core they show in, row by row, so each belongs to one tile) and share no pixel with a true object of the
     class, over the ground area of the counted pixels of these tiles' cores. Tiles that failed are no such
     land.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import rasterio
import rasterio.features
import rasterio.windows
import shapely
import zarr
from affine import Affine
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluate.figures.overlap import Overlaps
from pipeline.schema import Reason, RunGrid, TileLattice, TileSpec, TileStatus, Window
from pipeline.world.truth import other_wordings
from pipeline.write.georeference import geodesic_area_m2, to_pixels
from pipeline.write.masks_zarr import MASK_FILL
from pipeline.write.run_json import RunInfo


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The exact answer to every query about one world."""

    labels_path: Path
    class_of: dict[int, str]
    """instance id -> class."""
    queries: tuple[dict[str, str], ...]
    """query, class, kind: the items of queries.json, then the wordings that it lacks."""

    def class_for(self, query: str) -> str:
        """The class a query asks for; "" when no object of any world answers it. Raises InputError for a
        foreign query.
        """
        for item in self.queries:
            if item["query"] == query:
                return item["class"]
        raise InputError(
            "the run's queries must come from the world's queries.json or pipeline/world/queries.py, "
            "so that their true class is known",
            came=repr(query),
            remedy="run jobs/segment_region.py with --queries-from WORLD/queries.json, or add the query and its class to that file",
        )

    def ids_of(self, class_name: str) -> NDArray[np.int64]:
        return np.array(sorted(i for i, c in self.class_of.items() if c == class_name), dtype=np.int64)


@dataclass(kw_only=True)
class QueryScore:
    """Figures of one query; see the module's story for definitions."""

    query: str
    kind: str
    class_name: str
    query_index: int = 0
    """Of the query in the run."""
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
    """Ids of the predicted instances of the tiles so far."""
    begun_on_empty: set[int] = field(default_factory=set)
    """Those that were first seen in a truly empty tile."""

    @property
    def false_alarms(self) -> int:
        """Of `begun_on_empty` those that share no pixel with a true object."""
        return len(self.begun_on_empty - self.overlaps.touching())

    def figures(self) -> dict[str, Any]:
        """JSON-ready figures; None where a figure is undefined."""
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


def read_truth(world_dir: Path) -> Truth:
    """The truth of a world directory. Raises InputError when a file of `jobs/make_world.py` is missing.

    world.json is among them although nothing is read from it: without it the drawing was interrupted, and the
    other files may be of two scenes.
    """
    for name in ("labels.tif", "truth.parquet", "queries.json", "world.json"):
        if not (world_dir / name).is_file():
            remedy = "make one with python jobs/make_world.py --seed 7 --size 4096 --out DIR, or finish one with its own command"
            raise InputError(f"a world directory needs {name}", came=str(world_dir), remedy=remedy)
    frame = gpd.read_parquet(world_dir / "truth.parquet")
    class_of = {int(i): str(c) for i, c in zip(frame["instance_id"], frame["class"], strict=True)}
    listed = json.loads((world_dir / "queries.json").read_text())
    queries = (*listed, *other_wordings(listed, frozenset(class_of.values())))
    return Truth(labels_path=world_dir / "labels.tif", class_of=class_of, queries=queries)


@dataclass(frozen=True, kw_only=True, slots=True)
class TileFate:
    """What the ledger says of one tile and query."""

    status: TileStatus
    reason: Reason

    @property
    def failed(self) -> bool:
        """The run looked and has no answer."""
        return self.status is TileStatus.FAILED

    @property
    def answered(self) -> bool:
        """The run has an answer about imagery: neither failed nor a tile that nobody looked at."""
        return not self.failed and self.reason not in (Reason.NODATA, Reason.CLOUD, Reason.OUTSIDE_AOI)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrueTile:
    """The truth about one tile and one query."""

    seen: NDArray[np.int64]
    """(H, W) over `tile.read`: ids of the true objects, 0 = none."""
    counted: NDArray[np.bool_]
    """(h, w) over `tile.core`; True = the pixel counts."""


class TileTruth(Protocol):
    """Where the true objects are, tile by tile. Tiles are asked for row by row, each once per query."""

    def look(self, tile: TileSpec, query_index: int, *, fate: TileFate) -> TrueTile | None:
        """The tile's truth; None: the tile does not count. `fate`: what became of it in the run."""
        ...


class RunPixels:
    """Which pixels of a published run a truth may count. Masks are (h, w) over a tile's core."""

    def __init__(self, run_dir: Path, aoi_px: Any | None) -> None:
        """`aoi_px`: the run's AOI in pixel edges of its grid (`aoi_in_pixels`), None for whole scenes.
        `require_published` comes first.
        """
        self._mask: Any = zarr.open_group(str(run_dir / "masks.zarr"), mode="r")["mask"]
        self._aoi_px = aoi_px

    def in_region(self, core: Window) -> NDArray[np.bool_]:
        """True = the pixel touches the AOI: the rule by which a run selects its objects."""
        if self._aoi_px is None:
            return np.ones(core.shape, dtype=np.bool_)
        moved = Affine.translation(core.col0, core.row0)
        burnt = rasterio.features.rasterize(
            [self._aoi_px], out_shape=core.shape, transform=moved, fill=0, all_touched=True, dtype="uint8"
        )
        return np.asarray(burnt, dtype=np.bool_)

    def judged(self, core: Window, query_index: int) -> NDArray[np.bool_]:
        """True = the run judged imagery there for this query (`mask` is not at its fill value), and the
        pixel is in its region.
        """
        judged: NDArray[np.bool_] = (
            self._mask[query_index, core.row0 : core.row1, core.col0 : core.col1] != MASK_FILL
        )
        return judged & self.in_region(core) if judged.any() else judged


def aoi_in_pixels(aoi_wkb: bytes, grid: RunGrid) -> Any | None:
    """The AOI of a run (WKB in the grid's CRS, empty for whole scenes) in pixel edges of its grid; None for
    whole scenes.
    """
    return to_pixels([shapely.from_wkb(aoi_wkb)], grid)[0] if aoi_wkb else None


def score_run(run_dir: Path, truth: Truth, info: RunInfo) -> list[QueryScore]:
    """Score every query of a run whose grid is the label raster's own lattice (same transform, a
    sub-window is fine).
    """
    require_published(run_dir)
    kinds = {item["query"]: item["kind"] for item in truth.queries}
    scores = [
        QueryScore(query=q, kind=kinds.get(q, ""), class_name=truth.class_for(q), query_index=i)
        for i, q in enumerate(info.queries)
    ]
    pixels = RunPixels(run_dir, aoi_in_pixels(bytes.fromhex(info.aoi_wkb), info.lattice.grid))
    with rasterio.open(truth.labels_path) as labels:
        ids = [truth.ids_of(score.class_name) for score in scores]
        score_tiles(
            run_dir, info.lattice, scores, _WorldTiles(labels, grid_offset(info.lattice, labels), ids, pixels)
        )
    return scores


class _WorldTiles:
    """`TileTruth` of a world: of a tile that failed all pixels of the region count, since which of them are
    imagery is not recorded.
    """

    def __init__(
        self,
        labels: rasterio.DatasetReader,
        offset: tuple[int, int],
        ids: list[NDArray[np.int64]],
        pixels: RunPixels,
    ) -> None:
        """`offset`: `grid_offset` of the labels. `ids`: per query of the run, the ids of the objects that
        answer it.
        """
        self._labels = labels
        self._offset = offset
        self._ids = ids
        self._pixels = pixels
        self._last: tuple[str, NDArray[np.int64]] | None = None

    def look(self, tile: TileSpec, query_index: int, *, fate: TileFate) -> TrueTile | None:
        if not fate.failed and not fate.answered:
            return None
        counted = (
            self._pixels.in_region(tile.core) if fate.failed else self._pixels.judged(tile.core, query_index)
        )
        if not counted.any():
            return None
        if self._last is None or self._last[0] != tile.tile_id:
            self._last = tile.tile_id, read_labels(self._labels, tile.read, self._offset)
        seen = self._last[1]
        return TrueTile(seen=np.where(np.isin(seen, self._ids[query_index]), seen, 0), counted=counted)


def score_tiles(run_dir: Path, lattice: TileLattice, scores: list[QueryScore], truth: TileTruth) -> None:
    """Fill the scores of some queries of a published run. Raises InputError when its rasters or its ledger
    are not there.
    """
    require_published(run_dir)
    fates = _fates(run_dir)
    predicted: Any = zarr.open_group(str(run_dir / "masks.zarr"), mode="r")["instance_id"]
    for tile_row in range(lattice.n_tile_rows):
        for tile_col in range(lattice.n_tile_cols):
            tile = lattice.tile(tile_row, tile_col)
            core = tile.core
            area_m2 = _core_m2(lattice, tile)
            for score in scores:
                fate = fates.get((tile.tile_id, score.query_index), _NO_RECORD)
                true = truth.look(tile, score.query_index, fate=fate)
                if true is not None:
                    found = predicted[score.query_index, core.row0 : core.row1, core.col0 : core.col1].astype(
                        np.int64
                    )
                    _add_tile(score, tile, true, found, fate, area_m2)


def require_published(run_dir: Path) -> None:
    """Raise InputError unless the run's rasters and ledger are there."""
    for name in ("masks.zarr", "coverage.parquet"):
        if not (run_dir / name).exists():
            raise InputError(
                f"a run needs {name} to be scored",
                came=str(run_dir),
                remedy="let the run end: start its own command again, it resumes",
            )


def _add_tile(
    score: QueryScore,
    tile: TileSpec,
    true: TrueTile,
    found: NDArray[np.int64],
    fate: TileFate,
    area_m2: float,
) -> None:
    """Count one tile: `found` are the predicted ids of its core, `area_m2` is the ground area of that."""
    rows, cols = tile.core.slices_in(tile.read)
    true_core, found = np.where(true.counted, true.seen[rows, cols], 0), np.where(true.counted, found, 0)
    score.overlaps.add(true_core, found)
    union = int(((true_core != 0) | (found != 0)).sum())
    common = int(((true_core != 0) & (found != 0)).sum())
    nothing = 0.0 if fate.failed else 1.0
    score.tile_iou.append(common / union if union else nothing)
    score.tile_present.append(bool(true_core.any()))
    if true_core.any():
        score.truly_present += 1
        score.rejected_present += fate.status is TileStatus.EMPTY
    new = set(np.unique(found).tolist()) - score.seen - {0}
    score.seen |= new
    if not true.seen.any():
        score.truly_empty += 1
        score.rejected_empty += fate.status is TileStatus.EMPTY
        if fate.answered:
            score.empty_m2 += area_m2 * float(true.counted.mean())
            score.begun_on_empty |= new


_NO_RECORD = TileFate(status=TileStatus.EMPTY, reason=Reason.OUTSIDE_AOI)


def _fates(run_dir: Path) -> dict[tuple[str, int], TileFate]:
    """(tile_id, query_index) -> fate, of all tiles but those outside the AOI."""
    columns = ["tile_id", "statuses", "reasons"]
    table = pq.read_table(
        run_dir / "coverage.parquet", columns=columns, filters=[("reason", "!=", Reason.OUTSIDE_AOI.value)]
    )
    fates = {}
    for row in table.to_pylist():
        for index, (status, reason) in enumerate(zip(row["statuses"], row["reasons"], strict=True)):
            fates[row["tile_id"], index] = TileFate(status=TileStatus(status), reason=Reason(reason))
    return fates


def _core_m2(lattice: TileLattice, tile: TileSpec) -> float:
    """Ground area of a tile's core on the ellipsoid; NaN without a CRS."""
    core = tile.core
    return float(geodesic_area_m2([shapely.box(core.col0, core.row0, core.col1, core.row1)], lattice.grid)[0])


def grid_offset(lattice: TileLattice, labels: rasterio.DatasetReader) -> tuple[int, int]:
    """(row, column) of the run grid's first pixel in the label raster. Raises InputError when they share no
    pixel lattice.
    """
    a, _, c, _, e, f = lattice.grid.transform
    col, row = ~labels.transform @ (c, f)
    if (
        abs(labels.transform.a - a) > 1e-9
        or abs(labels.transform.e - e) > 1e-9
        or max(abs(col - round(col)), abs(row - round(row))) > 1e-6
    ):
        raise InputError(
            "the run and the world's labels.tif must share one pixel lattice",
            came=f"run transform {lattice.grid.transform}, labels transform {tuple(labels.transform)[:6]}",
            remedy="score the run with the world it was made from",
        )
    return round(row), round(col)


def read_labels(labels: rasterio.DatasetReader, window: Window, offset: tuple[int, int]) -> NDArray[np.int64]:
    """(H, W) instance ids of a window of the run grid; 0 = background, also beyond the raster."""
    moved = window.shifted(*offset)
    out: NDArray[np.int64] = labels.read(
        1,
        window=rasterio.windows.Window(moved.col0, moved.row0, moved.width, moved.height),
        boundless=True,
        fill_value=0,
    ).astype(np.int64)
    return out


def score_table(scores: list[QueryScore]) -> str:
    """A plain-text table of the figures, one line per query, and why false alarms have no area where they
    have none.
    """
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
            "empty_km2 and per_100_km2 are unknown: the run grid has no CRS, so its pixels have no size on the ground"
        )
    elif any(row["per_100_km2"] is None for row in rows):
        lines.append("per_100_km2 is unknown where no truly empty tile was answered")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
