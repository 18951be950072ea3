"""Draw a sample of a finished run, and make the page on which a person reviews it.

1. `plan_assessment` checks the run, reads the frames of every chosen query, and draws.
2. `_placed` gives every unit its place: objects by their published outlines, points by looking up the pixel.
3. The files of the sample are written (`sample_design`), then the page with a chip per unit.

No model is loaded, and the run is only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.assess.draw_units import DrawnStratum, DrawnUnit, Wanted, draw
from pipeline.assess.review_chips import OutlineFinder, ReadWindow, chip_of, unjudged_ground, window_of
from pipeline.assess.review_page import ReviewItem, review_page
from pipeline.assess.sample_design import (
    DESIGN_NAME,
    PAGE_NAME,
    SampleDesign,
    SampleUnit,
    write_design,
)
from pipeline.assess.sampling_frame import (
    FrameOptions,
    GroundFrame,
    GroundReader,
    ObjectsFrame,
    fitting_cell_px,
    read_ground_frame,
    read_objects_frame,
)
from pipeline.errors import InputError, SourceError, without_remedy
from pipeline.evaluate.finished_run.run_ledger import require_published
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.files.output_folder import require_folder, writing_to
from pipeline.run.scenes_again import imagery_again
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.georeference import Geometries, to_pixels
from pipeline.write.report.report_rows import instance_files, rows_where
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import chosen_queries, existing_run
from pipeline.write.run_json import RunInfo, read_run_json

LARGEST_PLAN = 5_000
"""Most units of all queries together: a person answers each, and the page holds a picture of each."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What to draw of which run, and where to."""

    run: str
    out: Path
    queries: tuple[str, ...] = ()
    """Texts of queries. Empty: all of the run."""
    wanted: Wanted = field(default_factory=Wanted)
    cell_px: int | None = None
    """Longest side of a cell. None: as large as the objects ask for."""
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What was drawn."""

    design: SampleDesign
    units: tuple[SampleUnit, ...]
    page: Path
    n_unread: int
    """Units whose imagery could not be read."""


def plan_assessment(request: PlanRequest, *, say: Say = lambda _: None) -> Planned:
    """Draw the sample and write its folder. Raises InputError for a run that cannot be assessed, and for a
    folder that holds another design."""
    _check(request)
    run_dir, info = ended_run(request.run)
    chosen = chosen_queries(info.queries, request.queries)
    strata: dict[int, tuple[DrawnStratum, ...]] = {}
    drawn: dict[int, list[DrawnUnit]] = {}
    frames: dict[int, tuple[ObjectsFrame, GroundFrame]] = {}
    objects = {index: read_objects_frame(run_dir, index) for index in chosen}
    cell_px = request.cell_px or fitting_cell_px(list(objects.values()), info.lattice.core_px)
    options = FrameOptions(cell_px=cell_px)
    for index in chosen:
        say(f'listing what can be drawn for "{info.queries[index]}"')
        frames[index] = (objects[index], read_ground_frame(run_dir, info, index, options))
        own, drawn[index] = draw(*frames[index], request.wanted, seed=request.seed, query_index=index)
        strata[index] = tuple(own)
    design = SampleDesign(
        run=request.run,
        run_id=info.run_id,
        fingerprint=info.fingerprint,
        snapshot=info.snapshot,
        queries=info.queries,
        chosen=chosen,
        seed=request.seed,
        wanted=request.wanted,
        frame=options,
        strata=strata,
    )
    _require_some(sum(map(len, drawn.values())))
    units = [
        unit
        for index in chosen
        for unit in _Placer(run_dir, info, design, index, frames[index]).placed(drawn[index])
    ]
    with writing_to(request.out):
        request.out.mkdir(parents=True, exist_ok=True)
        (request.out / DESIGN_NAME).unlink(missing_ok=True)
        n_unread = _write_page(request.out / PAGE_NAME, run_dir, info, design, units, say)
        write_design(request.out, design, units, info.lattice.grid)  # last: without it there is no sample
    return Planned(design=design, units=tuple(units), page=request.out / PAGE_NAME, n_unread=n_unread)


def ended_run(place: str) -> tuple[RunDir, RunInfo]:
    """Open a run that has published. Raises InputError for any other, and for one of several zones."""
    run_dir = existing_run(place, what="an assessment")
    info = read_run_json(run_dir.run_json)
    require_published(run_dir.path)
    return run_dir, info


class _Placer:
    """Gives the units of one query their places on the run grid."""

    def __init__(
        self,
        run_dir: RunDir,
        info: RunInfo,
        design: SampleDesign,
        query_index: int,
        frames: tuple[ObjectsFrame, GroundFrame],
    ) -> None:
        self._run_dir = run_dir
        self._grid = info.lattice.grid
        self._design = design
        self._query_index = query_index
        self._objects, self._ground = frames
        self._reader = GroundReader(run_dir, info, query_index, design.frame)

    def placed(self, drawn: Sequence[DrawnUnit]) -> list[SampleUnit]:
        """Place units, in their order."""
        ids = [int(self._objects.instance_id[each.row]) for each in drawn if each.kind == "object"]
        shapes = read_shapes(self._run_dir, self._grid, self._query_index, ids)
        orders = {"object": 0, "cell": 0, "point": 0}
        units = []
        for each in drawn:
            window, shape, name = self._place(each, shapes)
            number = orders[each.kind]
            orders[each.kind] += 1
            units.append(
                SampleUnit(
                    unit_id=f"{self._design.design_id}-{self._query_index}{each.kind[0]}{number:05d}",
                    kind=each.kind,
                    query_index=self._query_index,
                    stratum=self._design.strata[self._query_index][each.stratum],
                    review_order=number,
                    window=window,
                    shape_px=shape,
                    instance_id=name,
                    score=None if name is None else float(self._objects.score[each.row]),
                )
            )
        return units

    def _place(
        self, each: DrawnUnit, shapes: dict[int, shapely.Geometry]
    ) -> tuple[Window, shapely.Geometry, int | None]:
        if each.kind == "object":
            name = int(self._objects.instance_id[each.row])
            x0, y0, x1, y1 = shapely.bounds(shapes[name]).tolist()
            window = Window(row0=int(y0), col0=int(x0), row1=int(np.ceil(y1)), col1=int(np.ceil(x1)))
            return window, shapes[name], name
        row0, col0, row1, col1 = self._ground.window[each.row].tolist()
        cell = Window(row0=row0, col0=col0, row1=row1, col1=col1)
        if each.kind == "cell":
            return cell, shapely.box(col0, row0, col1, row1), None
        same = np.flatnonzero(self._reader.classes(cell) == each.pixel_class)
        row, col = divmod(int(same[each.ordinal]), cell.width)
        pixel = Window(row0=row0 + row, col0=col0 + col, row1=row0 + row + 1, col1=col0 + col + 1)
        return pixel, shapely.Point(pixel.col0 + 0.5, pixel.row0 + 0.5), None


def read_shapes(
    run_dir: RunDir, grid: RunGrid, query_index: int, ids: Sequence[int]
) -> dict[int, shapely.Geometry]:
    """Read the outlines of some objects in pixel edges of the run grid; parts of one object are joined."""
    parts: dict[int, list[shapely.Geometry]] = {}
    wanted = np.asarray(sorted(ids), dtype=np.uint64)

    def mine(rows: pa.Table) -> NDArray[np.bool_]:
        asked = (rows["query_index"].to_numpy() == query_index) & np.isin(
            rows["instance_id"].to_numpy(), wanted
        )
        return np.asarray(asked)

    for path in instance_files(run_dir) if ids else ():
        for batch in rows_where(
            path, mine, by=("query_index", "instance_id"), columns=("instance_id", "geometry")
        ):
            shapes: Geometries = to_pixels(
                shapely.from_wkb(batch["geometry"].to_numpy(zero_copy_only=False)), grid
            )
            for name, shape in zip(batch["instance_id"].to_pylist(), shapes, strict=True):
                parts.setdefault(int(name), []).append(shape)
    return {name: each[0] if len(each) == 1 else shapely.union_all(each) for name, each in parts.items()}


def _check(request: PlanRequest) -> None:
    require_folder(request.out)
    if (request.out / DESIGN_NAME).exists() and not request.overwrite:
        raise InputError(
            f"a design is not replaced unasked: {request.out}",
            came=DESIGN_NAME,
            remedy="add --overwrite (answers to its page then count for nothing), or give another --out",
        )


def _require_some(n_units: int) -> None:
    if not n_units:
        raise InputError(
            "an assessment needs ground or objects to draw from",
            came="a run in which nothing was judged",
            remedy="see with jobs/explain_run.py why its tiles failed or were left out",
        )
    if n_units > LARGEST_PLAN:
        raise InputError(
            f"a sample must have at most {LARGEST_PLAN} units, for a person answers each",
            came=str(n_units),
            remedy="choose queries with --query, or smaller --objects, --cells and --points",
        )


@contextmanager
def open_imagery(info: RunInfo) -> Iterator[ReadWindow]:
    """Open the imagery of a run. Where it is gone, every read raises SourceError."""
    with ExitStack() as opened:
        try:
            reader = opened.enter_context(imagery_again(info))
        except SourceError as error:
            gone = without_remedy(str(error))

            def nothing(_: Window) -> NDArray[np.uint8]:
                raise SourceError(gone)

            yield nothing
            return
        yield reader.read_rgb


def _write_page(
    page: Path,
    run_dir: RunDir,
    info: RunInfo,
    design: SampleDesign,
    units: Sequence[SampleUnit],
    say: Say,
) -> int:
    """Make the page; returns the number of units whose imagery could not be read."""
    grid = info.lattice.grid
    items = []
    with open_imagery(info) as read:
        for index in design.chosen:
            mine = [unit for unit in units if unit.query_index == index]
            windows = [window_of(unit, grid) for unit in mine]
            ground = GroundReader(run_dir, info, index, design.frame)
            finder = OutlineFinder(run_dir, grid, index, windows)
            say(f'cutting {len(mine)} pictures for "{info.queries[index]}"')
            for unit, window in zip(mine, windows, strict=True):
                cell = unit.kind == "cell"
                left = unjudged_ground(ground.classes(unit.window), unit.window) if cell else []
                chip = chip_of(unit, window, finder.within(window), read, unjudged=left)
                items.append(ReviewItem(unit=unit, chip=chip))
    write_bytes_atomic(page, review_page(design, items).encode())
    return sum(bool(item.chip.problem) for item in items)
