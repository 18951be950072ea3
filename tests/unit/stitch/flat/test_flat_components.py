"""Components of the reference: symmetric, and named and flagged as counted by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from pipeline.stitch.flat.flat_components import resolve
from pipeline.stitch.flat.flat_matches import match_seams
from pipeline.stitch.flat.flat_sources import fragment_table
from pipeline.stitch.sources import TileCache
from pipeline.stitch.stitch_options import StitchOptions


def test_components_do_not_depend_on_transposing_the_region(worlds: SimpleNamespace) -> None:
    """Ties at seams are broken along the seam, so mirrored input gives mirrored components."""
    rng = np.random.default_rng(5)
    lattice = worlds.make_lattice((40, 40), 10, 4)
    tiles = {}
    for key in worlds.all_tiles(lattice):
        view = np.kron(rng.integers(0, 3, (9, 9)), np.ones((2, 2), dtype=np.int64))
        height, width = lattice.tile(*key).read.shape
        tiles[key] = worlds.cc(view[:height, :width]).astype(np.uint16)
    mirrored = {(c, r): np.ascontiguousarray(labels.T) for (r, c), labels in tiles.items()}
    partitions = []
    for group in (tiles, mirrored):
        source = worlds.ArraySource(lattice=lattice, tiles=group)
        table = fragment_table(source.records(), lattice)
        matches = match_seams(lattice, TileCache(source, lattice), table, StitchOptions())
        index, _ = resolve(lattice, table, matches, StitchOptions())
        groups: dict[int, set[tuple[int, int, int]]] = {}
        for node in np.flatnonzero(index):
            row, col = divmod(int(table.tile[node]), lattice.n_tile_cols)
            place = (row, col) if group is tiles else (col, row)
            groups.setdefault(int(index[node]), set()).add((*place, int(table.local[node])))
        partitions.append(sorted(sorted(members) for members in groups.values()))
    assert any(len(members) > 1 for members in partitions[0])
    assert partitions[0] == partitions[1]


def test_a_band_over_two_tiles_by_hand(worlds: SimpleNamespace) -> None:
    """The left tile sees all of the band, the right one its end; a dot in the halo alone is nobody's."""
    lattice = worlds.make_lattice((10, 20), 10, 4, 1)
    left = np.zeros((10, 14), dtype=np.uint16)
    right = np.zeros((10, 14), dtype=np.uint16)
    left[2, 5:11] = 1  # columns 5..10: five pixels in the left core, one in the right
    right[2, 0:5] = 1  # columns 6..10 of the grid
    left[8, 10:12] = 2  # columns 10 and 11 lie in the right core, whose tile shows nothing there
    source = worlds.ArraySource(
        lattice=lattice, tiles={(0, 0): left, (0, 1): right}, scores={(0, 0): [100, 300], (0, 1): [200]}
    )
    table = fragment_table(source.records(), lattice)
    matches = match_seams(lattice, TileCache(source, lattice), table, StitchOptions())
    index, components = resolve(lattice, table, matches, StitchOptions())
    assert table.anchor.tolist() == [2 * 20 + 5, 2 * 20 + 10, -1]
    assert index.tolist() == [1, 1, 0], "the ghost belongs to no component"
    assert components.ids.tolist() == [0, 1 + 2 * 20 + 5]
    assert components.rep[1] == 0, "the view that touches no read-window border"
    assert components.complete.tolist() == [False, True]
    assert not components.truncated.any()
    assert not components.one_sided.any()
    assert (components.members.node.tolist(), components.members.px.tolist()) == ([0, 1], [6, 0])


def test_with_rescue_a_whole_ghost_is_a_component_of_its_own(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((10, 20), 10, 4, 1)
    left = np.zeros((10, 14), dtype=np.uint16)
    left[8, 10:11] = 1  # in the right core alone
    source = worlds.ArraySource(lattice=lattice, tiles={(0, 0): left})
    table = fragment_table(source.records(), lattice)
    for share, expected in (
        (0.0, [0]),
        (0.5, [0, (1 << 62) + 1 + 1]),
    ):  # 1 + GHOST + (tile 0 << 16 | local 1)
        options = StitchOptions(rescue_share=share)
        matches = match_seams(lattice, TileCache(source, lattice), table, options)
        index, components = resolve(lattice, table, matches, options)
        assert components.ids.tolist() == expected
        assert index.tolist() == [len(expected) - 1]
        assert components.one_sided.tolist() == [False, True][: len(expected)]
