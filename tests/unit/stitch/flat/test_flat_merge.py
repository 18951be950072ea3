"""The whole merge against whole-image answers: exactness for every tiling, order freedom, raster == vector,
canaries.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from stitch_properties import disturb

from pipeline.errors import RecordError
from pipeline.stitch.flat.flat_merge import merge_region
from pipeline.stitch.flat.flat_sources import TileFragments
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.supertiles import GHOST
from pipeline.stitch.trace import polygonise

OPTIONS = StitchOptions()
KIND = st.sampled_from(["noise", "cells", "rectangles", "lines"])
MODE = st.sampled_from(["whole", "pieces"])


def side_for(core: int) -> int:
    """Largest side of a random world: at most 8 x 8 tiles, so that small cores stay quick."""
    return min(33, 8 * core)


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=KIND,
    mode=MODE,
    core=st.integers(1, 17),
    halo=st.integers(1, 5),
    k=st.integers(1, 3),
)
@settings(max_examples=250, deadline=None)
def test_oracle_is_exact_for_every_tiling(
    worlds: SimpleNamespace, seed: int, kind: str, mode: str, core: int, halo: int, k: int
) -> None:
    truth = worlds.random_world(np.random.default_rng(seed), kind, side_for(core))
    lattice = worlds.make_lattice(truth.shape, core, halo, k)
    options = StitchOptions(complete_first=bool(seed % 3))
    merge = merge_region(lattice, worlds.cut(truth, lattice, mode=mode, seed=seed), options, mode="instances")
    expected = worlds.canonical(truth)
    np.testing.assert_array_equal(worlds.raster(merge), expected)
    ids, areas = np.unique(expected[expected > 0], return_counts=True)
    np.testing.assert_array_equal(merge.instances.instance_id, ids)
    np.testing.assert_array_equal(merge.instances.area_px, areas)
    assert not merge.instances.truncated.any()
    assert not merge.instances.one_sided.any()


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=KIND,
    core=st.integers(3, 17),
    halo=st.integers(1, 5),
    k=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_raster_and_polygons_agree_to_the_pixel(
    worlds: SimpleNamespace, seed: int, kind: str, core: int, halo: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    truth = worlds.random_world(rng, kind, side_for(core))
    lattice = worlds.make_lattice(truth.shape, core, halo, k)
    source = disturb(worlds.cut(truth, lattice, mode="whole", seed=seed), rng, blind=0.0)
    merge = merge_region(lattice, source, OPTIONS, mode="instances")
    image = worlds.raster(merge)
    batches = list(merge.polygons())
    ids = np.concatenate([b[0] for b in batches]) if batches else np.zeros(0, np.uint64)
    shapes = np.concatenate([b[1] for b in batches]) if batches else np.zeros(0, object)
    order = np.argsort(ids)
    rows = merge.instances
    np.testing.assert_array_equal(ids[order], rows.instance_id)
    np.testing.assert_array_equal(np.unique(image[image > 0]), rows.instance_id)
    assert shapely.is_valid(shapes).all()
    np.testing.assert_array_equal(shapely.area(shapes[order]), rows.area_px)
    np.testing.assert_array_equal(shapely.bounds(shapes[order]).reshape(-1, 4), rows.window[:, [1, 0, 3, 2]])
    if ids.size:
        burnt = rasterio.features.rasterize(
            [(s, n + 1) for n, s in enumerate(shapes[order])],
            out_shape=image.shape,
            transform=rasterio.Affine.identity(),
            dtype="int32",
        )
        np.testing.assert_array_equal(np.append(np.uint64(0), rows.instance_id)[burnt], image)
        assert shapely.union_all(shapes).area == shapes_area(shapes), "no two instances overlap"
    whole_ids, whole, _ = polygonise(image, (0, 0))
    np.testing.assert_array_equal(whole_ids, ids[order])
    assert [shapely.to_wkb(g) for g in whole] == [shapely.to_wkb(g) for g in shapes[order]]


def shapes_area(shapes: np.ndarray) -> float:
    return float(shapely.area(shapes).sum())


@pytest.mark.parametrize("mode", ["instances", "semantic"])
def test_order_of_records_and_block_size_change_nothing(worlds: SimpleNamespace, mode: str) -> None:
    rng = np.random.default_rng(7)
    truth = np.kron(rng.integers(0, 4, (9, 11)), np.ones((5, 5), dtype=np.int64))
    truth = worlds.cc(truth)
    results = []
    for seed, k in ((0, 1), (1, 2), (2, 3), (3, 50)):
        lattice = worlds.make_lattice(truth.shape, 13, 3, k)
        source = disturb(
            worlds.cut(truth, lattice, mode="whole", seed=5), np.random.default_rng(11), blind=0.0
        )
        source.seed = seed
        merge = merge_region(lattice, source, OPTIONS, mode=mode)
        wkb = sorted(
            (int(i), shapely.to_wkb(g))
            for ids, shapes in merge.polygons()
            for i, g in zip(ids, shapes, strict=True)
        )
        columns = [getattr(merge.instances, name).tobytes() for name in merge.instances.__slots__]
        results.append((worlds.raster(merge).tobytes(), columns, wkb, merge.stats))
    assert len(results[0][2]) > 3
    for other in results[1:]:
        assert other == results[0]


@given(seed=st.integers(0, 2**32 - 1), core=st.integers(3, 17), halo=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_no_pixel_of_another_owner_is_overwritten_under_noise(
    worlds: SimpleNamespace, seed: int, core: int, halo: int
) -> None:
    rng = np.random.default_rng(seed)
    truth = worlds.random_world(rng, "rectangles", side_for(core))
    lattice = worlds.make_lattice(truth.shape, core, halo)
    source = disturb(worlds.cut(truth, lattice, mode="whole", seed=seed), rng, blind=0.0)
    stitched = worlds.raster(
        merge_region(lattice, source, StitchOptions(complete_first=False), mode="instances")
    )
    complete = worlds.raster(merge_region(lattice, source, OPTIONS, mode="instances"))
    owned = np.zeros(truth.shape, dtype=np.bool_)
    for key, labels in source.tiles.items():
        tile = lattice.tile(*key)
        owned[tile.core.slices_in(lattice.grid.window)] = labels[tile.core.slices_in(tile.read)] > 0
    np.testing.assert_array_equal(stitched > 0, owned)
    changed = complete != stitched
    assert (complete[changed & owned] == 0).all(), "an owned pixel may only be given up by its own component"


SHAPES = {
    "U": ["X...X", "X...X", "X...X", "XXXXX"],
    "E": ["XXXXX", "X....", "XXXXX", "X....", "XXXXX"],
    "ring": ["XXXXX", "X...X", "X...X", "XXXXX"],
    "spiral": ["XXXXXXX", "X.....X", "X.XXX.X", "X.X...X", "X.XXXXX", "X......", "XXXXXXX"],
    "stairs": ["XX....", ".XX...", "..XX..", "...XX.", "....XX"],
    "diagonal ring": ["XXXX", "X..X", "XXX.", "..XX"],
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("mode", ["whole", "pieces"])
def test_awkward_shapes_come_out_as_one(worlds: SimpleNamespace, name: str, mode: str) -> None:
    shape = np.array([[c == "X" for c in row] for row in SHAPES[name]], dtype=np.int64)
    for scale, core, halo in (
        (1, 1, 1),
        (1, 2, 1),
        (1, 3, 2),
        (2, 3, 1),
        (2, 5, 3),
        (2, 4, 7),
        (3, 5, 1),
        (3, 8, 2),
    ):
        truth = np.pad(np.kron(shape, np.ones((scale, scale), dtype=np.int64)), 2)
        lattice = worlds.make_lattice(truth.shape, core, halo)
        merge = merge_region(lattice, worlds.cut(truth, lattice, mode=mode), OPTIONS, mode="instances")
        np.testing.assert_array_equal(worlds.raster(merge), worlds.canonical(truth))


def test_canaries_at_seams_and_corners(worlds: SimpleNamespace) -> None:
    """One object over each seam direction, over a four-tile corner, larger than a tile, at the border; two
    abutting on a seam.
    """
    truth = np.zeros((40, 40), dtype=np.int64)
    truth[2:5, 7:13] = 1  # over a vertical seam (columns 10)
    truth[7:13, 2:5] = 2  # over a horizontal seam
    truth[17:23, 17:23] = 3  # over a corner
    truth[25:39, 0:14] = 4  # holds the tile of rows and columns 30..40 x 0..10 and touches the border
    truth[2:6, 27:30] = 5  # two that abut exactly on column 30
    truth[2:6, 30:33] = 6
    truth[10:40, 38:40] = 7  # along the grid's right border
    lattice = worlds.make_lattice(truth.shape, 10, 2)
    merge = merge_region(lattice, worlds.cut(truth, lattice, mode="whole"), OPTIONS, mode="instances")
    np.testing.assert_array_equal(worlds.raster(merge), worlds.canonical(truth))
    rows = merge.instances
    assert len(rows) == 7
    by_value = {int(truth.flat[int(i) - 1]): row for row, i in enumerate(rows.instance_id)}
    assert rows.tiles_of(by_value[1]) == [(0, 0), (0, 1)]
    assert rows.tiles_of(by_value[3]) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert rows.n_tiles[by_value[3]] == 4
    assert rows.window[by_value[3]].tolist() == [17, 17, 23, 23]


def test_nothing_matches_above_tau_one(worlds: SimpleNamespace) -> None:
    truth = np.ones((12, 20), dtype=np.int64)
    lattice = worlds.make_lattice(truth.shape, 10, 2)
    merge = merge_region(
        lattice, worlds.cut(truth, lattice, mode="whole"), StitchOptions(tau=1.01), mode="instances"
    )
    assert merge.instances.area_px.tolist() == [100, 100, 20, 20]
    assert merge.instances.truncated.all(), "each part goes on beyond its read window and found no partner"
    assert merge.stats.n_edges == 0


def test_failed_tile_stays_empty_and_the_object_is_flagged(worlds: SimpleNamespace) -> None:
    truth = np.zeros((20, 40), dtype=np.int64)
    truth[4:8, 6:13] = 1  # reaches 3 px into tile (0, 1), which failed; seen whole by tile (0, 0)
    truth[12:16, 2:6] = 2
    lattice = worlds.make_lattice(truth.shape, 10, 8)
    source = worlds.cut(truth, lattice, mode="whole")
    for key in ((0, 1), (1, 1)):
        source.tiles.pop(key, None)
    source.closed = frozenset({(0, 1), (1, 1)})
    merge = merge_region(lattice, source, OPTIONS, mode="instances")
    expected = worlds.canonical(truth)
    expected[:, 10:20] = 0
    np.testing.assert_array_equal(worlds.raster(merge), expected)
    assert merge.instances.truncated.tolist() == [True, False]


def test_one_sided_object_is_painted_into_the_neighbours_background(worlds: SimpleNamespace) -> None:
    truth = np.zeros((20, 40), dtype=np.int64)
    truth[4:8, 6:13] = 1
    lattice = worlds.make_lattice(truth.shape, 10, 8)
    source = worlds.cut(truth, lattice, mode="whole")
    for key in list(source.tiles):
        if key != (0, 0):
            del source.tiles[key]  # looked at, saw nothing
    merge = merge_region(lattice, source, OPTIONS, mode="instances")
    np.testing.assert_array_equal(worlds.raster(merge), worlds.canonical(truth))
    assert merge.instances.one_sided.tolist() == [True]
    assert merge.instances.truncated.tolist() == [False]
    cut_off = merge_region(lattice, source, StitchOptions(complete_first=False), mode="instances")
    assert cut_off.instances.area_px.tolist() == [16]
    assert cut_off.instances.truncated.tolist() == [True]


def test_a_ghost_that_its_owner_missed_is_dropped(worlds: SimpleNamespace) -> None:
    truth = np.zeros((20, 20), dtype=np.int64)
    truth[4:7, 11:14] = 1
    lattice = worlds.make_lattice(truth.shape, 10, 6)
    source = worlds.cut(truth, lattice, mode="whole")
    del source.tiles[0, 1]
    merge = merge_region(lattice, source, OPTIONS, mode="instances")
    assert len(merge.instances) == 0
    assert not worlds.raster(merge).any()
    assert list(merge.polygons()) == []


@pytest.mark.parametrize(("share", "shown"), [(0.8, True), (0.9, False)])
def test_a_ghost_is_rescued_when_enough_of_it_is_free(
    worlds: SimpleNamespace, share: float, shown: bool
) -> None:
    """3 x 5 px in the halo of the left tile; the owner on the right saw something else on 2 of them, and not
    this.
    """
    lattice = worlds.make_lattice((10, 20), 10, 9)
    left = np.zeros((10, 19), dtype=np.uint16)
    right = np.zeros((10, 19), dtype=np.uint16)
    left[4:7, 11:16] = 1
    right[6:8, 14:15], right[6:8, 13:14] = 1, 1  # rows 6 and 7, columns 14 and 15 of the region
    source = worlds.ArraySource(lattice=lattice, tiles={(0, 0): left, (0, 1): right})
    merge = merge_region(lattice, source, StitchOptions(rescue_share=share), mode="instances")
    other = 1 + 6 * 20 + 14
    rescued = GHOST + 1 + 1
    expected = np.zeros((10, 20), dtype=np.uint64)
    if shown:
        expected[4:7, 11:16] = rescued
    expected[6:8, 14:16] = other
    np.testing.assert_array_equal(worlds.raster(merge), expected)
    assert merge.instances.instance_id.tolist() == ([other, rescued] if shown else [other])
    assert merge.instances.one_sided.tolist() == ([False, True] if shown else [False])
    alone = merge_region(
        lattice, source, StitchOptions(rescue_share=share, complete_first=False), mode="instances"
    )
    assert alone.instances.instance_id.tolist() == [other], "cores alone show what their owners saw"


@pytest.mark.parametrize(
    ("right_score", "trusted", "painted_from"),
    [(60000, 4, "right"), (30000, 4, "left"), (60000, 30000, "left")],
)
def test_the_better_score_is_painted_among_trusted_views(
    worlds: SimpleNamespace, right_score: int, trusted: int, painted_from: str
) -> None:
    """Both tiles see the object whole: the left one 9 px from its border, a pixel too large, the right one 5
    px from its own.
    """
    lattice = worlds.make_lattice((30, 40), 20, 12)
    left = np.zeros((30, 32), dtype=np.uint16)
    right = np.zeros((30, 32), dtype=np.uint16)
    left[5:10, 12:23], right[5:9, 5:14] = 1, 1
    source = worlds.ArraySource(lattice=lattice, tiles={(0, 0): left, (0, 1): right})
    source.scores = {(0, 0): [50000], (0, 1): [right_score]}
    options = StitchOptions(trusted_margin_px=trusted, keep_share=0.0)
    merge = merge_region(lattice, source, options, mode="instances")
    shown = np.zeros((30, 40), dtype=np.bool_)
    if painted_from == "left":
        shown[5:10, 12:23] = True
    else:
        shown[5:9, 13:22] = True
    np.testing.assert_array_equal(worlds.raster(merge) > 0, shown)
    assert merge.instances.rep_tile_col.tolist() == [0 if painted_from == "left" else 1]


def test_dropping_one_tile_changes_nothing_far_away(worlds: SimpleNamespace) -> None:
    rng = np.random.default_rng(3)
    truth = worlds.cc(
        np.kron(rng.integers(0, 3, (30, 30)), np.ones((2, 2), dtype=np.int64)) * (rng.random((60, 60)) < 0.8)
    )
    lattice = worlds.make_lattice(truth.shape, 12, 3)
    truth[:, 33] = 0  # keeps objects shorter than the distance looked at
    truth[27, :] = 0
    truth = worlds.cc(truth)
    source = worlds.cut(truth, lattice, mode="whole")
    before = worlds.raster(merge_region(lattice, source, OPTIONS, mode="instances"))
    del source.tiles[4, 4]
    after = worlds.raster(merge_region(lattice, source, OPTIONS, mode="instances"))
    touched = np.unique(truth[45:, 45:])
    np.testing.assert_array_equal(before[~np.isin(truth, touched)], after[~np.isin(truth, touched)])
    assert (after[48:, 48:] != before[48:, 48:]).any()


def test_keep_min_area_and_aoi(worlds: SimpleNamespace) -> None:
    truth = np.zeros((24, 24), dtype=np.int64)
    truth[2:4, 2:4], truth[9:15, 9:15], truth[20:21, 3:20] = 1, 2, 3
    lattice = worlds.make_lattice(truth.shape, 10, 2, 1)
    source = worlds.cut(truth, lattice, mode="pieces")

    def west(window: SimpleNamespace) -> np.ndarray:
        return np.broadcast_to(np.arange(window.col0, window.col1) < 10, window.shape)

    merge = merge_region(lattice, source, StitchOptions(min_area_px=5), mode="instances", aoi_mask=west)
    assert merge.instances.area_px.tolist() == [36, 17]
    assert merge.instances.aoi_px.tolist() == [6, 7]
    expected = worlds.canonical(truth)
    expected[truth == 1] = 0
    np.testing.assert_array_equal(worlds.raster(merge), expected)
    keep = merge.instances.instance_id[1:]
    np.testing.assert_array_equal(worlds.raster(merge, keep), np.where(truth == 3, expected, 0))
    np.testing.assert_array_equal(worlds.raster(merge, {int(keep[0])}), np.where(truth == 3, expected, 0))
    assert [i.tolist() for i, _ in merge.polygons(keep)] == [keep.tolist()]
    with pytest.raises(ValueError, match="ids of the instance table"):
        merge.paint_block(0, 0, {1})


def test_scores_are_the_representatives_or_weighted_by_core_pixels(worlds: SimpleNamespace) -> None:
    truth = np.zeros((10, 40), dtype=np.int64)
    truth[4:6, 8:11] = 1  # 4 px in tile 0, 2 px in tile 1, seen whole by both
    truth[8, 14:36] = 2  # 6, 10 and 6 px: nobody sees it whole
    lattice = worlds.make_lattice(truth.shape, 10, 5)
    source = worlds.cut(truth, lattice, mode="whole")
    source.scores = {key: [1000 * (key[1] + 1)] * int(labels.max()) for key, labels in source.tiles.items()}
    rows = merge_region(lattice, source, OPTIONS, mode="instances").instances
    assert rows.complete.tolist() == [True, False]
    # both tiles see object 1 whole; tile 0's read window ends 4 px from it, tile 1's 3 px
    assert (rows.rep_tile_col[0], rows.score_sum[0] / rows.score_px[0]) == (0, 1000.0)
    assert rows.score_px[1] == 22
    assert rows.score_sum[1] == 6 * 2000 + 10 * 3000 + 6 * 4000
    assert rows.score[1] == pytest.approx(3000 / 65535)


def test_contradicting_records_are_refused(worlds: SimpleNamespace) -> None:
    truth = np.ones((12, 20), dtype=np.int64)
    lattice = worlds.make_lattice(truth.shape, 10, 2)
    source = worlds.cut(truth, lattice, mode="whole")
    source.tiles[0, 0] = source.tiles[0, 0][:, :-1]
    with pytest.raises((RecordError, ValueError)):
        merge_region(lattice, source, OPTIONS, mode="instances")

    class Twice:
        def records(self) -> list[TileFragments]:
            return [TileFragments(tile_row=0, tile_col=0, fragments=())] * 2

    with pytest.raises(RecordError, match="two records"):
        merge_region(lattice, Twice(), OPTIONS, mode="instances")  # type: ignore[arg-type]


def test_tiles_are_read_a_bounded_number_of_times(worlds: SimpleNamespace) -> None:
    truth = worlds.cc(
        np.kron(np.random.default_rng(0).integers(0, 3, (24, 24)), np.ones((4, 4), dtype=np.int64))
    )
    lattice = worlds.make_lattice(truth.shape, 8, 2, 4)
    source = worlds.cut(truth, lattice, mode="whole")
    merge_region(lattice, source, OPTIONS, mode="instances")
    assert source.reads < 2 * 2.6 * len(worlds.all_tiles(lattice)), (
        "two passes; (K + 2)^2 tiles per K^2 at most"
    )


def test_empty_region(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((12, 20), 10, 2)
    for mode in ("instances", "semantic"):
        merge = merge_region(lattice, worlds.ArraySource(lattice=lattice, tiles={}), OPTIONS, mode=mode)
        assert len(merge.instances) == 0
        assert not worlds.raster(merge).any()
        assert list(merge.polygons()) == []
