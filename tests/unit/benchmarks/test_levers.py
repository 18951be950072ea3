"""The table of our own thresholds: options that exist, and figures counted by hand."""

from __future__ import annotations

import numpy as np
from benchmarks.seams.levers import COLUMNS, VARIANTS, figures, line
from benchmarks.seams.score import Pixels
from benchmarks.seams.world import SeamWorld

from pipeline.stitch.stitch_options import StitchOptions


def test_every_variant_is_a_set_of_options_of_its_own() -> None:
    options = [StitchOptions(**changes) for changes in VARIANTS.values()]
    assert len(set(options)) == len(VARIANTS)
    assert options[list(VARIANTS).index("defaults")] == StitchOptions()


def test_figures_of_three_objects_one_of_which_is_missed() -> None:
    labels = np.zeros((4, 6), dtype=np.int32)
    labels[0, :4], labels[2, :2], labels[3, 4:] = 1, 2, 3
    world = SeamWorld(labels=labels, kind=("small", "small", "small"), seed=0)
    pixels = Pixels(
        start=np.array([0, 3, 5]), index=np.array([0, 1, 2, 12, 13])
    )  # 3 of 4 pixels of the first, all of the second
    got = figures(world, pixels, np.array([True, False, True]))
    np.testing.assert_allclose(got, [2, 2 / 3, 1 / 2, 0, 0, 1, (0.75 + 1.0) / (2 + 1 / 2)])
    assert line("x", got) == "| x | 2.0 | 66.7 % | 50.0 % | 0.0 | 0.0 | 1.0 | 0.7000 |"
    assert line("x", got).count("|") == len(COLUMNS) + 2
