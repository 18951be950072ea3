"""The component audit against brute force, and on one object that a tile says are two."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from stitch_properties import disturb, random_case
from two_level import two_level

from pipeline.stitch.contradictions import Links, cut_edges, forbidden_pairs, touching_labels
from pipeline.stitch.flat.flat_matches import audit_matches, match_seams
from pipeline.stitch.flat.flat_merge import merge_region
from pipeline.stitch.flat.flat_sources import fragment_table
from pipeline.stitch.sources import TileCache
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.union_find import roots

AUDIT = StitchOptions(audit=True)


def links_of(*rows: tuple[int, int, float]) -> Links:
    a, b, score = zip(*rows, strict=True)
    return Links(a=np.array(a), b=np.array(b), score=np.array(score))


def together(links: Links, kept: np.ndarray, n: int) -> np.ndarray:
    graph = coo_matrix((np.ones(int(kept.sum())), (links.a[kept], links.b[kept])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def test_the_weakest_link_of_a_chain_goes() -> None:
    chain = links_of((0, 1, 0.9), (1, 2, 0.6), (2, 3, 0.8))
    assert cut_edges(chain, np.array([[0], [3]])).tolist() == [False, True, False]
    assert cut_edges(chain, np.array([[0], [2]])).tolist() == [False, True, False]
    assert cut_edges(chain, np.array([[0], [1]])).tolist() == [True, False, False], (
        "their own edge, however strong"
    )
    assert cut_edges(chain, np.array([[0], [9]])).tolist() == [False, False, False], "9 is nowhere near"


def test_equal_scores_are_taken_by_places() -> None:
    fork = links_of((5, 7, 0.7), (6, 7, 0.7))
    assert cut_edges(fork, np.array([[5], [6]])).tolist() == [False, True]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_forbidden_pairs_lie_apart_and_no_edge_is_cut_in_vain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 25))
    n_edges = int(rng.integers(1, 60))
    ends = rng.integers(0, n, (2, n_edges))
    links = Links(a=ends.min(axis=0), b=ends.max(axis=0), score=rng.integers(1, 6, n_edges) / 5)
    pairs = rng.integers(0, n, (2, int(rng.integers(1, 6))))
    forbidden = pairs[:, pairs[0] != pairs[1]]
    cut = cut_edges(links, forbidden)
    after = together(links, ~cut, n)
    assert (after[forbidden[0]] != after[forbidden[1]]).all()
    for row in np.flatnonzero(cut):
        back = together(links, (~cut) | (np.arange(n_edges) == row), n)
        assert (back[forbidden[0]] == back[forbidden[1]]).any(), (
            "a cut edge alone would bring a forbidden pair together"
        )
    order = rng.permutation(n_edges)
    shuffled = Links(a=links.a[order], b=links.b[order], score=links.score[order])
    np.testing.assert_array_equal(cut_edges(shuffled, forbidden[::-1]), cut[order])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_touching_labels_by_looking_at_every_pixel(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 5, (6, 7)).astype(np.uint16)
    expected = set()
    for row, col in np.ndindex(6, 7):
        for other in ((row + 1, col), (row, col + 1)):
            if other[0] < 6 and other[1] < 7:
                low, high = sorted((int(labels[row, col]), int(labels[other])))
                if 0 < low < high:
                    expected.add((low, high))
    assert list(zip(*(v.tolist() for v in touching_labels(labels)), strict=True)) == sorted(expected)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_afterwards_no_object_holds_two_that_one_tile_saw_whole_and_touching(seed: int) -> None:
    """By brute force over all pairs of fragments of all tiles, with noise."""
    rng, _, lattice, source = random_case(seed)
    disturb(source, rng)
    cache = TileCache(source, lattice)
    table = fragment_table(source.records(), lattice)
    before = match_seams(lattice, cache, table, AUDIT)
    after = audit_matches(lattice, cache, table, before)
    wrong = [_wrong_pairs(source, lattice, table, roots(matches.parent)) for matches in (before, after)]
    assert wrong[1] == 0
    assert after.n_contradictions == wrong[0]
    assert (after.n_cut > 0) == (wrong[0] > 0)
    assert after.edges.a.size == before.edges.a.size - after.n_cut


def _wrong_pairs(source: SimpleNamespace, lattice: object, table: object, component: np.ndarray) -> int:
    wrong = 0
    for (row, col), labels in source.tiles.items():
        nodes = table.nodes(lattice.tile(row, col))  # type: ignore[attr-defined]
        whole = [i + 1 for i, node in enumerate(nodes) if table.censored[node] == 0]  # type: ignore[attr-defined]
        for i, j in ((i, j) for i in whole for j in whole if i < j):
            mine = np.pad(labels == i, 1)
            theirs = np.pad(labels == j, 1)
            touch = any((np.roll(mine, step, axis) & theirs).any() for step in (-1, 1) for axis in (0, 1))
            wrong += bool(touch and component[nodes[i - 1]] == component[nodes[j - 1]])
    return wrong


def test_two_houses_that_hang_together_round_a_corner(worlds: SimpleNamespace) -> None:
    """Each seam alone looks well; only all of them together join what the first tile saw apart."""
    source, lattice = worlds.round_the_corner()
    house, other = 1 + 2 * 20 + 5, 1 + 6 * 20 + 2
    plain, audited = (
        merge_region(lattice, source, options, mode="instances") for options in (StitchOptions(), AUDIT)
    )
    assert plain.instances.instance_id.tolist() == [house], "all of it is one object"
    assert audited.instances.instance_id.tolist() == [house, other]
    expected = np.zeros((20, 20), dtype=np.uint64)
    expected[2:6, 5:10] = house
    expected[6:10, 2:6] = other
    expected[2:14, 10] = house
    expected[10, 2:14] = house
    np.testing.assert_array_equal(worlds.raster(audited), expected)
    np.testing.assert_array_equal(worlds.raster(plain) > 0, expected > 0)
    assert audited.stats.n_edges == plain.stats.n_edges - 1
    for side in (1, 2):
        np.testing.assert_array_equal(two_level(lattice, source, AUDIT, side=side).raster, expected)


def test_labels_are_read_only_where_a_tile_has_two_whole_fragments_of_one_object(
    worlds: SimpleNamespace,
) -> None:
    source, lattice = worlds.round_the_corner()
    table = fragment_table(source.records(), lattice)
    asked: list[int] = []

    def labels_of(number: int) -> np.ndarray:
        asked.append(number)
        return source.tiles[divmod(number, 2)]  # type: ignore[no-any-return]

    apart = forbidden_pairs(table, np.arange(len(table)), labels_of)
    assert (apart.shape, asked) == ((3, 0), [])
    pairs = forbidden_pairs(table, np.full(len(table), 7), labels_of)
    assert (pairs.T.tolist(), asked) == ([[1, 2, 7]], [0]), "tile 0, local ids 1 and 2"
