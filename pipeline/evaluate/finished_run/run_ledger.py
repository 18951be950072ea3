"""Read what a finished run answered tile by tile, and which pixels may be scored.

Only what the run looked at is scored: imagery that touches the AOI. Tiles that were not looked at (outside
the AOI, nodata, cloud) enter no figure. Truth and predictions are cut in the same way, so an object at the
border of the region is compared by its part inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import rasterio.features
import shapely
import zarr
from affine import Affine
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files.store.store_path import Place
from pipeline.files.store.stored_files import read_parquet, zarr_store
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.georeference import to_pixels
from pipeline.write.masks_zarr import MASK_FILL
from pipeline.write.run_document import finished_run


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerEntry:
    """The ledger's entry for one tile and query."""

    status: TileStatus
    reason: Reason

    @property
    def failed(self) -> bool:
        """Whether the run looked but has no answer."""
        return self.status is TileStatus.FAILED

    @property
    def answered(self) -> bool:
        """Whether the run looked at imagery and has an answer."""
        return not self.failed and self.reason not in (Reason.NODATA, Reason.CLOUD, Reason.OUTSIDE_AOI)


NOT_LOOKED_AT = LedgerEntry(status=TileStatus.EMPTY, reason=Reason.OUTSIDE_AOI)
"""Entry of a tile that the ledger leaves out."""


def read_ledger(run_dir: Place) -> dict[tuple[str, int], LedgerEntry]:
    """Read (tile_id, query_index) -> entry for all tiles except those outside the AOI.

    Raises InputError for a ledger of an earlier version, which had one row per tile.
    """
    columns = ["tile_id", "query_index", "status", "reason"]
    path = finished_run(run_dir).coverage
    try:
        table = read_parquet(path, columns, filters=[("reason", "!=", Reason.OUTSIDE_AOI.value)])
    except pa.ArrowInvalid as error:
        remedy = f"merge again: python jobs/restitch_region.py --run {run_dir}"
        raise InputError(
            f"{path} must have a row per tile and query", came=str(error).partition(" in ")[0], remedy=remedy
        ) from error
    return {
        (row["tile_id"], row["query_index"]): LedgerEntry(
            status=TileStatus(row["status"]), reason=Reason(row["reason"])
        )
        for row in table.to_pylist()
    }


class RunPixels:
    """The pixels of a published run that may be scored. Masks are (h, w) over a tile's core."""

    def __init__(self, run_dir: Place, aoi_px: shapely.Geometry | None) -> None:
        """Open the rasters of a run that passed `require_published`.

        `aoi_px`: the run's AOI in pixel edges of its grid (`aoi_in_pixels`). None: whole scenes.
        """
        masks = zarr_store(finished_run(run_dir).masks, read_only=True)
        self._mask = zarr.open_group(masks, mode="r")["mask"]
        self._aoi_px = aoi_px

    def in_region(self, core: Window) -> NDArray[np.bool_]:
        """Mark the pixels that touch the AOI, the rule by which a run selects its objects."""
        if self._aoi_px is None:
            return np.ones(core.shape, dtype=np.bool_)
        moved = Affine.translation(core.col0, core.row0)
        burnt = rasterio.features.rasterize(
            [self._aoi_px], out_shape=core.shape, transform=moved, fill=0, all_touched=True, dtype="uint8"
        )
        return np.asarray(burnt, dtype=np.bool_)

    def judged(self, core: Window, query_index: int) -> NDArray[np.bool_]:
        """Mark the pixels of the region in which the run judged imagery for this query.

        There `mask` is not at its fill value.
        """
        judged: NDArray[np.bool_] = (
            self._mask[query_index, core.row0 : core.row1, core.col0 : core.col1] != MASK_FILL
        )
        return judged & self.in_region(core) if judged.any() else judged


def aoi_in_pixels(aoi_wkb: bytes, grid: RunGrid) -> shapely.Geometry | None:
    """Bring a run's AOI to pixel edges of its grid. None: the run covers whole scenes.

    `aoi_wkb`: WKB in the grid's CRS, empty for whole scenes.
    """
    return to_pixels([shapely.from_wkb(aoi_wkb)], grid)[0] if aoi_wkb else None


def require_published(run_dir: Place) -> None:
    """Raise InputError unless the run has published its rasters and its ledger."""
    run = finished_run(run_dir)
    for path in (run.masks, run.coverage):
        if not path.exists():
            raise InputError(
                f"a run needs {path.name} to be scored",
                came=str(run_dir),
                remedy="let the run end: start its own command again, it resumes",
            )
