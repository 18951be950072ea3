"""Semantic mode against one labelling of the whole image."""

from __future__ import annotations

from types import SimpleNamespace

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stitch.flat.flat_merge import merge_region
from pipeline.stitch.stitch_options import StitchOptions

OPTIONS = StitchOptions()


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["noise", "cells", "rectangles", "lines"]),
    core=st.integers(2, 17),
    halo=st.integers(1, 4),
    k=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_equal_to_labelling_the_whole_image(
    worlds: SimpleNamespace, seed: int, kind: str, core: int, halo: int, k: int
) -> None:
    """Each tile misses some pixels; a pixel counts when any tile that covers it saw it."""
    rng = np.random.default_rng(seed)
    truth = worlds.random_world(rng, kind, min(33, 8 * core))
    lattice = worlds.make_lattice(truth.shape, core, halo, k)
    source = worlds.cut(truth, lattice, mode="whole", seed=seed)
    seen = np.zeros(truth.shape, dtype=np.bool_)
    for key, labels in source.tiles.items():
        keep = rng.random(labels.shape) < 0.8
        _, local = np.unique(np.where(keep, labels, 0), return_inverse=True)
        local = local.reshape(labels.shape) + (labels * keep).all()
        source.tiles[key] = local.astype(np.uint16)
        source.scores[key] = []
        seen[lattice.tile(*key).read.slices_in(lattice.grid.window)] |= local > 0
    merge = merge_region(lattice, source, OPTIONS, mode="semantic")
    expected = worlds.canonical(cc3d.connected_components(seen, connectivity=4).astype(np.int64))
    np.testing.assert_array_equal(worlds.raster(merge), expected)
    ids, areas = np.unique(expected[expected > 0], return_counts=True)
    np.testing.assert_array_equal(merge.instances.instance_id, ids)
    np.testing.assert_array_equal(merge.instances.area_px, areas)


def test_touching_objects_are_one_region(worlds: SimpleNamespace) -> None:
    truth = np.zeros((20, 20), dtype=np.int64)
    truth[3:6, 3:8], truth[3:6, 8:14], truth[6, 14] = 1, 2, 3
    lattice = worlds.make_lattice(truth.shape, 10, 2)
    source = worlds.cut(truth, lattice, mode="whole")
    rows = merge_region(lattice, source, OPTIONS, mode="semantic").instances
    assert rows.area_px.tolist() == [33, 1], "diagonal contact does not join (4-connected)"
    assert rows.tiles_of(0) == [(0, 0), (0, 1)]
    assert not rows.truncated.any()


def test_scores_are_means_over_all_evidence(worlds: SimpleNamespace) -> None:
    truth = np.zeros((10, 20), dtype=np.int64)
    truth[5, 6:12] = 1  # tile 0 sees columns 0..12: 6 px; tile 1 sees columns 8..20: 4 px
    lattice = worlds.make_lattice(truth.shape, 10, 2)
    source = worlds.cut(truth, lattice, mode="whole")
    source.scores = {(0, 0): [10000], (0, 1): [20000]}
    rows = merge_region(lattice, source, OPTIONS, mode="semantic").instances
    assert (rows.score_sum.tolist(), rows.score_px.tolist()) == ([6 * 10000 + 4 * 20000], [10])
    assert rows.score[0] == pytest.approx(14000 / 65535)
    assert (rows.rep_tile_row[0], rows.rep_tile_col[0]) == (0, 1), (
        "both views end at a border, the better score decides"
    )


def test_failed_tiles_cut_regions_and_flag_them(worlds: SimpleNamespace) -> None:
    truth = np.zeros((10, 40), dtype=np.int64)
    truth[4, 3:35] = 1
    truth[8, 1:4] = 2
    lattice = worlds.make_lattice(truth.shape, 10, 3)
    source = worlds.cut(truth, lattice, mode="whole")
    del source.tiles[0, 1]
    source.closed = frozenset({(0, 1)})
    merge = merge_region(lattice, source, OPTIONS, mode="semantic")
    expected = np.zeros(truth.shape, dtype=np.uint64)
    expected[4, 3:10], expected[4, 20:35], expected[8, 1:4] = 4 * 40 + 4, 4 * 40 + 21, 8 * 40 + 2
    np.testing.assert_array_equal(worlds.raster(merge), expected)
    assert merge.instances.truncated.tolist() == [True, True, False]
