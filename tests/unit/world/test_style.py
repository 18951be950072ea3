from __future__ import annotations

import numpy as np

from pipeline.world.classes import CLASSES
from pipeline.world.style import HAZE, NOISE, SHADOW_SLOPE, SUN_X, SUN_Y, absent_classes, derive_style

SEEDS = range(400)


def test_every_class_is_absent_in_some_worlds_and_present_in_most() -> None:
    absent = [absent_classes(seed) for seed in SEEDS]
    assert {len(a) for a in absent} == {1, 2}
    for name in CLASSES:
        share = sum(name in a for a in absent) / len(absent)
        assert 0.08 < share < 0.27  # 1.5 of 9 classes on average = 0.167


def test_style_is_a_function_of_the_seed() -> None:
    a = derive_style(5)
    b = derive_style(5)
    c = derive_style(6)
    np.testing.assert_array_equal(a.numbers, b.numbers)
    np.testing.assert_array_equal(a.palette, b.palette)
    assert (a.numbers != c.numbers).sum() > 25
    assert (a.palette != c.palette).mean() > 0.9


def test_styles_vary_widely() -> None:
    numbers = np.array([derive_style(seed).numbers for seed in SEEDS])
    palettes = np.array([derive_style(seed).palette for seed in SEEDS])
    assert palettes.min() >= 0.0
    assert palettes.max() <= 255.0
    assert palettes[:, 0].std(axis=0).min() > 25.0  # ground colour
    azimuth = np.arctan2(numbers[:, SUN_Y], numbers[:, SUN_X])
    assert np.histogram(azimuth, bins=8, range=(-np.pi, np.pi))[0].min() > 20
    assert numbers[:, HAZE].max() > 0.25
    assert numbers[:, NOISE].min() < 0.1
    assert numbers[:, SHADOW_SLOPE].max() / numbers[:, SHADOW_SLOPE].min() > 4.0
