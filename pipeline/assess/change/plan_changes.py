"""From a comparison to a sample of points and the page on which a person looks at both dates.

1. `comparison_of` reads summary.json and opens both runs. A comparison whose runs have changed since is
   refused.
2. Points are drawn by strata (`change_frame`), the same for the same seed.
3. Each point gets the same window of both dates, without outlines: who knows what the comparison says there
   agrees with it too often (Olofsson et al., Remote Sensing of Environment 148, 2014).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely

from pipeline.assess.change.change_frame import (
    ChangeFrame,
    ChangeReader,
    change_strata,
    read_change_frame,
)
from pipeline.assess.draw_units import DrawnUnit, Wanted, draw_kind
from pipeline.assess.plan_run import Planned, Say, open_imagery
from pipeline.assess.review_chips import POINT_PX, ReadWindow, ReviewChip, chip_of
from pipeline.assess.review_page import ReviewItem, review_page
from pipeline.assess.sample_design import DESIGN_NAME, PAGE_NAME, SampleDesign, SampleUnit, write_design
from pipeline.assess.sampling_frame import FrameOptions
from pipeline.compare.run_pair import RunPair, pair_of
from pipeline.errors import InputError
from pipeline.files.atomic_file import write_bytes_atomic
from pipeline.files.output_folder import require_folder, writing_to
from pipeline.schema.tiling import Window

SUMMARY = "summary.json"
RASTER = "changes.tif"
MOST_POINTS = 5000
"""Largest sample: a person answers each point."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A folder of `jobs/compare_runs.py`, and the runs that it compared."""

    folder: Path
    pair: RunPair
    fingerprint: str
    """Of its summary and raster."""


@dataclass(frozen=True, kw_only=True)
class ChangePlanRequest:
    """What to draw of which comparison, and where to."""

    comparison: Path
    out: Path
    points: int = 250
    seed: int = 0
    overwrite: bool = False


def is_comparison(place: str) -> bool:
    """Whether a place is a folder of a comparison."""
    return all((Path(place) / name).is_file() for name in (SUMMARY, RASTER))


def comparison_of(folder: Path) -> Comparison:
    """Open a comparison. Raises InputError where its files are damaged, or its runs gone or changed."""
    again = "compare again: python jobs/compare_runs.py BEFORE AFTER --out DIR --overwrite"
    try:
        summary = (folder / SUMMARY).read_bytes()
        document = json.loads(summary)
        runs = [document[date] for date in ("before", "after")]
        pair = pair_of(runs[0]["run"], runs[1]["run"], document["query"])
        raster = hashlib.sha256((folder / RASTER).read_bytes()).digest()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} must be a comparison", came=repr(error), remedy=again) from error
    for told, run in zip(runs, (pair.before, pair.after), strict=True):
        if told["fingerprint"] != run.info.fingerprint:
            raise InputError(
                "a comparison is assessed with the runs that it compared",
                came=f"another run in {run.run_dir.path}: {run.info.run_id}, compared was {told['run_id']}",
                remedy=again,
            )
    return Comparison(folder=folder, pair=pair, fingerprint=hashlib.sha256(summary + raster).hexdigest())


def plan_changes(request: ChangePlanRequest, *, say: Say = lambda _: None) -> Planned:
    """Draw the sample and write its folder. Raises InputError for what is no comparison, and for a folder
    that holds another design."""
    _check(request)
    comparison = comparison_of(request.comparison)
    pair = comparison.pair
    origin_rc = pair.window.row0, pair.window.col0
    reader = ChangeReader(comparison.folder / RASTER)
    try:
        say(f'counting what was compared for "{pair.query}"')
        frame = read_change_frame(reader, pair.grid, origin_rc)
        if not len(frame.px_m2):
            raise InputError(
                "an assessment needs ground that was judged at both dates",
                came=f"none in {comparison.folder}",
                remedy="see changes.html: why nothing could be compared",
            )
        rng = np.random.default_rng([request.seed, 0])
        strata, drawn = draw_kind("change", change_strata(frame), request.points, rng)
        design = SampleDesign(
            run=str(request.comparison),
            run_id=f"{pair.before.info.run_id} to {pair.after.info.run_id}",
            fingerprint=comparison.fingerprint,
            snapshot="",
            queries=(pair.query,),
            chosen=(0,),
            seed=request.seed,
            wanted=Wanted(objects=0, cells=0, points=request.points),
            frame=FrameOptions(),
            strata={0: tuple(strata)},
        )
        units = list(_placed(design, drawn, frame, reader, origin_rc))
    finally:
        reader.close()
    say(f'cutting {len(units)} pairs of pictures for "{pair.query}"')
    items = _items(units, pair)
    with writing_to(request.out):
        request.out.mkdir(parents=True, exist_ok=True)
        (request.out / DESIGN_NAME).unlink(missing_ok=True)
        write_bytes_atomic(request.out / PAGE_NAME, review_page(design, items).encode())
        write_design(request.out, design, units, pair.grid)  # last: without it there is no sample
    n_unread = sum(bool(item.chip.problem) for item in items)
    return Planned(design=design, units=tuple(units), page=request.out / PAGE_NAME, n_unread=n_unread)


def _check(request: ChangePlanRequest) -> None:
    require_folder(request.out)
    if not 1 <= request.points <= MOST_POINTS:
        raise InputError(
            f"--points of a comparison must be 1 to {MOST_POINTS}: a person looks at each",
            came=str(request.points),
            remedy="leave it out for 250",
        )
    if (request.out / DESIGN_NAME).exists() and not request.overwrite:
        raise InputError(
            f"a design is not replaced unasked: {request.out}",
            came=DESIGN_NAME,
            remedy="add --overwrite (answers to its page then count for nothing), or give another --out",
        )


def _placed(
    design: SampleDesign,
    drawn: Sequence[DrawnUnit],
    frame: ChangeFrame,
    reader: ChangeReader,
    origin_rc: tuple[int, int],
) -> Iterator[SampleUnit]:
    """Find the pixel of every unit, on the grid of the first run."""
    for number, each in enumerate(drawn):
        row0, col0, row1, col1 = frame.window[each.row].tolist()
        square = Window(row0=row0, col0=col0, row1=row1, col1=col1)
        same = np.flatnonzero(reader.classes(square) == each.pixel_class)
        row, col = divmod(int(same[each.ordinal]), square.width)
        row += row0 + origin_rc[0]
        col += col0 + origin_rc[1]
        yield SampleUnit(
            unit_id=f"{design.design_id}-0d{number:05d}",
            kind="change",
            query_index=0,
            stratum=design.strata[0][each.stratum],
            review_order=number,
            window=Window(row0=row, col0=col, row1=row + 1, col1=col + 1),
            shape_px=shapely.Point(col + 0.5, row + 0.5),
        )


def _items(units: Sequence[SampleUnit], pair: RunPair) -> list[ReviewItem]:
    with open_imagery(pair.before.info) as before, open_imagery(pair.after.info) as after:
        return [ReviewItem(unit=unit, chip=_chip(unit, pair, before, after)) for unit in units]


def _chip(unit: SampleUnit, pair: RunPair, before: ReadWindow, after: ReadWindow) -> ReviewChip:
    """The pictures of both dates. Where one cannot be read, its date is said."""
    common = pair.window
    margin = POINT_PX // 2
    window = Window(
        row0=max(unit.window.row0 - margin, common.row0),
        col0=max(unit.window.col0 - margin, common.col0),
        row1=min(unit.window.row1 + margin, common.row1),
        col1=min(unit.window.col1 + margin, common.col1),
    )
    first = chip_of(unit, window, (), before)
    second = chip_of(unit, window, (), lambda wanted: after(pair.in_after(wanted)))
    told = [
        f"{date} date: {chip.problem}"
        for date, chip in (("first", first), ("second", second))
        if chip.problem
    ]
    return replace(first, later=second.jpeg, problem="; ".join(told))
