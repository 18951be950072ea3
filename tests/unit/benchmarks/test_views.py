"""What tiles are shown of the seam world: exact crops without noise, and the same pixels in every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio.features
import shapely
from benchmarks.seams import views
from benchmarks.seams.adapters.exchange import TileMasks
from benchmarks.seams.world import SeamWorld

LABELS = np.zeros((60, 80), dtype=np.int32)
LABELS[5:9, 20:60] = 1  # over the seam at column 40
LABELS[20:30, 10:20], LABELS[30:36, 10:20] = 2, 3  # touching, left of it
LABELS[44:56, 36:50] = 4  # below row 40, over column 40
LABELS[36:42, 70:78] = 5  # over the seam at row 40
WORLD = SeamWorld(labels=LABELS, kind=("long", "row house", "row house", "medium", "small"), seed=4)


def masks_of(tmp_path: Path, noise: str | None) -> TileMasks:
    views.write_truth(tmp_path / "labels.tif", WORLD)
    return views.tile_masks(WORLD, tmp_path / "labels.tif", views.lattice_over(WORLD, 52, 6), noise)  # type: ignore[arg-type]


def test_objects_in_more_than_one_core_are_crossing() -> None:
    lattice = views.lattice_over(WORLD, 52, 6)
    assert lattice.core_px == 40
    assert views.crossing(WORLD, lattice).tolist() == [True, False, False, True, True]


def test_exact_masks_are_crops_of_the_truth(tmp_path: Path) -> None:
    masks = masks_of(tmp_path, None)
    assert masks.tile_rc.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    for index, (row0, col0, row1, col1) in enumerate(masks.read.tolist()):
        truth = LABELS[row0:row1, col0:col1]
        labels = masks.labels[index]
        np.testing.assert_array_equal(labels > 0, truth > 0)
        pairs = np.unique(np.stack([labels[labels > 0], truth[truth > 0]]), axis=1)
        assert pairs.shape[1] == np.unique(pairs[0]).size == np.unique(pairs[1]).size, (
            "one local id per object and tile"
        )


@pytest.mark.parametrize("noise", [None, "mild", "strong"])
def test_polygons_boxes_and_label_images_show_the_same_pixels(tmp_path: Path, noise: str | None) -> None:
    masks = masks_of(tmp_path, noise)
    assert len(masks.wkb) == masks.tile.size == sum(int(labels.max()) for labels in masks.labels) > 4
    for index in range(masks.tile.size):
        shape = shapely.from_wkb(masks.wkb[index])
        assert shapely.is_valid(shape)
        row0, col0, row1, col1 = masks.read[masks.tile[index]].tolist()
        burnt = rasterio.features.rasterize([shape], out_shape=LABELS.shape)
        expected = np.zeros(LABELS.shape, dtype=np.bool_)
        expected[row0:row1, col0:col1] = masks.labels[masks.tile[index]] == masks.local[index]
        np.testing.assert_array_equal(burnt > 0, expected)
        rows, cols = np.nonzero(expected)
        assert masks.box[index].tolist() == [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]


def test_complete_views_are_the_most_confident(tmp_path: Path) -> None:
    masks = masks_of(tmp_path, None)
    shown = {}
    for index in range(masks.tile.size):
        row0, col0, row1, col1 = masks.read[masks.tile[index]].tolist()
        mask = masks.labels[masks.tile[index]] == masks.local[index]
        thing = int(LABELS[row0:row1, col0:col1][mask][0])
        shown.setdefault(thing, []).append((mask.sum() / (thing == LABELS).sum(), masks.score[index]))
    for views_of_one in shown.values():
        for share, confidence in views_of_one:
            assert 0.5 + 0.45 * share <= confidence <= 0.54 + 0.45 * share
    assert len(shown[1]) == 2
    assert max(share for share, _ in shown[1]) < 1, "no tile sees the long one whole"
