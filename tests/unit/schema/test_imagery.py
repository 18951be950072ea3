"""Where pixels come from: whose pixels lie in a part of a window."""

from __future__ import annotations

import numpy as np

from pipeline.schema.imagery import ScenePixels


def test_scenes_of_a_part_of_a_window_by_hand() -> None:
    image = np.array([[1, 1, 3], [0, 2, 3]], dtype=np.uint16)
    whole = ScenePixels(numbers=(4, 7, 9), image=image)
    valid = image > 0
    rows = slice(0, 2)
    assert whole.cut((slice(0, 1), slice(0, 2)), valid[:1, :2]) == ScenePixels(numbers=(4,))
    right = whole.cut((rows, slice(1, 3)), valid[:, 1:])
    assert right.numbers == (4, 7, 9)
    two = whole.cut((slice(1, 2), slice(0, 3)), valid[1:])
    assert two.numbers == (7, 9)
    assert two.image is not None
    assert two.image.tolist() == [[0, 1, 2]]
    one = ScenePixels(numbers=(5,))
    assert one.cut((rows, rows), np.array([[True]])) == one
    assert one.cut((rows, rows), np.array([[False]])) == ScenePixels()
