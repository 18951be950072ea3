"""Count, square by square, which objects of two dates share pixels.

1. `PairReader` reads ids and judged pixels of both dates in one window. Outside the area of its run only what
   is shown is known: a run drops objects that lie outside, so an empty pixel there says nothing.
2. `count_square` counts for every object its pixels, and those that were judged at the other date too; for
   every pair of objects their common pixels; and which pixels were kept, lost, gained or not comparable.
3. `OverlapTables` adds the counts of all squares up. An object belongs to the square with most of its pixels.

Memory grows with the number of objects (some 100 bytes each), not with pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import rasterio.features
from affine import Affine
from numpy.typing import NDArray

from pipeline.compare.run_pair import DatedRun, RunPair
from pipeline.schema.tiling import Window
from pipeline.write.export.mask_reader import MaskReader
from pipeline.write.masks_zarr import MASK_FILL

NOTHING = 0
KEPT = 1
LOST = 2
GAINED = 3
NOT_COMPARABLE = 255
"""What a pixel is: object at no date, both, the first, the second; or not judged at both dates."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedPixels:
    """One window at both dates; arrays are (H, W)."""

    ids_before: NDArray[np.uint64]
    ids_after: NDArray[np.uint64]
    judged_before: NDArray[np.bool_]
    judged_after: NDArray[np.bool_]

    @property
    def states(self) -> NDArray[np.uint8]:
        """What each pixel is."""
        kind = (self.ids_before > 0).astype(np.uint8) * LOST + (self.ids_after > 0).astype(np.uint8) * GAINED
        names = np.array([NOTHING, NOTHING, LOST, GAINED, NOTHING, KEPT], dtype=np.uint8)
        found: NDArray[np.uint8] = names[kind]
        found[~(self.judged_before & self.judged_after)] = NOT_COMPARABLE
        return found


class PairReader:
    """Reads windows of a pair of runs."""

    def __init__(self, pair: RunPair) -> None:
        self._pair = pair
        self._dates = (_DatePixels(pair.before), _DatePixels(pair.after))

    def read(self, window: Window) -> PairedPixels:
        """Read a window, in pixels of the first grid. Raises InputError when a raster cannot be read."""
        before, after = self._dates
        ids_before, judged_before = before.read(window)
        ids_after, judged_after = after.read(self._pair.in_after(window))
        return PairedPixels(
            ids_before=ids_before, ids_after=ids_after, judged_before=judged_before, judged_after=judged_after
        )


class _DatePixels:
    """Reads windows of one run, in pixels of its own grid."""

    def __init__(self, run: DatedRun) -> None:
        self._reader = MaskReader(run.run_dir.masks)
        self._query = run.query_index
        self._area = run.area_px

    def read(self, window: Window) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """(H, W) ids, and what was judged."""
        judged = self._reader.read("mask", self._query, window) != MASK_FILL
        ids = np.asarray(self._reader.read("instance_id", self._query, window), dtype=np.uint64)
        ids = np.where(judged, ids, np.uint64(0))
        if self._area is not None and judged.any():
            judged &= (ids > 0) | self._inside(window)
        return ids, judged

    def _inside(self, window: Window) -> NDArray[np.bool_]:
        """Pixels that touch the area: the rule by which a run selects its objects."""
        burnt = rasterio.features.rasterize(
            [self._area],
            out_shape=window.shape,
            transform=Affine.translation(window.col0, window.row0),
            fill=0,
            all_touched=True,
            dtype="uint8",
        )
        return np.asarray(burnt, dtype=np.bool_)


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelOverlaps:
    """Counts over all squares.

    Columns of `before` and `after`, indexed by id: px (pixels in the common window), common_px (judged at
    both dates), square (number of the square with most of them). Of `pairs`: before, after (ids), px.
    """

    before: pd.DataFrame
    after: pd.DataFrame
    pairs: pd.DataFrame


@dataclass(kw_only=True, eq=False)
class OverlapTables:
    """Counts that are still being added up."""

    _own: dict[str, list[pd.DataFrame]] = field(default_factory=lambda: {"before": [], "after": []})
    _pairs: list[pd.DataFrame] = field(default_factory=list)

    def add(self, square: int, pixels: PairedPixels) -> None:
        """Add the counts of one square."""
        common = pixels.judged_before & pixels.judged_after
        for name, ids in (("before", pixels.ids_before), ("after", pixels.ids_after)):
            there = ids > 0
            if there.any():
                values, number = np.unique(ids[there], return_inverse=True)
                px = np.bincount(number)
                seen = np.bincount(number, weights=common[there]).astype(np.int64)
                self._own[name].append(
                    pd.DataFrame({"id": values, "px": px, "common_px": seen, "square": square})
                )
        both = (pixels.ids_before > 0) & (pixels.ids_after > 0)
        if both.any():
            frame = pd.DataFrame({"before": pixels.ids_before[both], "after": pixels.ids_after[both]})
            self._pairs.append(frame.value_counts(sort=False).rename("px").reset_index())

    def total(self) -> PixelOverlaps:
        """Add everything up."""
        return PixelOverlaps(
            before=_summed(self._own["before"]), after=_summed(self._own["after"]), pairs=self._summed_pairs()
        )

    def _summed_pairs(self) -> pd.DataFrame:
        if not self._pairs:
            return pd.DataFrame(
                {name: np.zeros(0, kind) for name, kind in (("before", "u8"), ("after", "u8"), ("px", "i8"))}
            )
        return pd.concat(self._pairs).groupby(["before", "after"], as_index=False)["px"].sum()


def _summed(parts: list[pd.DataFrame]) -> pd.DataFrame:
    if not parts:
        empty = {"px": np.zeros(0, "i8"), "common_px": np.zeros(0, "i8"), "square": np.zeros(0, "i8")}
        return pd.DataFrame(empty, index=pd.Index(np.zeros(0, "u8"), name="id"))
    rows = pd.concat(parts, ignore_index=True)
    most = rows.sort_values(["id", "px", "square"], ascending=[True, False, True]).drop_duplicates("id")
    totals = rows.groupby("id")[["px", "common_px"]].sum()
    return totals.join(most.set_index("id")["square"])
