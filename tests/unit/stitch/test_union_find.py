"""Union by minimum against scipy; the best node by brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipeline.stitch.union_find import best_nodes, roots, union_edges


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(0, 80))
@settings(max_examples=60, deadline=None)
def test_union_find_equals_scipy_in_any_order(seed: int, n: int, n_edges: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, n, (2, n_edges))
    _, labels = connected_components(coo_matrix((np.ones(n_edges), (a, b)), shape=(n, n)), directed=False)
    smallest = np.array([np.flatnonzero(labels == labels[i])[0] for i in range(n)])
    for _ in range(2):
        order = rng.permutation(n_edges)
        parent = np.arange(n)
        for chunk in np.array_split(order, 3):
            swap = rng.random(chunk.size) < 0.5
            union_edges(parent, np.where(swap, a[chunk], b[chunk]), np.where(swap, b[chunk], a[chunk]))
        assert (parent <= np.arange(n)).all()
        np.testing.assert_array_equal(roots(parent), smallest)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_best_node_is_the_largest_and_then_the_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 4, 20).astype(np.int32)
    best = rng.integers(0, 5, 20)
    leads = best_nodes(index, 3, best)
    for k in range(1, 4):
        nodes = [i for i in range(20) if index[i] == k]
        assert leads[k] == (max(nodes, key=lambda i: (best[i], -i)) if nodes else -1)
