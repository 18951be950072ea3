"""Imagery for the pictures of a report. What cannot be read is noted, never shown as black ground.

1. The overview is read scene by scene; one that cannot be read leaves its place black, and a note.
2. A picture of an object or a tile is read whole, or it raises: the report then cuts it from the overview.
3. When the report is written, one note tells how many pictures that befell, and the first reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.load.overview import read_overview
from pipeline.load.prepare_scenes import LoadOptions, SceneSource
from pipeline.load.reader import CogReader
from pipeline.run.closing_notes import Notes
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.report.map.map_ground import PICTURE_PX


@dataclass(frozen=True, kw_only=True)
class Imagery:
    """What pictures of a run are made of."""

    sources: tuple[SceneSource, ...]
    load: LoadOptions


class ReportImagery:
    """Reads what the report shows of one grid."""

    def __init__(self, sources: Sequence[SceneSource], grid: RunGrid, *, load: LoadOptions) -> None:
        self._sources = sources
        self._grid = grid
        self._reader = CogReader(sources, grid, options=load)
        self._n_unread = 0
        self._first = ""

    def overview(self, notes: Notes) -> NDArray[np.uint8] | None:
        """Read the whole grid, (h, w, 3), decimated. None: it could not be made, and a note says why."""
        made = notes.attempt(
            "the overview", lambda: read_overview(self._sources, self._grid, side_px=PICTURE_PX)
        )
        if made is None:
            return None
        if made.left_out:
            scene_id, why = next(iter(made.left_out.items()))
            notes.add(
                f"the overview lacks {len(made.left_out)} of {len(self._sources)} scenes; the first: "
                f"{scene_id}: {why}"
            )
        return made.rgb

    def read_rgb(self, window: Window) -> NDArray[np.uint8]:
        """Read a window of the grid, (h, w, 3). Raises SourceError unless all of it can be read."""
        try:
            return self._reader.read_rgb(window)
        except Exception as error:
            self._n_unread += 1
            self._first = self._first or str(error)
            raise

    def end(self, notes: Notes) -> None:
        """Note what could not be read, and close all files."""
        self._reader.close()
        if self._n_unread:
            notes.add(
                f"the pictures of report.html: {self._n_unread} could not be read, and were cut from the "
                f"overview; the first: {self._first}"
            )


@contextmanager
def report_imagery(
    sources: Sequence[SceneSource], grid: RunGrid, notes: Notes, *, load: LoadOptions
) -> Iterator[ReportImagery]:
    """Open the imagery of a grid, and note at the end what of it could not be read."""
    imagery = ReportImagery(sources, grid, load=load)
    try:
        yield imagery
    finally:
        imagery.end(notes)
