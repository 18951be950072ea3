"""The scenes of a run once more, as its run.json has them, on their places of the run grid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.grid.lattice import place_scenes
from pipeline.grid.scene_places import OffsetRC
from pipeline.grid.scene_windows import scene_windows
from pipeline.load.prepare_scenes import LoadOptions, prepare_scenes
from pipeline.load.reader import CogReader
from pipeline.options import parse_table
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import Window
from pipeline.write.run_json import RunInfo


@dataclass(frozen=True, kw_only=True)
class PlacedScenes:
    """Scenes in order of priority, where the plan puts them, and how they are read."""

    scenes: tuple[Scene, ...]
    offsets: tuple[OffsetRC | None, ...]
    """Per scene, (row, col) of its first pixel on the run grid. None: it is warped."""
    windows: tuple[Window, ...]
    """Per scene, the window of the run grid that it can fill."""
    load: LoadOptions


def scenes_again(info: RunInfo) -> PlacedScenes:
    """Place the scenes of a run again. Raises InputError."""
    stored = {key: value for key, value in info.parameters["load"].items() if value is not None}
    found = [info.stretches.get(scene.scene_id, {}).get("offset_rc") for scene in info.scenes]
    offsets = tuple(None if offset is None else (int(offset[0]), int(offset[1])) for offset in found)
    grid = info.lattice.grid
    return PlacedScenes(
        scenes=info.scenes,
        offsets=offsets,
        windows=scene_windows(offsets, place_scenes(info.scenes, grid).outlines, grid),
        load=parse_table(LoadOptions, stored, "parameters.load"),
    )


@contextmanager
def imagery_again(info: RunInfo) -> Iterator[CogReader]:
    """Open the imagery of a run, to be read as the run read it. Raises InputError, and SourceError where the
    imagery is gone."""
    placed = scenes_again(info)
    sources = prepare_scenes(placed.scenes, placed.load, offsets=placed.offsets, windows=placed.windows)
    reader = CogReader(sources, info.lattice.grid, options=placed.load)
    try:
        yield reader
    finally:
        reader.close()
