"""Clean outlines for an export: small holes filled, specks dropped, fewer vertices, and still no overlaps.

1. `clean_rules` turns limits on the ground into pixels, by the ground of the pixel in the middle of the grid.
2. `_exempt_ids` reads from the table which objects consist of specks alone: these keep them.
3. `make_outlines` reads the id raster of each query in squares of `SQUARE_PX`, with as much around them as
   the rules reach. It cleans the pixels (`pipeline.stitch.clean_pixels`), traces and simplifies the square
   (`pipeline.stitch.simple_outlines`), and files the pieces.

Squares are independent: one gives its pieces the same edges at the common border as its neighbour does. The
border itself keeps its vertices where an outline crosses it. The run is only read.

Right angles are made of whole outlines afterwards (`right_angled_outlines`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files.store.stored_files import open_parquet
from pipeline.run.right_angled_outlines import square_up
from pipeline.schema.tiling import RunGrid, Window
from pipeline.stitch.clean_pixels import CleaningRules, clean_pixels
from pipeline.stitch.simple_outlines import joined, simple_outlines
from pipeline.write.export.export_run import ExportPlan
from pipeline.write.export.mask_reader import MaskReader
from pipeline.write.export.outline_store import OutlineStore
from pipeline.write.export.score_floor import ScoreFloor
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.instances import part_files
from pipeline.write.masks_zarr import MASK_FILL
from pipeline.write.run_dir import RunDir

SQUARE_PX = 2048
"""Side of the squares that are traced at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CleaningRequest:
    """What outlines shall be like, in units of the ground."""

    fill_holes_m2: float = 0.0
    drop_specks_m2: float = 0.0
    simplify_m: float = 0.0
    right_angles: float = 0.0
    """Overlap (IoU) from which an outline with right angles takes an object's place; 0: none does."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.right_angles <= 1.0:
            raise InputError(
                "--right-angles must be an overlap from 0 to 1",
                came=f"{self.right_angles:g}",
                remedy="0.8 suits buildings; 0 leaves outlines as they are",
            )
        if self.right_angles > 0.0 and self.simplify_m > 0.0:
            raise InputError(
                "--right-angles and --simplify-m are two ways to make outlines simpler",
                came="both",
                remedy="leave one of them out",
            )
        for name in ("fill_holes_m2", "drop_specks_m2", "simplify_m"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(
                    f"--{name.replace('_', '-')} must not be negative",
                    came=f"{getattr(self, name):g}",
                    remedy="give a size on the ground such as 20; 0 leaves outlines as they are",
                )

    @property
    def asked(self) -> bool:
        """Whether anything changes."""
        return (
            self.fill_holes_m2 > 0.0
            or self.drop_specks_m2 > 0.0
            or max(self.simplify_m, self.right_angles) > 0.0
        )

    @property
    def text(self) -> str:
        """What was done, for the file's description."""
        parts = []
        if self.fill_holes_m2 > 0.0:
            parts.append(f"holes up to {self.fill_holes_m2:g} m2 filled")
        if self.drop_specks_m2 > 0.0:
            parts.append(f"specks up to {self.drop_specks_m2:g} m2 dropped")
        if self.simplify_m > 0.0:
            parts.append(f"simplified by {self.simplify_m:g} m")
        if self.right_angles > 0.0:
            parts.append(f"right angles where they overlap by {self.right_angles:g}")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutlineRules:
    """The same in pixels."""

    cleaning: CleaningRules
    tolerance_px: float


def clean_rules(request: CleaningRequest, grid: RunGrid) -> OutlineRules:
    """Turn limits on the ground into pixels.

    Raises InputError where the grid has no ground.
    """
    row = (grid.height - 1) // 2
    col = (grid.width - 1) // 2
    (pixel_m2,) = geodesic_area_m2([shapely.box(col, row, col + 1, row + 1)], grid)
    if not pixel_m2 > 0.0:
        raise InputError(
            "holes, specks and --simplify-m are measured on the ground",
            came="a run whose pixels have no known ground",
            remedy="leave them out; the outlines are then those of the pixels",
        )
    hole_px = math.floor(request.fill_holes_m2 / pixel_m2)
    speck_px = math.floor(request.drop_specks_m2 / pixel_m2)
    return OutlineRules(
        cleaning=CleaningRules(hole_px=hole_px, speck_px=speck_px),
        tolerance_px=request.simplify_m / math.sqrt(pixel_m2),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class OutlineCleaning:
    """`pipeline.write.export.export_run.Cleaning` of a request."""

    rules: OutlineRules
    text: str
    right_angles: float = 0.0
    say: Callable[[str], None] = lambda _: None
    """Told how many outlines got right angles."""

    def make(
        self, path: Path, plan: ExportPlan, floor: ScoreFloor, progress: Callable[[float], None]
    ) -> OutlineStore:
        """Make the outlines of all objects that `floor` keeps, in a new file at `path`."""
        share = 0.5 if self.right_angles > 0.0 else 1.0
        store = make_outlines(
            path,
            plan.run_dir,
            grid=plan.table_grid,
            queries=plan.query_indexes,
            rules=self.rules,
            floor=floor,
            progress=lambda done: progress(share * done),
        )
        if self.right_angles > 0.0:
            done = square_up(
                store,
                MaskReader(plan.run_dir.masks),
                grid=plan.table_grid,
                queries=plan.query_indexes,
                least_iou=self.right_angles,
                progress=lambda done: progress(share + share * done),
            )
            told = f"{done.n_right_angled} of {done.n_right_angled + done.n_as_before} objects"
            store.note = f" ({told})"
            self.say(f"right angles: {told}; the others keep the outlines of their pixels")
        return store


def outline_cleaning(
    request: CleaningRequest, plan: ExportPlan, *, say: Callable[[str], None] = lambda _: None
) -> OutlineCleaning | None:
    """What an export is given. None: outlines stay as they are. `say`: see `OutlineCleaning`. Raises
    InputError as `clean_rules` does.
    """
    if not request.asked:
        return None
    rules = clean_rules(request, plan.table_grid)
    return OutlineCleaning(rules=rules, text=request.text, right_angles=request.right_angles, say=say)


def make_outlines(
    path: Path,
    run_dir: RunDir,
    *,
    grid: RunGrid,
    queries: Sequence[int],
    rules: OutlineRules,
    floor: ScoreFloor,
    progress: Callable[[float], None],
    square_px: int = SQUARE_PX,
) -> OutlineStore:
    """Make the outlines of all objects of the queries that `floor` keeps, in a new file at `path`.

    `progress` is told the share that is done. Raises InputError when the run's rasters or tables cannot be
    read.
    """
    reader = MaskReader(run_dir.masks)
    store = OutlineStore(path, joined)
    squares = list(_squares(grid, square_px))
    for nth, query in enumerate(queries):
        exempt = _exempt_ids(run_dir, query, grid, rules.cleaning.speck_px)
        for at, core in enumerate(squares):
            ids = _clean_core(reader, query, core, grid, rules.cleaning, floor, exempt)
            if ids.any():
                store.add(query, *simple_outlines(ids, (core.row0, core.col0), rules.tolerance_px))
            progress((nth + (at + 1) / len(squares)) / len(queries))
    store.close_pieces()
    return store


def _squares(grid: RunGrid, side_px: int) -> Iterator[Window]:
    for row0 in range(0, grid.height, side_px):
        for col0 in range(0, grid.width, side_px):
            yield Window(
                row0=row0,
                col0=col0,
                row1=min(row0 + side_px, grid.height),
                col1=min(col0 + side_px, grid.width),
            )


def _clean_core(
    reader: MaskReader,
    query: int,
    core: Window,
    grid: RunGrid,
    rules: CleaningRules,
    floor: ScoreFloor,
    exempt: NDArray[np.uint64],
) -> NDArray[np.uint64]:
    """Clean ids of a square: what the whole raster, cleaned at once, would have there."""
    reach = rules.reach_px
    around = Window(
        row0=max(core.row0 - reach, 0),
        col0=max(core.col0 - reach, 0),
        row1=min(core.row1 + reach, grid.height),
        col1=min(core.col1 + reach, grid.width),
    )
    ids = np.asarray(reader.read("instance_id", query, around), dtype=np.uint64)
    if not ids.any():
        return ids
    if floor.min_score > 0.0:
        ids = np.where(floor.left_out(query, ids, reader.read("score", query, around)), np.uint64(0), ids)
    if reach:
        looked_at = reader.read("mask", query, around) != MASK_FILL
        ids = clean_pixels(ids, looked_at, rules, exempt=exempt)
    return ids[core.slices_in(around)]


def _exempt_ids(run_dir: RunDir, query: int, grid: RunGrid, speck_px: int) -> NDArray[np.uint64]:
    """Ids, ascending, of objects without a part that is larger than a speck."""
    if speck_px == 0:
        return np.zeros(0, dtype=np.uint64)
    a, b, _, d, e, _ = grid.transform
    pixel = abs(a * e - b * d)
    found = [np.zeros(0, dtype=np.uint64)]
    for file in part_files(run_dir):
        with open_parquet(file) as table:
            for batch in table.iter_batches(
                batch_size=4096, columns=["instance_id", "query_index", "n_parts", "geometry"]
            ):
                own = batch.filter(
                    pc.and_(pc.equal(batch["query_index"], query), pc.equal(batch["n_parts"], 1))
                )
                parts, owner = shapely.get_parts(
                    shapely.from_wkb(np.asarray(own["geometry"].to_pylist(), dtype=object)), return_index=True
                )
                largest = np.zeros(own.num_rows)
                np.maximum.at(largest, owner, shapely.area(parts) / pixel)
                found.append(own["instance_id"].to_numpy()[largest < speck_px + 0.5])
    return np.unique(np.concatenate(found))
