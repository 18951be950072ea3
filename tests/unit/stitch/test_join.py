"""One union-find over borders: against scipy, and the whole two-level merge against the flat one, for any
size and order.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import stitch_properties as properties
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from two_level import two_level

from pipeline.stitch.components import Roots
from pipeline.stitch.join import BYTES_PER_ROOT, Relabel, join_borders
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.supertiles import SuperLattice, SuperTile

SEED = st.integers(0, 2**32 - 1)


@given(SEED)
@settings(max_examples=30, deadline=None)
def test_oracle_is_exact_for_any_super_tile_and_order(seed: int) -> None:
    properties.check_oracle_is_exact(seed)


@given(SEED)
@settings(max_examples=40, deadline=None)
def test_two_levels_equal_the_flat_merge(seed: int) -> None:
    properties.check_two_level_is_flat(seed)


@given(SEED)
@settings(max_examples=10, deadline=None)
def test_a_lower_threshold_never_parts_what_a_higher_one_joined(seed: int) -> None:
    properties.check_lower_threshold_is_coarser(seed)


@given(SEED)
@settings(max_examples=10, deadline=None)
def test_a_tile_without_detections_changes_nothing_far_away(seed: int) -> None:
    properties.check_far_tiles_change_nothing(seed)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_what_tiles_found_is_kept_whatever_they_disagree_on(seed: int) -> None:
    properties.check_nothing_is_lost(seed)


@pytest.mark.parametrize("side", [1, 2, 3, 8])
def test_an_object_larger_than_every_super_tile_is_one(worlds: SimpleNamespace, side: int) -> None:
    truth = np.zeros((70, 72), dtype=np.int64)
    truth[3:66, 4:71] = 1  # a ring over all 8 x 8 tiles
    truth[12:58, 13:62] = 0
    truth[30:34, :] = np.where(truth[30:34] == 1, 1, 2)  # a bar inside it that touches both sides
    lattice = worlds.make_lattice(truth.shape, 9, 2, 1)
    result = two_level(lattice, worlds.cut(truth, lattice, mode="pieces"), StitchOptions(), side=side)
    np.testing.assert_array_equal(result.raster, worlds.canonical(worlds.cc(truth)))
    assert (result.stats.n_roots > 0) == (side < 8)
    assert result.stats.n_bytes == BYTES_PER_ROOT * result.stats.n_roots


def test_memory_of_the_join_follows_the_border_and_not_the_region(worlds: SimpleNamespace) -> None:
    """Twice the tiles a side: four times the objects, but with super-tiles twice as wide only twice the
    crossing roots.
    """
    roots = []
    for n in (1, 2):
        truth = worlds.cc(
            np.kron(
                np.arange(1, 1 + 16 * 16 * n * n).reshape(16 * n, 16 * n), np.ones((5, 5), dtype=np.int64)
            )
        )
        lattice = worlds.make_lattice(truth.shape, 8, 2, 1)
        roots.append(
            two_level(
                lattice, worlds.cut(truth, lattice, mode="whole"), StitchOptions(), side=5 * n
            ).stats.n_roots
        )
    assert roots[1] <= 2.1 * roots[0]


class Borders:
    """Super-tiles in a row whose edges are drawn at random."""

    def __init__(self, keys: list[np.ndarray], edges: list[np.ndarray]) -> None:
        self.keys = keys
        self.edges = edges
        self.saved = {}

    def border(self, tile: SuperTile) -> SimpleNamespace:
        return SimpleNamespace(pairs=lambda _other, _side, col=tile.col: self.edges[col])

    def roots(self, tile: SuperTile) -> Roots:
        keys = self.keys[tile.col]
        rest = {name: keys * factor % 1009 for factor, name in enumerate(Roots.__slots__[1:], start=2)}
        return Roots(key=keys, **rest)

    def save(self, tile: SuperTile, relabel: Relabel) -> None:
        self.saved[tile.col] = relabel


@given(SEED)
@settings(max_examples=25, deadline=None)
def test_components_and_folded_columns_equal_scipy_and_a_loop(seed: int) -> None:
    from stitch_worlds import make_lattice

    rng = np.random.default_rng(seed)
    supers = SuperLattice(make_lattice((10, 50), 10, 2, 1), 1)  # 1 x 5 super-tiles of one tile
    keys = [
        np.sort(rng.choice(100, 12, replace=False)) // 10 * 50 + rng.integers(0, 10) % 10 + 10 * col
        for col in range(5)
    ]
    keys = [np.unique(k) for k in keys]
    edges = [np.stack([rng.choice(keys[c], 4), rng.choice(keys[c + 1], 4)]) for c in range(4)]
    store = Borders(keys, edges)
    stats = join_borders(supers, store)
    every = np.unique(np.concatenate([e.ravel() for e in edges]))
    a, b = np.searchsorted(every, np.concatenate(edges, axis=1))
    _, label = connected_components(
        coo_matrix((np.ones(a.size), (a, b)), shape=(every.size, every.size)), directed=False
    )
    assert (stats.n_roots, stats.n_edges) == (every.size, 16)
    parts = {int(key): (col, int(i)) for col in range(5) for i, key in enumerate(keys[col])}
    for col in range(5):
        relabel = store.saved[col]
        assert relabel.key.tolist() == [key for key in keys[col].tolist() if key in set(every.tolist())]
        for i, key in enumerate(relabel.key.tolist()):
            mates = every[label == label[np.searchsorted(every, key)]].tolist()
            rows = [(store.roots(SimpleNamespace(col=parts[m][0])), parts[m][1]) for m in mates]
            assert relabel.whole.key[i] == min(mates)
            assert relabel.whole.sum_q[i] == sum(int(r.sum_q[j]) for r, j in rows)
            best, place = max(((int(r.best[j]), -int(r.rep_key[j])), int(r.rep_place[j])) for r, j in rows)
            assert (relabel.whole.best[i], relabel.whole.rep_key[i]) == (best[0], -best[1])
            assert (
                relabel.whole.rep_place[i] == place
                or sum((int(r.best[j]), -int(r.rep_key[j])) == best for r, j in rows) > 1
            )


class Row(Borders):
    """Super-tiles in a row; `n` components cross each of their borders. What is saved is dropped, as a file
    would be.
    """

    def __init__(self, supers: SuperLattice, n: int) -> None:
        width = supers.lattice.grid.width
        side = supers.lattice.core_px
        keys = [
            np.arange(n) // side * width + np.arange(n) % side + side * col for col in range(supers.n_cols)
        ]
        super().__init__(keys, [np.stack([keys[col], keys[col + 1]]) for col in range(supers.n_cols - 1)])

    def save(self, tile: SuperTile, relabel: Relabel) -> None:
        assert len(relabel.whole) == len(self.keys[tile.col])


@pytest.mark.parametrize("parts", [2, 3, 10])
def test_the_join_holds_no_more_bytes_per_crossing_component_than_it_says(parts: int) -> None:
    import tracemalloc

    from stitch_worlds import make_lattice

    supers = SuperLattice(
        make_lattice((200, 200 * parts), 200, 2, 1), 1
    )  # super-tiles of one tile; each component has a part in all
    join_borders(supers, Row(supers, 10))  # compiles
    peaks = []
    roots = []
    for n in (10_000, 20_000, 40_000):
        store = Row(supers, n)
        tracemalloc.start()
        stats = join_borders(supers, store)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        roots.append(stats.n_roots)
        assert stats.n_bytes == BYTES_PER_ROOT * stats.n_roots
    assert roots == [10_000 * parts, 20_000 * parts, 40_000 * parts]
    for first, last in ((0, 1), (1, 2)):
        per_root = (peaks[last] - peaks[first]) / (roots[last] - roots[first])
        assert 0.7 * BYTES_PER_ROOT < per_root <= 1.001 * BYTES_PER_ROOT
