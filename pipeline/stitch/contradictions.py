"""The audit: objects that contradict what one tile saw are taken apart again. Optional, off by default.

1. `forbidden_pairs` finds two fragments that one tile saw whole, side by side, and that were joined all the
   same: a neighbour fused them.
2. `cut_edges` joins the edges of such a component again, best score first, and refuses each that would bring
   a forbidden pair together. This is a mutex watershed whose repulsions all come first (Wolf et al., "The
   Mutex Watershed", ECCV 2018).
3. The super-tiles that hold cut edges are resolved again without them.

Neither the order of edges nor the size of super-tiles matters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.stitch.fragment_table import FragmentTable
from pipeline.stitch.supertiles import LOCAL_BITS

LabelsOf = Callable[[int], NDArray[np.uint16] | None]
"""Tile number -> labels (H, W) of its read window, or None."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """Matched pairs of pieces as edges between fragments; columns (e,), in any order, with repeats."""

    a: NDArray[np.int64]
    """Place of the fragment in the upper or left tile."""
    b: NDArray[np.int64]
    score: NDArray[np.float64]


def join_links(parts: Sequence[Links]) -> Links:
    """All rows of several tables."""
    none = {"a": np.zeros(0, dtype=np.int64), "b": np.zeros(0, dtype=np.int64), "score": np.zeros(0)}
    return Links(
        **{
            name: np.concatenate([empty, *(getattr(part, name) for part in parts)])
            for name, empty in none.items()
        }
    )


def forbidden_pairs(
    table: FragmentTable, component: NDArray[np.int64], labels_of: LabelsOf
) -> NDArray[np.int64]:
    """Find pairs of fragments of one tile that were joined and must lie apart.

    Returns (3, k): the two places, smaller first, and the component that holds both.

    `component` (n,) names the component of each fragment of `table`. Labels are asked for only where a tile
    has two whole fragments in one component.
    """
    free = np.flatnonzero(table.censored == 0)
    free = free[np.lexsort((component[free], table.tile[free]))]
    tile = table.tile[free]
    group = component[free]
    twice = (tile[1:] == tile[:-1]) & (group[1:] == group[:-1])
    found = [np.zeros((3, 0), dtype=np.int64)]
    for number in np.unique(tile[1:][twice]).tolist():
        rows = free[tile == number]
        labels = labels_of(number)
        if labels is None:
            continue
        joined = np.full(int(labels.max(initial=0)) + 1, -1, dtype=np.int64)
        joined[table.local[rows]] = component[rows]
        a, b = touching_labels(labels)
        bad = (joined[a] >= 0) & (joined[a] == joined[b])
        found.append(
            np.stack([(number << LOCAL_BITS) | a[bad], (number << LOCAL_BITS) | b[bad], joined[a[bad]]])
        )
    return np.concatenate(found, axis=1)


def touching_labels(labels: NDArray[np.uint16]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (smaller, larger) of different labels above 0 with a common pixel edge, each once, ascending."""
    pairs = [np.zeros(0, dtype=np.int64)]
    for one, other in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        meet = (one != other) & (one > 0) & (other > 0)
        low = np.minimum(one[meet], other[meet])
        high = np.maximum(one[meet], other[meet])
        pairs.append(np.unique((low.astype(np.int64) << LOCAL_BITS) | high))
    both = np.unique(np.concatenate(pairs))
    return both >> LOCAL_BITS, both & ((1 << LOCAL_BITS) - 1)


def cut_edges(links: Links, forbidden: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Choose the edges to leave out so that forbidden pairs lie apart: (e,) True for these.

    `forbidden` (2 or 3, k): two places per column. Edges are joined by descending score, then by places; an
    edge is cut when its ends lie apart in the end.
    """
    places, end = np.unique(
        np.concatenate([links.a, links.b, forbidden[0], forbidden[1]]), return_inverse=True
    )
    a = end[: links.a.size]
    b = end[links.a.size : 2 * links.a.size]
    apart = end[2 * links.a.size :].reshape(2, -1).T.tolist()
    parent = list(range(places.size))
    enemies: list[set[int]] = [set() for _ in parent]
    for i, j in apart:
        enemies[i].add(j)
        enemies[j].add(i)
    for row in np.lexsort((links.b, links.a, -links.score)).tolist():
        _join(parent, enemies, _root(parent, int(a[row])), _root(parent, int(b[row])))
    cluster = np.array([_root(parent, i) for i in range(places.size)], dtype=np.int64)
    return np.asarray(cluster[a] != cluster[b], dtype=np.bool_)


def _root(parent: list[int], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


def _join(parent: list[int], enemies: list[set[int]], i: int, j: int) -> None:
    """Join two roots unless they are enemies. The one with more enemies stays: fewer have to be renamed."""
    if i == j or j in enemies[i]:
        return
    keep, gone = (i, j) if len(enemies[i]) >= len(enemies[j]) else (j, i)
    parent[gone] = keep
    for enemy in enemies[gone]:
        enemies[enemy].discard(gone)
        enemies[enemy].add(keep)
    enemies[keep] |= enemies[gone]
    enemies[gone] = set()
