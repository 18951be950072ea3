"""The figures of exported outlines, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from benchmarks.outline_fit import best_ious, shared_area


def test_every_mapped_outline_has_its_best_object_and_shared_ground_counts_once() -> None:
    objects = np.array([shapely.box(0, 0, 4, 4), shapely.box(3, 0, 8, 4), shapely.box(20, 0, 21, 1)], object)
    mapped = np.array([shapely.box(0, 0, 4, 2), shapely.box(4, 0, 8, 4), shapely.box(50, 0, 51, 1)], object)
    assert best_ious(mapped, objects) == pytest.approx([8 / 16, 16 / 20, 0.0])
    assert shared_area(objects) == pytest.approx(4.0)
