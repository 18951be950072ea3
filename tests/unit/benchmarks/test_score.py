"""The figures of the seam comparison on worlds that are counted by hand, and against a plain recount."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from benchmarks.seams import score as scoring
from benchmarks.seams.adapters.exchange import Outputs
from benchmarks.seams.score import Score, pixels_of, score
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

TRUTH = np.zeros((10, 40), dtype=np.int32)
TRUTH[2:6, 0:10], TRUTH[2:6, 10:20], TRUTH[2:6, 24:34] = 1, 2, 3  # 40 px each; 1 and 2 touch


def of(*windows: tuple[int, int, int, int]) -> Score:
    """The score of outputs that are rectangles: row0, col0, row1, col1."""
    shapes = [shapely.box(col0, row0, col1, row1) for row0, col0, row1, col1 in windows]
    return score(TRUTH, pixels_of(Outputs(wkb=tuple(shapely.to_wkb(shape) for shape in shapes)), TRUTH.shape))


def counts(got: Score) -> tuple[int, int, int, int]:
    return got.splits, got.false_merges, got.missed, got.duplicates


PERFECT = ((2, 0, 6, 10), (2, 10, 6, 20), (2, 24, 6, 34))


def test_perfect_outputs() -> None:
    got = of(*PERFECT)
    assert (got.outputs, counts(got), got.quality) == (3, (0, 0, 0, 0), 1.0)
    assert got.exact.tolist() == [True, True, True]
    assert got.output_iou.tolist() == [1.0, 1.0, 1.0]


def test_nothing_at_all() -> None:
    got = of()
    assert (got.outputs, counts(got), got.quality) == (0, (0, 0, 3, 0), 0.0)
    assert not got.exact.any()
    assert not got.found.any()


def test_an_object_in_two_parts_is_split_and_not_missed() -> None:
    got = of((2, 0, 6, 4), (2, 4, 6, 10), *PERFECT[1:])
    assert counts(got) == (1, 0, 0, 0)
    assert got.exact.tolist() == [False, True, True]
    assert got.found.tolist() == [True, True, True]  # the larger part reaches 24 / 40
    # matched: 0.6 + 1 + 1 over 3 matches and one output too many
    assert got.quality == pytest.approx(2.6 / 3.5)


def test_three_thirds_are_one_split_object() -> None:
    assert counts(of((2, 0, 6, 3), (2, 3, 6, 6), (2, 6, 6, 10), *PERFECT[1:])) == (1, 0, 0, 0)


def test_a_second_view_of_the_same_pixels_is_a_duplicate() -> None:
    got = of(*PERFECT, (2, 0, 6, 6))
    assert counts(got) == (0, 0, 0, 1)
    assert got.exact.all()
    assert got.quality == pytest.approx(3 / 3.5)


def test_overlapping_halves_are_a_split_until_more_than_half_is_shown_twice() -> None:
    assert counts(of((2, 0, 6, 6), (2, 4, 6, 10), *PERFECT[1:])) == (1, 0, 0, 0)  # 8 of 24 px are shown twice
    assert counts(of((2, 0, 6, 8), (2, 4, 6, 10), *PERFECT[1:])) == (0, 0, 0, 1)  # 16 of 24


def test_one_output_over_two_neighbours_is_one_false_merge() -> None:
    got = of((2, 0, 6, 20), PERFECT[2])
    assert counts(got) == (0, 1, 0, 0)
    assert got.exact.tolist() == [False, False, True]
    assert got.found.tolist() == [True, True, True]  # exactly half: found, but no match of panoptic quality
    assert got.quality == pytest.approx(1 / (1 + (1 + 2) / 2))


def test_half_an_object_shown_is_missed_and_a_little_more_is_not() -> None:
    assert counts(of((2, 0, 6, 5), *PERFECT[1:])) == (0, 0, 1, 0)
    assert counts(of((2, 0, 6, 6), *PERFECT[1:])) == (0, 0, 0, 0)


def test_exactness_starts_at_95_percent() -> None:
    truth = np.zeros((10, 12), dtype=np.int32)
    truth[:, :10] = 1

    def exact(missing: int) -> bool:
        raster = truth.copy()
        raster.ravel()[np.flatnonzero(truth)[:missing]] = 0
        return bool(score(truth, pixels_of(Outputs(raster=raster), truth.shape)).exact[0])

    assert [exact(5), exact(6)] == [True, False]


def test_an_output_in_the_background_only_costs_quality() -> None:
    got = of(*PERFECT, (7, 0, 9, 10))
    assert (got.outputs, counts(got)) == (4, (0, 0, 0, 0))
    assert got.quality == pytest.approx(3 / 3.5)
    assert got.output_iou.tolist() == [1.0, 1.0, 1.0, 0.0]


def test_raster_and_polygons_give_the_same_pixels() -> None:
    raster = np.where(TRUTH > 0, TRUTH.astype(np.uint64) + 2**40, 0).astype(np.uint64)
    from_raster = pixels_of(Outputs(raster=raster), TRUTH.shape)
    shapes = [shapely.box(c0, r0, c1, r1) for r0, c0, r1, c1 in PERFECT]
    from_polygons = pixels_of(Outputs(wkb=tuple(shapely.to_wkb(shapes).tolist())), TRUTH.shape)
    assert len(from_raster) == len(from_polygons) == 3
    for i in range(3):
        np.testing.assert_array_equal(from_raster.of(i), np.flatnonzero(i + 1 == TRUTH))
        np.testing.assert_array_equal(np.sort(from_polygons.of(i)), np.flatnonzero(i + 1 == TRUTH))


def test_empty_polygons_and_polygons_beyond_the_grid_are_no_outputs() -> None:
    shapes = [
        shapely.Polygon(),
        shapely.box(50, 0, 60, 5),
        shapely.box(38, 8, 45, 15),
        shapely.box(0.6, 0.6, 0.9, 0.9),
    ]
    pixels = pixels_of(Outputs(wkb=tuple(shapely.to_wkb(shapes).tolist())), TRUTH.shape)
    assert [pixels.of(i).tolist() for i in range(len(pixels))] == [
        [8 * 40 + 38, 8 * 40 + 39, 9 * 40 + 38, 9 * 40 + 39]
    ]


def test_a_raster_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="world's shape"):
        pixels_of(Outputs(raster=np.zeros((3, 3), dtype=np.int32)), TRUTH.shape)


@given(seed=st.integers(0, 2**32 - 1), dense=st.booleans())
@settings(max_examples=25, deadline=None)
def test_agrees_with_a_plain_recount(seed: int, dense: bool) -> None:
    rng = np.random.default_rng(seed)
    truth = relabelled(np.kron(rng.integers(0, 4, (4, 5)), np.ones((3, 3), dtype=np.int64)))
    outputs = rng.random((int(rng.integers(0, 7)), *truth.shape)) < 0.4
    outputs = outputs[outputs.any(axis=(1, 2))]
    runs = [[shapely.box(c, r, c + 1, r + 1) for r, c in np.argwhere(mask)] for mask in outputs]
    pixels = pixels_of(
        Outputs(wkb=tuple(shapely.to_wkb(shapely.union_all(run)) for run in runs)), truth.shape
    )
    limit = scoring.MAX_DENSE_PAIRS
    try:
        scoring.MAX_DENSE_PAIRS = limit if dense else 0
        got = score(truth, pixels)
    finally:
        scoring.MAX_DENSE_PAIRS = limit
    iou = np.array(
        [
            [(m & (truth == t)).sum() / (m | (truth == t)).sum() for m in outputs]
            for t in range(1, truth.max() + 1)
        ]
    )
    best = iou.max(axis=1, initial=0.0)
    np.testing.assert_array_equal(got.exact, best >= 0.95)
    np.testing.assert_array_equal(got.found, best >= 0.5)
    np.testing.assert_allclose(got.output_iou, iou.max(axis=0, initial=0.0))
    held = [
        sum(2 * (m & (truth == t)).sum() > (truth == t).sum() for t in range(1, truth.max() + 1))
        for m in outputs
    ]
    assert got.false_merges == sum(h >= 2 for h in held)
    seen = outputs.any(axis=0)
    assert got.missed == sum(
        2 * (seen & (truth == t)).sum() <= (truth == t).sum() for t in range(1, truth.max() + 1)
    )


def relabelled(image: NDArray[np.int64]) -> NDArray[np.int32]:
    """Values 1..n without gaps, 0 stays; at least one object."""
    image[0, 0] = 9
    values = np.unique(image[image > 0])
    return np.where(image > 0, np.searchsorted(values, image) + 1, 0).astype(np.int32)
