from __future__ import annotations

import numpy as np

from pipeline.evaluate.judge.judge_picture import judge_picture


def test_four_kinds_of_pixels_by_hand() -> None:
    """Half of the pixel and half of the colour; 101 halves to 50.5, which rounds to even."""
    rgb = np.full((1, 4, 3), 101, np.uint8)
    true = np.array([[True, True, False, False]])
    predicted = np.array([[True, False, True, False]])
    picture = judge_picture(rgb, true, predicted)
    assert picture.tolist() == [[[178, 178, 50], [50, 178, 50], [178, 50, 50], [101, 101, 101]]]
    assert rgb.tolist() == [[[101] * 3] * 4]
