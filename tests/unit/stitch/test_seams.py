"""Seam evidence: examples by hand, symmetry, and a slow reference written from the rule."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from stitch_properties import disturb, may_match, random_case

from pipeline.stitch.flat.flat_matches import seam_strips, seams_of
from pipeline.stitch.seams import SeamEdges, accepted, match_seam, pair_counts, seam_candidates, undisputed
from pipeline.stitch.sources import TileCache
from pipeline.stitch.stitch_options import StitchOptions

OPTIONS = StitchOptions()


def seam_edges(a: np.ndarray, b: np.ndarray, options: StitchOptions) -> SeamEdges:
    return accepted(seam_candidates(a, b), options)


def rows(edges: SeamEdges) -> set[tuple[int, ...]]:
    columns = edges.local_a, edges.local_b, edges.overlap_px, edges.a_px, edges.b_px
    return set(zip(*(c.tolist() for c in columns), strict=True))


def drawn(*lines: str) -> np.ndarray:
    return np.array([[0 if c == "." else int(c) for c in line] for line in lines], dtype=np.uint16)


def test_two_prongs_find_their_own_halves() -> None:
    a = drawn("111..222", "111..222", "111..222", "111..222")
    b = drawn("555..555", "555..555", "555..555", "555..555")
    assert rows(seam_edges(a, b, OPTIONS)) == {(1, 5, 12, 12, 12), (2, 5, 12, 12, 12)}


def test_one_against_two_goes_to_the_larger() -> None:
    a = drawn("11111111", "11111111", "11111111", "11111111")
    b = drawn("22222333", "22222333", "22222333", "22222333")
    assert rows(seam_edges(a, b, OPTIONS)) == {(1, 2, 20, 32, 20)}


def test_slivers_do_not_glue_but_small_equals_match() -> None:
    large = drawn("1111111111", "1111111111", "1111111111", "1111111111")
    sliver = drawn("........22", "..........", "..........", "..........")
    assert len(seam_edges(large, sliver, OPTIONS)) == 0
    assert rows(seam_edges(sliver, sliver, OPTIONS)) == {(2, 2, 2, 2, 2)}
    assert rows(seam_edges(drawn("111"), drawn("11."), OPTIONS)) == {(1, 1, 2, 3, 2)}
    strict = StitchOptions(tau=0.9)
    assert len(seam_edges(drawn("111"), drawn("11."), strict)) == 0


def test_ties_go_to_the_first_along_the_seam() -> None:
    a = drawn("1111111111")
    b = drawn("2222233333")
    options = StitchOptions(min_overlap_px=1)
    assert rows(seam_edges(a, b, options)) == {(1, 2, 5, 10, 5)}
    assert rows(seam_edges(b, a, options)) == {(2, 1, 5, 5, 10)}


def joined(a: np.ndarray, b: np.ndarray, whole_a: set[int], whole_b: set[int]) -> tuple[set[Any], int]:
    """(pairs of local ids that are one object, how many were disputed) when a tile saw these ids whole."""
    whole = tuple(
        np.isin(np.arange(int(labels.max()) + 1), list(ids)) for labels, ids in ((a, whole_a), (b, whole_b))
    )
    match = match_seam(a, b, whole=whole, options=StitchOptions(min_overlap_px=1))  # type: ignore[arg-type]
    pairs = set(zip(match.edges.local_a.tolist(), match.edges.local_b.tolist(), strict=True))
    assert len(match.scores) == len(seam_candidates(a, b))
    return pairs, match.n_disputed


LARGE_ROOF_WITH_A_STRAY = drawn("111111..11", "111111..11", "111111....")
"""The mask of a roof has a stray piece, which lies on the neighbouring shed 3."""
ROOF_AND_SHED = drawn("222222..33", "222222..33", "222222..3.")


def test_a_shed_seen_whole_is_no_part_of_the_roof_beside_it() -> None:
    roof, shed = LARGE_ROOF_WITH_A_STRAY, ROOF_AND_SHED
    assert joined(roof, shed, set(), {3}) == ({(1, 2)}, 1)
    assert joined(shed, roof, {3}, set()) == ({(2, 1)}, 1), "the sides do not matter"
    assert joined(roof, shed, set(), {2, 3}) == ({(1, 2)}, 1)
    assert joined(roof, shed, set(), {2}) == ({(1, 2)}, 1), "what is whole has no second part"
    assert joined(roof, shed, set(), set()) == ({(1, 2), (1, 3)}, 0), "two ends of a U may go on as one"
    assert joined(roof, shed, {1}, set()) == ({(1, 2), (1, 3)}, 0), "one whole U may look like two ends"


def test_of_equal_partners_a_whole_one_is_none() -> None:
    fused = drawn("11.11", "11.11")
    apart = drawn("22.33", "22.33")
    assert joined(fused, apart, set(), {2, 3}) == (set(), 2)
    assert joined(fused, apart, set(), {3}) == (set(), 2)
    assert joined(fused, apart, set(), set()) == ({(1, 2), (1, 3)}, 0)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_undisputed_pairs_by_the_rule_in_words(seed: int) -> None:
    """For both sides: of the partners in one tile, a whole one is alone, and alone in front."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 4, (12, 5)).astype(np.uint16)
    b = np.where(rng.random(a.shape) < 0.7, a, rng.integers(0, 4, a.shape)).astype(np.uint16)
    whole = [rng.random(4) < 0.5 for _ in range(2)]
    pairs = seam_candidates(a, b)
    ends = list(zip(pairs.local_a.tolist(), pairs.local_b.tolist(), strict=True))
    common: Counter[tuple[int, int]] = Counter()
    for end, px in zip(ends, pairs.overlap_px.tolist(), strict=True):
        common[end] += px
    for end, fair in zip(ends, undisputed(pairs, *whole), strict=True):
        disputed = False
        for mine, theirs, saw in ((0, 1, whole[1]), (1, 0, whole[0])):
            rivals = [e for e in common if e[mine] == end[mine] and e != end]
            most = max(common[e] for e in [*rivals, end])
            if saw[end[theirs]]:
                disputed |= any(common[e] >= common[end] for e in rivals)
            else:
                disputed |= any(saw[e[theirs]] and common[e] == most for e in rivals)
        assert fair == (not disputed)


def test_background_gives_nothing() -> None:
    empty = np.zeros((4, 3), dtype=np.uint16)
    assert len(seam_edges(empty, np.ones_like(empty), OPTIONS)) == 0
    assert seam_edges(empty, empty, OPTIONS).score.size == 0


images = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(1, 6), st.integers(2, 4))


@given(images, st.sampled_from([0.3, 0.5, 0.8]), st.sampled_from([1, 3, 8]))
@settings(max_examples=60, deadline=None)
def test_equal_to_the_rule_and_symmetric(
    image: tuple[int, int, int, int], tau: float, min_overlap_px: int
) -> None:
    seed, length, depth, colours = image
    rng = np.random.default_rng(seed)
    a = rng.integers(0, colours, (length, depth)).astype(np.uint16)
    b = np.where(rng.random(a.shape) < 0.7, a, rng.integers(0, colours, a.shape)).astype(np.uint16)
    options = StitchOptions(tau=tau, min_overlap_px=min_overlap_px)
    edges = rows(seam_edges(a, b, options))
    assert edges == reference(a, b, options)
    assert {(b_, a_, i, pb, pa) for a_, b_, i, pa, pb in edges} == rows(seam_edges(b, a, options))
    strided = np.asfortranarray(a)
    assert rows(seam_edges(strided, b, options)) == edges


def reference(a: np.ndarray, b: np.ndarray, options: StitchOptions) -> set[tuple[int, ...]]:
    """The rule with Python sets of pixels."""
    pieces = [pixel_sets(a), pixel_sets(b)]

    def best(piece: frozenset[int], others: list[tuple[int, frozenset[int]]]) -> frozenset[int]:
        return min(
            (o for _, o in others if o & piece), key=lambda o: (-len(o & piece), min(o)), default=frozenset()
        )

    found = set()
    for label_a, pa in pieces[0]:
        for label_b, pb in pieces[1]:
            common = len(pa & pb)
            if not common or best(pa, pieces[1]) != pb or best(pb, pieces[0]) != pa:
                continue
            if (common / len(pa) + common / len(pb)) / 2 < options.tau:
                continue
            if common >= options.min_overlap_px or common >= max(len(pa), len(pb)) / 2:
                found.add((label_a, label_b, common, len(pa), len(pb)))
    return found


def pixel_sets(image: np.ndarray) -> list[tuple[int, frozenset[int]]]:
    out = []
    for value in np.unique(image[image > 0]):
        parts, n = ndimage.label(image == value)
        out += [(int(value), frozenset(np.flatnonzero(parts == i).tolist())) for i in range(1, n + 1)]
    return out


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (40, 60)])
def test_pair_counts_equal_numpy(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(0, 6, shape).astype(np.uint32)
    b = rng.integers(0, 4, shape).astype(np.uint16)
    left, right, counts = pair_counts(a, b)
    both = (a > 0) & (b > 0)
    pairs, expected = np.unique(np.stack([a[both], b[both]]), axis=1, return_counts=True)
    np.testing.assert_array_equal(np.stack([left, right]), pairs)
    np.testing.assert_array_equal(counts, expected)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_no_match_lies_outside_the_best_overlaps_counted_by_scipy(seed: int) -> None:
    """What `stitch_properties` exempts covers every match that any threshold allows."""
    rng, _, lattice, source = random_case(seed)
    disturb(source, rng)
    cache = TileCache(source, lattice)
    for tile, other, side in seams_of(lattice):
        strips = seam_strips(tile, other, side, cache)
        if strips is None:
            continue
        keys = (tile.tile_row, tile.tile_col), (other.tile_row, other.tile_col)
        allowed = set(map(tuple, may_match(source, lattice, *keys).T.tolist()))
        found = seam_candidates(*strips)
        assert {*zip(found.local_a.tolist(), found.local_b.tolist(), strict=True)} <= allowed
