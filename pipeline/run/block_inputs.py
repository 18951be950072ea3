"""What the result of a block follows from, and so which blocks are done again when a run changes.

1. All blocks of a run share its models, queries, options and grid: all parameters but those of the ground
   (`shared_parameters`).
2. A block's own inputs are its tiles that are looked at, and the scenes that reach its read window, in order
   of priority, each with its content and the part of the window that it can fill. Scenes of catalogues are
   named, and their content is pinned in run.json (`scene_pins`), as in the run's fingerprint.
3. The key of a block is the hash of both. An area or a scene that does not reach a block changes nothing of
   it, and so its record stays.

How a scene's values become grey levels follows from its file and the options alone (`prepare_scenes`), so it
needs no entry of its own. The area decides which tiles are looked at. Where it cuts them counts in phase two
only.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files.fingerprint import fingerprint
from pipeline.grid.tiles import Plan
from pipeline.load.prepare_scenes import of_catalog
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import TileLattice, Window, block_place
from pipeline.write.changing_parameters import shared_parameters
from pipeline.write.records.record_keys import AlikeKeys, BlockKey, RecordKeys
from pipeline.write.run_json import RunInfo

_DIGITS = 32
"""Hexadecimal digits that stand for the content of a scene."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockInputs:
    """`RecordKeys` of a run: the inputs of every block, made when they are asked for. Small and picklable."""

    shared: str
    """Fingerprint of what all blocks share."""
    lattice: TileLattice
    inside: NDArray[np.bool_]
    """(n_tile_rows, n_tile_cols) tiles that are looked at."""
    scene_ids: tuple[str, ...]
    contents: tuple[str, ...]
    """Per scene, a hash of what the fingerprint says of it."""
    windows: NDArray[np.int64]
    """(n, 4) row0, col0, row1, col1 of the run grid: what each scene can fill."""

    def of(self, block_id: str) -> BlockKey | None:
        """Give the key of a block. None: no tile of it is looked at."""
        row, col = block_place(block_id)
        k = self.lattice.block_tiles
        looked_at = self.inside[row * k : (row + 1) * k, col * k : (col + 1) * k]
        if not looked_at.any():
            return None
        rows, cols = np.nonzero(looked_at)
        read = Window.around(
            [
                self.lattice.tile(row * k + int(r), col * k + int(c)).read
                for r, c in ((rows.min(), cols.min()), (rows.max(), cols.max()))
            ]
        )
        parts = np.column_stack(
            [
                np.maximum(self.windows[:, :2], (read.row0, read.col0)),
                np.minimum(self.windows[:, 2:], (read.row1, read.col1)),
            ]
        )
        here = np.flatnonzero((parts[:, 0] < parts[:, 2]) & (parts[:, 1] < parts[:, 3])).tolist()
        inputs = {
            "run": self.shared,
            "block": block_id,
            "tiles": ["".join("01"[tile] for tile in line) for line in looked_at.astype(int).tolist()],
            "scenes": [
                [self.scene_ids[number], self.contents[number], parts[number].tolist()] for number in here
            ],
        }
        text = json.dumps(inputs, ensure_ascii=False, separators=(",", ":"))
        key = hashlib.sha256(text.encode()).hexdigest()
        return BlockKey(fingerprint=key, inputs=text, scenes=tuple(here))

    def is_own(self, block_id: str, inputs: str) -> bool:
        found = _parsed(inputs)
        return (found.get("run"), found.get("block")) == (self.shared, block_id)


def shared_fingerprint(parameters: Mapping[str, Any]) -> str:
    """Compute the fingerprint of what all blocks of a run share."""
    return fingerprint(shared_parameters(parameters))


def inputs_of_plan(parameters: Mapping[str, Any], plan: Plan) -> BlockInputs:
    """The inputs of the blocks of a plan. `parameters`: of the run's fingerprint."""
    return _inputs(
        shared_fingerprint(parameters),
        parameters,
        plan.lattice,
        plan.inside,
        plan.scenes,
        plan.scene_windows,
    )


def aim_of(fingerprint: str, keys: BlockInputs) -> dict[str, Any]:
    """Say what an update makes of a run, for run.json: the fingerprint that the run gets, and the scenes that
    its blocks follow from. Its tiles stand in plan.parquet.
    """
    scenes = zip(keys.scene_ids, keys.contents, keys.windows.tolist(), strict=True)
    return {"fingerprint": fingerprint, "run": keys.shared, "scenes": [list(scene) for scene in scenes]}


def keys_of_aim(info: RunInfo, inside: NDArray[np.bool_]) -> BlockInputs:
    """The inputs of the blocks of a run whose update has not ended, as they are to become (`aim_of`).

    `inside`: of plan.parquet. Raises InputError for a run.json that is damaged there.
    """
    try:
        scenes = [(str(name), str(content), _window(edges)) for name, content, edges in info.update["scenes"]]
        shared = str(info.update["run"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "run.json must say what an update makes of the run",
            came=repr(error),
            remedy="start segment_region.py again with the command of the update: it writes the file again",
        ) from error
    return BlockInputs(
        shared=shared,
        lattice=info.lattice,
        inside=inside,
        scene_ids=tuple(name for name, _, _ in scenes),
        contents=tuple(content for _, content, _ in scenes),
        windows=_edges([window for _, _, window in scenes]),
    )


def keys_of_run(info: RunInfo, inside: NDArray[np.bool_]) -> RecordKeys:
    """The inputs of the blocks of a run that has begun, or of one that was merged again elsewhere.

    `inside`: of its plan (`plan_table.read_inside`). Raises InputError for a run.json that lacks something.
    """
    if not info.records_share:  # of an earlier version
        merged_from = info.settings.get("merged_from")
        return AlikeKeys(merged_from["fingerprint"] if isinstance(merged_from, dict) else info.fingerprint)
    try:
        windows = [_window(info.stretches[scene.scene_id]["window"]) for scene in info.scenes]
        return _inputs(info.records_share, info.parameters, info.lattice, inside, info.scenes, windows)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "run.json must say what its scenes are and where they lie on the run grid",
            came=repr(error),
            remedy="start segment_region.py again with the run's own command: it writes the file again",
        ) from error


def _window(edges: Sequence[int]) -> Window:
    row0, col0, row1, col1 = edges
    return Window(row0=row0, col0=col0, row1=row1, col1=col1)


def _inputs(
    shared: str,
    parameters: Mapping[str, Any],
    lattice: TileLattice,
    inside: NDArray[np.bool_],
    scenes: Sequence[Scene],
    windows: Sequence[Window],
) -> BlockInputs:
    return BlockInputs(
        shared=shared,
        lattice=lattice,
        inside=inside,
        scene_ids=tuple(scene.scene_id for scene in scenes),
        contents=tuple(
            _content(scene, named, parameters)
            for scene, named in zip(scenes, parameters["scenes"], strict=True)
        ),
        windows=_edges(windows),
    )


def _edges(windows: Sequence[Window]) -> NDArray[np.int64]:
    """(n, 4) row0, col0, row1, col1."""
    edges = [(window.row0, window.col0, window.row1, window.col1) for window in windows]
    return np.array(edges, dtype=np.int64).reshape(-1, 4)


def _content(scene: Scene, named: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """Hash what decides how a scene looks. `named`: what the run's fingerprint says of it."""
    about: dict[str, Any] = {"scene": named}
    if of_catalog(scene):
        about["items"] = parameters.get("items")
    if scene.quality is not None:
        about["clouds"] = parameters.get("clouds")
    return fingerprint(about)[:_DIGITS]


def why_again(before: str, now: BlockKey) -> str:
    """Say in few words why a record with the inputs `before` is done again. Empty: it is not of this run."""
    old = _parsed(before)
    new = _parsed(now.inputs)
    if not old or old.get("run") != new.get("run"):
        return ""
    was, is_now = ({entry[0]: entry[1:] for entry in each["scenes"]} for each in (old, new))
    found = [_listed("new scene", [name for name in is_now if name not in was])]
    found.append(_listed("no longer there: scene", [name for name in was if name not in is_now]))
    both = [name for name in is_now if name in was]
    found.append(_listed("other content of scene", [n for n in both if was[n][0] != is_now[n][0]]))
    tiles = [Counter("".join(each["tiles"]))["1"] for each in (old, new)]
    if old["tiles"] != new["tiles"]:
        found.append("larger area" if tiles[0] < tiles[1] else "other area")
    elif any(was[name][1] != is_now[name][1] for name in both):
        found.append("a scene shows another part")
    if [name for name in was if name in is_now] != both:
        found.append("other order of scenes")
    return ", ".join(text for text in found if text) or "other inputs"


def _listed(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{what} {names[0]}{more}"


def _parsed(inputs: str) -> dict[str, Any]:
    """The inputs of a record. Empty: it does not say any."""
    try:
        found = json.loads(inputs) if inputs else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) and {"run", "block", "tiles", "scenes"} <= found.keys() else {}
