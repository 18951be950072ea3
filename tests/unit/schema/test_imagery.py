"""Where pixels come from: whose pixels lie in a part of a window, and what the values of bands mean."""

from __future__ import annotations

import numpy as np

from pipeline.schema.imagery import Reflectance, ScenePixels


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


def test_bands_that_are_alike_are_one() -> None:
    red = Reflectance(scale=1e-4, offset=-0.1, source="red's file")
    joint = Reflectance.joined([red, red, red])
    assert joint == red
    assert joint.coefficients(3) == ((1e-4, -0.1),) * 3
    assert joint.numbers() == [1e-4, -0.1]


def test_bands_that_differ_keep_their_own_numbers() -> None:
    red = Reflectance(scale=1e-4, offset=-0.1, source="red's file")
    blue = Reflectance(scale=2e-4, offset=0.0, source="blue's file")
    joint = Reflectance.joined([red, red, blue])
    assert (joint.scale, joint.offset) == (1e-4, -0.1)
    assert joint.coefficients(3) == ((1e-4, -0.1), (1e-4, -0.1), (2e-4, 0.0))
    assert joint.source == "red's file and blue's file"
    assert Reflectance.from_dict(joint.to_dict()) == joint
