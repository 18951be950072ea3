"""What an earlier start of a run knows of its scenes, so that the run can go on when some cannot be read.

1. Unreadable then, readable now: the run goes on, on the grid that it has. Tiles that needed the scene are
   done again (`needed_unread`), and the others stay.
2. Unreadable then and now: nothing changes.
3. Readable then, unreadable now: tiles that are done stay. The scene keeps the place that its header gave it
   (`with_places`), and new tiles that need it fail.
4. Readable then and now, with other content: the run is refused (`require_same_pins`), also when there was a
   start between that could not read it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import InputError, RunMismatchError
from pipeline.files.fingerprint import canonical, describe_difference
from pipeline.run.scene_pins import pins_of
from pipeline.schema.imagery import Scene
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.schema.tiling import RunGrid
from pipeline.write.records.block_records import BlockSummaries
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import read_run_json


@dataclass(frozen=True, kw_only=True)
class EarlierStart:
    """What run.json of the same directory says."""

    fingerprint: str
    parameters: Mapping[str, Any]
    grid: RunGrid
    scenes: Mapping[str, Scene]
    """scene_id -> scene, as far as it is known."""
    pins: Mapping[str, Mapping[str, Any]]
    """scene_id -> what pins it, of scenes of catalogues that some start could read (`scene_pins.pins_of`)."""
    unread: frozenset[str]
    """scene_ids of those that some start could not read."""

    def with_places(self, scenes: Sequence[Scene]) -> tuple[Scene, ...]:
        """Give scenes that cannot be read now the place and the content that an earlier start has seen."""
        return tuple(
            replace(self.scenes[scene.scene_id], access=scene.access, failure=scene.failure)
            if scene.failure and scene.scene_id in self.pins and scene.scene_id in self.scenes
            else scene
            for scene in scenes
        )

    def grid_for(self, scenes: Iterable[Scene], asked: Mapping[str, Any]) -> RunGrid | None:
        """The grid to go on with. None: all scenes could be read then and now, so it comes out again, or
        `asked` (parameters of the area, the grid and the tiles) is not what was asked then.

        The place of a scene that cannot be read may be a guess, and the grid of the run with it.
        """
        now = {scene.scene_id for scene in scenes if scene.failure}
        if not now and not self.unread:
            return None
        same = all(canonical(self._asked(key, value)) == canonical(value) for key, value in asked.items())
        return self.grid if same else None

    def _asked(self, key: str, value: Any) -> Any:
        """A parameter of then; of a table the keys that `value` has."""
        before = self.parameters.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            return {name: before.get(name) for name in value}
        return before


def earlier_start(run_dir: RunDir) -> EarlierStart | None:
    """Read what is known. None: no run on one grid has begun there; `RunDir.check` says what is wrong."""
    if not run_dir.run_json.is_file():
        return None
    try:
        info = read_run_json(run_dir.run_json)
    except InputError:
        return None
    return EarlierStart(
        fingerprint=info.fingerprint,
        parameters=info.parameters,
        grid=info.lattice.grid,
        scenes={scene.scene_id: scene for scene in info.scenes},
        pins=info.pins,
        unread=frozenset(info.unread),
    )


def require_same_pins(run_dir: RunDir, earlier: EarlierStart | None, scenes: Iterable[Scene]) -> None:
    """Check that scenes have the content that an earlier start has seen. Raises RunMismatchError."""
    if earlier is None:
        return
    now = pins_of(scenes)
    before = {name: pinned for name, pinned in earlier.pins.items() if name in now}
    both = {name: now[name] for name in before}
    difference = describe_difference({"scenes": before}, {"scenes": both})
    if difference:
        raise RunMismatchError(
            f"{run_dir.path} holds a run that has read other content of a scene",
            came=difference,
            remedy="give another --out, or --new-run to begin again here",
        )


def needed_unread(summaries: BlockSummaries, scene_ids: Collection[str]) -> bool:
    """Whether a tile of a block failed because one of these scenes could not be read (`CogReader` begins the
    error with its id).
    """
    return any(
        tile.status is TileStatus.FAILED
        and tile.reason is Reason.UNREADABLE
        and any(tile.error.startswith(f"{name}: ") for name in scene_ids)
        for tile in summaries.tiles
    )
