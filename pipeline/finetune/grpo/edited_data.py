"""Make training data from a run that a person corrected: the tiles whose objects all have a mark.

1. `write_edited` goes through the tiles that the run looked at, query by query. The image is the tile's read
   window, as the models saw it, without strips that nothing was judged in.
2. A tile counts when every object of the query in it was accepted, rejected or redrawn, and at least one mark
   lies in it. In any other tile nobody knows what is right.
3. The mask holds what was accepted, as published, what was redrawn, and what was added. If that is nothing,
   the target is not there: that is how a prompter learns to stay silent.

What the run missed is known only where it was added: a person who marks should look at whole tiles.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import InputError, SourceError
from pipeline.evaluate.finished_run.run_ledger import require_published
from pipeline.files.atomic_file import atomic_path, write_bytes_atomic
from pipeline.finetune.grpo.grpo_data import TABLE
from pipeline.load.reader import CogReader
from pipeline.run.scenes_again import imagery_again
from pipeline.schema.tiling import TileSpec, Window
from pipeline.write.edit_layer import REDRAW, REJECT, edits_path
from pipeline.write.export.edited_instances import EditedInstances, find_edited
from pipeline.write.export.mask_reader import MaskReader
from pipeline.write.georeference import to_pixels
from pipeline.write.masks_zarr import MASK_FILL
from pipeline.write.plan_table import read_inside
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import existing_run
from pipeline.write.run_json import RunInfo, read_run_json

MIN_TARGET_PX = 64
"""A mask with fewer pixels is a sliver at the border, and no fair target."""


_FATES = ("present", "absent", "open", "slivers", "unjudged", "unread")


@dataclass(frozen=True, kw_only=True)
class EditedTiles:
    """What became of the tiles in which a mark lies."""

    folder: Path
    """Holds the table, images and masks."""
    n_present: int
    """Queries whose target is in the tile."""
    n_absent: int
    """Queries whose target is not there."""
    n_open: int
    """Left out: an object without a mark lies in the tile."""
    n_slivers: int
    """Left out: less than MIN_TARGET_PX of the target lies in the tile."""
    n_unjudged: int
    """Left out: some of the tile was not judged, as at the border of the area of interest."""
    n_unread: int
    """Left out: the imagery could not be read any more."""

    def text(self) -> str:
        """Say it in a line."""
        left = {
            "with objects that have no mark": self.n_open,
            "with a sliver of the target": self.n_slivers,
            "of which not all was judged": self.n_unjudged,
            "whose imagery cannot be read": self.n_unread,
        }
        told = "".join(f", {n} {why}" for why, n in left.items() if n)
        here = f"{self.n_present} tiles with the target, {self.n_absent} without it"
        return f"{here}; left out{told[1:]}" if told else here


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answer:
    """What people said of the objects of one query in one window."""

    target: NDArray[np.bool_]
    """(h, w)"""
    is_marked: bool
    """A mark lies in the window."""
    is_complete: bool
    """Every object in it has a mark."""


def write_edited(run: str, beside: Path) -> EditedTiles:
    """Write the questions of a corrected run into a folder beside `beside`, named by the edits themselves, so
    that more edits make another folder.

    run: a run directory with edits.parquet (`jobs/edit_run.py`). Raises InputError for a run without edits,
    one of several zones, imagery that cannot be opened, and edits of which no tile has all objects marked.
    """
    run_dir = existing_run(run, what="--data edits:RUN")
    info = read_run_json(run_dir.run_json)
    require_published(run_dir.path)
    edited = find_edited(run_dir, info.queries, range(len(info.queries)))
    if edited is None:
        raise InputError(
            "--data edits:RUN needs a run with edits",
            came=f"{run} without {edits_path(run_dir).name}",
            remedy="mark objects of an export and keep the marks: python jobs/edit_run.py RUN --edits FILE",
        )
    state = edits_path(run_dir).read_bytes() + info.fingerprint.encode() + str(info.snapshot).encode()
    folder = beside.parent / f"{beside.name}-edits-{hashlib.sha256(state).hexdigest()[:8]}"
    try:
        with imagery_again(info) as reader:
            told = _EditedTileWriter(folder, run_dir, info, edited, reader).write()
    except SourceError as error:
        raise InputError(
            "the imagery of the run must still be there",
            came=str(error),
            remedy="put it back where the run read it",
        ) from error
    if not told.n_present + told.n_absent:
        raise InputError(
            "at least one tile must have a mark on every object in it",
            came=told.text(),
            remedy="mark the other objects of such tiles, too: accept, reject or redraw",
        )
    return told


class _EditedTileWriter:
    """Writes tile after tile, and counts."""

    def __init__(
        self, folder: Path, run_dir: RunDir, info: RunInfo, edited: EditedInstances, reader: CogReader
    ) -> None:
        self._folder = folder
        self._info = info
        self._edited = edited
        self._reader = reader
        self._masks = MaskReader(run_dir.masks)
        self._inside = read_inside(run_dir.plan, info.lattice)
        grid = info.lattice.grid
        self._redrawn = {
            name: to_pixels([shape], grid)[0]
            for name, shape in edited.outlines.items()
            if edited.actions[name] == REDRAW
        }
        self._added = [(query, to_pixels([shape], grid)[0]) for query, _, shape in edited.added]
        self._counts = dict.fromkeys(_FATES, 0)

    def write(self) -> EditedTiles:
        """Write images, masks and, at last, the table."""
        rows = [row for tile in self._tiles() for row in self._rows(tile)]
        if rows:
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_bytes_atomic(self._folder / TABLE, lines.encode())
        return EditedTiles(folder=self._folder, **{f"n_{name}": n for name, n in self._counts.items()})

    def _tiles(self) -> Iterator[TileSpec]:
        for row, col in np.argwhere(self._inside).tolist():
            yield self._info.lattice.tile(row, col)

    def _rows(self, tile: TileSpec) -> Iterator[dict[str, str | None]]:
        """The questions of one tile. Its image is written with the first of them."""
        for query, text in enumerate(self._info.queries):
            window = judged_part(self._masks.read("mask", query, tile.read) != MASK_FILL, tile)
            answer = self._answer(query, window or tile.read)
            if not answer.is_marked:
                continue
            fate = "unjudged" if window is None else _fate(answer)
            name = f"{tile.tile_id}_{query}.png"
            if fate in ("present", "absent"):
                try:
                    rgb = self._reader.read_rgb(window or tile.read)
                except SourceError:
                    fate = "unread"
            self._counts[fate] += 1
            if fate not in ("present", "absent"):
                continue
            _write_image(self._folder / "images" / name, rgb)
            if fate == "present":
                _write_image(self._folder / "masks" / name, answer.target.astype(np.uint8) * 255)
            mask = f"masks/{name}" if fate == "present" else None
            yield {"image": f"images/{name}", "mask": mask, "question": text}

    def _answer(self, query: int, window: Window) -> _Answer:
        ids = self._masks.read("instance_id", query, window)
        present = np.unique(ids[ids > 0]).tolist()
        said = {number: self._edited.actions.get((query, number)) for number in present}
        view = shapely.box(window.col0, window.row0, window.col1, window.row1)
        drawn = [shape for (asked, _), shape in self._redrawn.items() if asked == query]
        drawn += [shape for asked, shape in self._added if asked == query]
        seen = [shape for shape in drawn if shape.intersects(view)]
        kept = [number for number, action in said.items() if action not in (None, REJECT, REDRAW)]
        return _Answer(
            target=np.isin(ids, kept) | _burnt(seen, window),
            is_marked=bool(seen) or any(action is not None for action in said.values()),
            is_complete=None not in said.values(),
        )


def judged_part(judged: NDArray[np.bool_], tile: TileSpec) -> Window | None:
    """Cut strips without a judgement off a tile's read window.

    judged: (h, w) of the read window. None: some of the core was not judged. Otherwise the largest rows, then
    columns, around the core in which everything was.
    """
    read = tile.read
    core = tile.core
    rows = np.asarray(judged[:, core.col0 - read.col0 : core.col1 - read.col0].all(axis=1))
    span = _run_around(rows, core.row0 - read.row0, core.row1 - read.row0)
    if span is None:
        return None
    cols = np.asarray(judged[span[0] : span[1]].all(axis=0))
    wide = _run_around(cols, core.col0 - read.col0, core.col1 - read.col0)
    assert wide is not None, "the core's columns are judged in the core's rows"
    return Window(
        row0=read.row0 + span[0], col0=read.col0 + wide[0], row1=read.row0 + span[1], col1=read.col0 + wide[1]
    )


def _run_around(true: NDArray[np.bool_], start: int, stop: int) -> tuple[int, int] | None:
    """The longest run of True that holds start..stop. None: not all of that is True."""
    if not true[start:stop].all():
        return None
    before = np.flatnonzero(~true[:start])
    after = np.flatnonzero(~true[stop:])
    first = int(before[-1]) + 1 if len(before) else 0
    return first, stop + int(after[0]) if len(after) else len(true)


def _fate(answer: _Answer) -> str:
    if not answer.is_complete:
        return "open"
    n = int(answer.target.sum())
    return "present" if n >= MIN_TARGET_PX else "slivers" if n else "absent"


def _burnt(shapes: Sequence[shapely.Geometry], window: Window) -> NDArray[np.bool_]:
    """Mark the pixels (h, w) of a window whose middle lies in one of the shapes."""
    if not shapes:
        return np.zeros(window.shape, dtype=np.bool_)
    moved = Affine.translation(window.col0, window.row0)
    burnt = rasterio.features.rasterize(shapes, out_shape=window.shape, transform=moved, dtype="uint8")
    return np.asarray(burnt, dtype=np.bool_)


def _write_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
