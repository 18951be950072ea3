"""The scenes that objects were judged on: those that gave the valid pixels under them.

1. `scenes_under` looks at one painted block: every object gets the scenes whose pixels lie under it.
2. A piece of an object that crosses blocks carries its scenes along, and `united` joins those of all pieces.

A scene that an earlier one hides gave no pixel, so it is not named, and neither is a neighbour that only
shares an edge. Where pixels come from does not depend on how the region was cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.schema.imagery import ScenePixels


@dataclass(frozen=True, kw_only=True)
class ObjectScenes:
    """A list of scenes per object, as two flat arrays."""

    start: NDArray[np.int64]
    """(n + 1,): the scenes of object i are scene[start[i]:start[i + 1]]."""
    scene: NDArray[np.int64]
    """Places in the run's list of scenes, ascending within an object."""

    def take(self, rows: NDArray[np.int64]) -> ObjectScenes:
        """The lists of some objects, in the order of `rows` (n,)."""
        first = self.start[rows]
        counts = self.start[rows + 1] - first
        start = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
        inside = np.arange(int(start[-1])) - np.repeat(start[:-1], counts)
        return ObjectScenes(start=start, scene=self.scene[np.repeat(first, counts) + inside])

    def to_arrow(self) -> pa.ListArray:
        """The lists as an Arrow column of list<int64>."""
        return pa.ListArray.from_arrays(pa.array(self.start.astype(np.int32)), pa.array(self.scene))


def from_arrow(column: pa.ListArray) -> ObjectScenes:
    """Inverse of `ObjectScenes.to_arrow`; a null counts as an empty list."""
    counts = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return ObjectScenes(
        start=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)]),
        scene=column.flatten().to_numpy(zero_copy_only=False).astype(np.int64),
    )


def scenes_under(image: NDArray[np.int32], number: NDArray[np.int64], scenes: ScenePixels) -> ObjectScenes:
    """Find the scenes under each object of a painted block.

    `image` (h, w) holds object numbers, 0 = background; `number` (n,) are those asked about, ascending;
    `scenes` covers the same window. An object on invalid pixels alone has none,
    unless the block has one scene.
    """
    n = number.size
    places = np.array(scenes.numbers, dtype=np.int64)
    if scenes.image is None:
        start = np.arange(n + 1, dtype=np.int64) * places.size
        return ObjectScenes(start=start, scene=np.tile(places, n))
    # one key per pixel; only the first of each run is sorted
    key = image.astype(np.int64).ravel() * (places.size + 1) + scenes.image.ravel()
    key = np.unique(key[np.append(True, key[1:] != key[:-1])])
    owner, place = np.divmod(key, places.size + 1)
    row = np.searchsorted(number, owner)
    known = (place > 0) & (np.append(number, -1)[row] == owner)
    return _grouped(row[known], places[place[known] - 1], n)


def united(pieces: ObjectScenes, group: NDArray[np.int64], n_groups: int) -> ObjectScenes:
    """Join the scenes of all pieces of a group. `group` (n,): of each piece, 0..n_groups - 1."""
    return _grouped(np.repeat(group, np.diff(pieces.start)), pieces.scene, n_groups)


def _grouped(owner: NDArray[np.int64], scene: NDArray[np.int64], n: int) -> ObjectScenes:
    """Lists of n owners from pairs in any order, each pair once."""
    pairs = np.unique(np.stack([owner, scene]), axis=1)
    return ObjectScenes(start=np.searchsorted(pairs[0], np.arange(n + 1)).astype(np.int64), scene=pairs[1])
