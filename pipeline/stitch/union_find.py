"""Union by minimum over numbered nodes, and the best node of each component.

The root of a component is its smallest node, whatever order edges come in. Nodes are ranks of fragments or of
regions in the order of their keys, so the root is the fragment that names the component.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def union_edges(parent: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
    """Join the ends of each edge; the smaller root wins. In place; path halving keeps parent[i] <= i."""
    for i in range(a.size):
        x, y = a[i], b[i]
        while parent[x] != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        while parent[y] != y:
            parent[y] = parent[parent[y]]
            y = parent[y]
        if x < y:
            parent[y] = x
        elif y < x:
            parent[x] = y


@njit(cache=True)
def roots(parent: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the root of every node, in one pass, because parents come before children."""
    root = np.empty_like(parent)
    for i in range(parent.size):
        root[i] = i if parent[i] == i else root[parent[i]]
    return root


@njit(cache=True)
def best_nodes(index: NDArray[np.int32], n: int, best: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find each component's node with the largest (best, -rank): (n + 1,), -1 for index 0."""
    leads = np.full(n + 1, -1, dtype=np.int64)
    for i in range(index.size):
        k = index[i]
        if k > 0 and (leads[k] < 0 or best[i] > best[leads[k]]):
            leads[k] = i
    return leads
