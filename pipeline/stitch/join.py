"""One union-find over the components that cross super-tile borders, and one relabel table per super-tile.

1. A first pass over all pairs of neighbouring super-tiles (`cross_pairs`) collects the keys of the components
   that cross.
2. A second pass joins them. The root of each is its smallest key, whatever the order.
3. `reduce_roots` folds what the super-tiles know of each component.
4. Each super-tile gets a `Relabel`: its components that go on elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.stitch.components import Roots, reduce_roots
from pipeline.stitch.flatten import EAST, SOUTH
from pipeline.stitch.supertiles import SuperLattice, SuperTile
from pipeline.stitch.union_find import roots as roots_of
from pipeline.stitch.union_find import union_edges

BYTES_PER_ROOT = 24 * 8
"""Peak of `join_borders` per crossing component and super-tile, in int64: key, parent, root, group and home,
the eight columns of `Roots` before folding and at most four per component after it (a crossing component has
two parts or more), and the orders of sorting. A test measures it with two parts per component; with ten parts
it is a fifth less. With 300,000 crossing components (some 2 % of 14 million) this is 60 MB. Besides it, one
super-tile's border and its neighbours' are in memory.
"""


class Border(Protocol):
    """Border of one super-tile in either mode."""

    def pairs(self, other: Self, side: int) -> NDArray[np.int64]:
        """Find the pairs (2, k) of component keys joined over the border to the neighbour on `side`."""
        ...


class BorderStore(Protocol):
    """Where the super-tiles' results lie."""

    def border(self, tile: SuperTile) -> Border:
        """What a super-tile's neighbours need to know of it; of one kind for all super-tiles."""
        ...

    def roots(self, tile: SuperTile) -> Roots:
        """All components of a super-tile, ascending by key."""
        ...

    def save(self, tile: SuperTile, relabel: Relabel) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Relabel:
    """Components of one super-tile that continue in another one."""

    key: NDArray[np.int64]
    """(k,) keys as the super-tile names them, ascending."""
    whole: Roots
    """(k,) the whole component of each: its key, best view and sums over all super-tiles."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinStats:
    """What the union-find held."""

    n_roots: int
    """Components that a cross edge touches, counted once per super-tile."""
    n_edges: int
    n_bytes: int
    """n_roots * BYTES_PER_ROOT: what the tables of this step take beside one super-tile's border."""


def join_borders(supers: SuperLattice, store: BorderStore) -> JoinStats:
    """Join all super-tiles of a region. Raises RecordError when their records contradict each other."""
    found = [np.zeros(0, dtype=np.int64)]
    n_edges = 0
    for pairs in cross_pairs(supers, store):
        found.append(np.unique(pairs))
        n_edges += pairs.shape[1]
    keys = np.unique(np.concatenate(found))
    parent = np.arange(keys.size, dtype=np.int64)
    for pairs in cross_pairs(supers, store):
        union_edges(parent, np.searchsorted(keys, pairs[0]), np.searchsorted(keys, pairs[1]))
    root = np.asarray(roots_of(parent), dtype=np.int64)
    home = supers.home(keys)
    parts = _parts(supers, store, keys, home)
    heads, group = np.unique(root, return_inverse=True)
    whole = reduce_roots(group.reshape(-1), parts, keys[heads])
    for number, tile in enumerate(supers.all()):
        here = np.flatnonzero(home == number)
        store.save(tile, Relabel(key=keys[here], whole=whole.take(group.reshape(-1)[here])))
    return JoinStats(n_roots=int(keys.size), n_edges=n_edges, n_bytes=int(keys.size) * BYTES_PER_ROOT)


def cross_pairs(supers: SuperLattice, store: BorderStore) -> Iterator[NDArray[np.int64]]:
    """Yield pairs (2, k) of component keys for all neighbouring super-tiles that anything crosses."""
    for tile in supers.all():
        border = store.border(tile)
        for axis, side in ((1, EAST), (0, SOUTH)):
            other = supers.after(tile, axis)
            pairs = None if other is None else border.pairs(store.border(other), side)
            if pairs is not None and pairs.shape[1]:
                yield pairs


def _parts(
    supers: SuperLattice, store: BorderStore, keys: NDArray[np.int64], home: NDArray[np.int64]
) -> Roots:
    """The super-tiles' rows of all crossing components, in the order of `keys`."""
    columns = {name: np.zeros(keys.size, dtype=np.int64) for name in Roots.__slots__}
    order = np.argsort(home, kind="stable")
    bounds = np.searchsorted(home[order], np.arange(supers.n_rows * supers.n_cols + 1))
    for number, tile in enumerate(supers.all()):
        here = order[bounds[number] : bounds[number + 1]]
        if here.size:
            roots = store.roots(tile)
            row = np.searchsorted(roots.key, keys[here])
            assert (roots.key[row] == keys[here]).all(), (
                "a crossing component must be a component of its super-tile"
            )
            for name, column in columns.items():
                column[here] = getattr(roots, name)[row]
    return Roots(**columns)
