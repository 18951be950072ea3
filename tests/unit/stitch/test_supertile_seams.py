"""One super-tile: what it joins itself, what it hands to its neighbours, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from stitch_properties import random_case
from two_level import BlockWise, two_level

from pipeline.errors import RecordError
from pipeline.stitch.flatten import EAST, SOUTH
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.supertile_seams import resolve_fragments, super_seams
from pipeline.stitch.supertiles import SuperLattice

OPTIONS = StitchOptions()


def bar_world(worlds: SimpleNamespace) -> tuple[SuperLattice, BlockWise]:
    """One bar over 4 tiles in a row, core 10, super-tiles of 2 tiles: the middle seam crosses."""
    truth = np.zeros((10, 40), dtype=np.int64)
    truth[4:6, 3:37] = 1
    lattice = worlds.make_lattice(truth.shape, 10, 2, 1)
    return SuperLattice(lattice, 2), BlockWise(worlds.cut(truth, lattice, mode="whole"), lattice)


def test_a_crossing_match_is_an_edge_to_the_neighbours_place(worlds: SimpleNamespace) -> None:
    supers, source = bar_world(worlds)
    left, right = (resolve_fragments(supers, tile, source, OPTIONS) for tile in supers.all())
    assert left.roots.key.tolist() == [4 * 40 + 3]
    assert right.roots.key.tolist() == [4 * 40 + 20]
    assert left.border.edges.tolist() == [[EAST, 4 * 40 + 3, (2 << 16) | 1]]
    assert right.border.edges.tolist() == []
    assert right.border.entry.tolist() == [[(2 << 16) | 1, 4 * 40 + 20], [(3 << 16) | 1, 4 * 40 + 20]]
    assert left.border.pairs(right.border, EAST).tolist() == [[4 * 40 + 3], [4 * 40 + 20]]
    assert left.border.pairs(right.border, SOUTH).shape == (2, 0)
    assert (left.n_edges, right.n_edges) == (2, 1)
    assert left.scores.tolist() == [0] * 19 + [2], "an oracle's pieces agree fully"


def test_seams_are_visited_once_over_all_super_tiles(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((31, 42), 10, 3, 1)
    supers = SuperLattice(lattice, 2)
    seen = [
        ((a.tile_row, a.tile_col), (b.tile_row, b.tile_col))
        for tile in supers.all()
        for a, b, _ in super_seams(supers, tile)
    ]
    expected = [((r, c), (r, c + 1)) for r in range(4) for c in range(4)] + [
        ((r, c), (r + 1, c)) for r in range(3) for c in range(5)
    ]
    assert sorted(seen) == sorted(expected)


def test_labels_that_contradict_fragments_are_refused(worlds: SimpleNamespace) -> None:
    """Tile (0, 2) holds id 2 without a fragment: its own super-tile and the one before it notice."""
    supers, source = bar_world(worlds)
    source.source.tiles[0, 2] = source.source.tiles[0, 2] * np.uint16(2)
    for tile in supers.all():
        with pytest.raises(RecordError, match="hold id 2, but it has 1 fragments"):
            resolve_fragments(supers, tile, source, OPTIONS)


@pytest.mark.parametrize("side", [1, 2])
def test_a_shed_seen_whole_is_not_joined_with_the_roof(worlds: SimpleNamespace, side: int) -> None:
    """Whether the tile that saw it lies in the same super-tile or in the next one."""
    source, lattice = worlds.roof_and_shed()
    supers = SuperLattice(lattice, side)
    found = [resolve_fragments(supers, tile, BlockWise(source, lattice), OPTIONS) for tile in supers.all()]
    assert sum(part.n_disputed for part in found) == 1
    assert sum(part.n_edges for part in found) == 1
    result = two_level(lattice, source, OPTIONS, side=side)
    assert {i: row["n_px"] for i, row in result.rows.items()} == {1 + 24 + 3: 72, 1 + 7 * 24 + 13: 12}
    assert (result.given_px, result.kept_px) == (84, 84)


def test_an_oracle_never_disputes_a_match(worlds: SimpleNamespace) -> None:
    """Prongs of one object, each an object of its own where a tile sees no more: 60 worlds."""
    for seed in range(60):
        _, _, lattice, source = random_case(seed)
        supers = SuperLattice(lattice, 2)
        for tile in supers.all():
            assert resolve_fragments(supers, tile, BlockWise(source, lattice), OPTIONS).n_disputed == 0


def test_a_matched_fragment_that_the_neighbour_does_not_know_is_refused(worlds: SimpleNamespace) -> None:
    supers, source = bar_world(worlds)
    left, right = (resolve_fragments(supers, tile, source, OPTIONS) for tile in supers.all())
    other_run = replace(right.border, entry=right.border.entry[1:])
    with pytest.raises(RecordError, match="tile number 2 hold id 1"):
        left.border.pairs(other_run, EAST)


def test_a_strip_of_another_tiling_is_refused(
    worlds: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    supers, source = bar_world(worlds)
    monkeypatch.setattr(source, "strip", lambda *_: np.ones((3, 3), dtype=np.uint16))
    with pytest.raises(RecordError, match="must be uint16"):
        resolve_fragments(supers, supers.at(0, 0), source, OPTIONS)


def test_a_tile_with_every_possible_local_id(worlds: SimpleNamespace) -> None:
    """65 535 one-pixel objects in one tile, each its own instance; the next tile is empty, the one after
    failed.
    """
    truth = np.zeros((256, 768), dtype=np.int64)
    truth[:, :256] = np.arange(1, 256 * 256 + 1).reshape(256, 256)
    truth[255, 255] = 0
    lattice = worlds.make_lattice(truth.shape, 256, 1, 1)
    source = worlds.ArraySource(
        lattice=lattice,
        tiles={(0, 0): np.pad(truth[:, :256], ((0, 0), (0, 1))).astype(np.uint16)},
        closed=frozenset({(0, 2)}),
    )
    result = two_level(lattice, source, OPTIONS, side=1)
    want = np.where(truth > 0, np.arange(truth.size).reshape(truth.shape) + 1, 0)
    np.testing.assert_array_equal(result.raster, want.astype(np.uint64))
    assert len(result.rows) == 65_535
