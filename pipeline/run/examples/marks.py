"""Marks: points or outlines of a vector file, each of which says yes or no.

The column that says so is the one in which every feature has such a value; where there are several, it is the
one named `mark`. Edits of a run (edits.parquet, by jobs/edit_run.py) are marks, too: what was accepted,
redrawn or added says yes, and what was rejected no.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError
from pipeline.prompt.vector_prompter import Location, VectorPrompter
from pipeline.run.config import RunConfig
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.segment.mask_ranker import MIN_MARKS

COLUMN = "mark"
"""Name of the column that counts where several could."""

_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False} | {
    "accept": True,
    "redraw": True,
    "add": True,
    "reject": False,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Mark:
    """One marked place."""

    index: int
    """Its place among the locations of the file."""
    location: Location
    yes: bool

    def tile(self, lattice: TileLattice) -> tuple[int, int]:
        """Row and column of the tile that owns its middle."""
        middle = self.location.geometry.representative_point()
        grid = lattice.grid
        row = min(max(int(middle.y), 0), grid.height - 1)
        col = min(max(int(middle.x), 0), grid.width - 1)
        return row // lattice.core_px, col // lattice.core_px


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedMarks:
    """The marks of a file that lie on the run grid."""

    places: VectorPrompter
    marks: tuple[Mark, ...]
    notes: tuple[str, ...]


def read_marks(path: str, grid: RunGrid) -> PlacedMarks:
    """Read the file.

    Raises InputError as `VectorPrompter` does, where no column says yes or no throughout, and where fewer
    than MIN_MARKS of a kind lie on the grid.
    """
    places = VectorPrompter(path, grid, what="the file of --examples")
    locations = places.locations
    column = mark_column([location.attributes for location in locations], path)
    marks = tuple(
        Mark(index=index, location=location, yes=_said(location.attributes[column]) is True)
        for index, location in enumerate(locations)
    )
    n_yes = sum(mark.yes for mark in marks)
    if min(n_yes, len(marks) - n_yes) < MIN_MARKS:
        raise InputError(
            f"--examples needs at least {MIN_MARKS} marks that say yes and {MIN_MARKS} that say no, on the "
            "imagery",
            came=f"{n_yes} yes and {len(marks) - n_yes} no in column {column!r} of {path}",
            remedy="mark more; 10 to 25 of each are good",
        )
    return PlacedMarks(places=places, marks=marks, notes=places.notes)


def mark_column(rows: Sequence[Mapping[str, Any]], path: str) -> str:
    """Find the column that says yes or no in every row. Raises InputError for none, or for several."""
    names = [str(name) for name in rows[0]]
    found = [name for name in names if all(_said(row.get(name)) is not None for row in rows)]
    if COLUMN in found:
        return COLUMN
    if len(found) == 1:
        return found[0]
    raise InputError(
        "marks need one column that says yes or no (or true/false, 1/0) for every feature",
        came=f"{path} with columns {', '.join(names) or 'of no name'}, of which "
        f"{', '.join(found) if found else 'none'} could be it",
        remedy=f"call it {COLUMN}, and fill it everywhere",
    )


def _said(value: Any) -> bool | None:
    """What a value says. None: neither yes nor no."""
    text = str(int(value)) if isinstance(value, float) and value in (0.0, 1.0) else str(value)
    return _WORDS.get(text.strip().lower())


def check_examples(config: RunConfig, grid: RunGrid) -> tuple[str, ...]:
    """Check marks and models without loading one, and return what a user should know. Raises InputError."""
    options = config.preset.examples
    if config.segmenter.crop_share and (options.on or config.prompter.kind == "grid"):
        raise InputError(
            "crops are for prompts with boxes, and not for a grid of points or for examples",
            came=f"crop_share = {config.segmenter.crop_share:g} under [segmenter]",
            remedy="leave it out",
        )
    if config.segmenter.dual is not None and (options.on or config.prompter.kind == "grid"):
        raise InputError(
            "--everything and --examples need a segmenter that is prompted itself",
            came="two routes ([segmenter.dual])",
            remedy="leave [segmenter.dual] out",
        )
    if not options.on:
        return ()
    if config.segmenter.kind in ("oracle", "mask-model"):
        raise InputError(
            "--examples needs a segmenter that looks at pixels, and tells of them",
            came="a mask model" if config.segmenter.mask_model else "answers from a label raster",
            remedy="drop --models oracle:... or [mask_model], or --examples",
        )
    if config.verifier.on:
        raise InputError(
            "--examples judges masks in place of the verifier",
            came="both",
            remedy='set mode = "off" under [verifier], or drop --examples',
        )
    marks = read_marks(options.marks, grid)
    return marks.notes
