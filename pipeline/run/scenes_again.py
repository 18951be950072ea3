"""The scenes of a run once more, as its run.json has them, on their places of the run grid."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.grid.lattice import place_scenes
from pipeline.grid.scene_places import OffsetRC
from pipeline.grid.scene_windows import scene_windows
from pipeline.load.prepare_scenes import LoadOptions
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
