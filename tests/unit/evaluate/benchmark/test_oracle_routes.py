"""Masks that know the truth and see only a box: each mistake does what it says; fusion is the real one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.evaluate.benchmark.oracle_noise import INVENTED_PART, NO_NOISE, OracleNoise
from pipeline.evaluate.benchmark.oracle_routes import BoxedOracle, OracleRoute
from pipeline.schema.tile_answers import Prompt
from pipeline.segment.dual_route.dual_options import Rules

PARTS = np.zeros((40, 60), np.int32)
PARTS[10:20, 10:30] = 1
PARTS[10:20, 34:40] = 2
WIDE = Prompt(box_xyxy=(10.0, 10.0, 40.0, 20.0))


def drawn(
    routes: OracleRoute,
    noise: OracleNoise = NO_NOISE,
    prompt: Prompt = WIDE,
    part: int = 1,
    rules: Rules = "paper",
) -> NDArray[np.bool_]:
    mask = np.zeros(PARTS.shape, bool)
    crop = BoxedOracle(routes, rules, noise).draw(PARTS, part, prompt, (0, 0))
    if crop is not None:
        height, width = crop.mask.shape
        mask[crop.row0 : crop.row0 + height, crop.col0 : crop.col0 + width] = crop.mask
        assert crop.mask.any(axis=0)[[0, -1]].all()
    return mask


def test_route_a_marks_the_object_and_route_b_all_of_the_query_in_the_box() -> None:
    np.testing.assert_array_equal(drawn("a"), PARTS == 1)
    np.testing.assert_array_equal(drawn("b"), PARTS > 0)
    np.testing.assert_array_equal(drawn("both"), PARTS == 1)
    np.testing.assert_array_equal(drawn("direct"), PARTS == 1)


def test_what_lies_outside_of_the_box_is_lost() -> None:
    moved = Prompt(box_xyxy=(20.0, 5.0, 60.0, 25.0))
    wanted = PARTS == 1
    wanted[:, :20] = False
    np.testing.assert_array_equal(drawn("a", prompt=moved), wanted)


def test_leaks_are_of_one_route_and_fusion_takes_most_of_them_away() -> None:
    leak = OracleNoise(leak=1.0)
    routes: tuple[OracleRoute, ...] = ("a", "b", "both")
    extra = {route: int((drawn(route, leak) & (PARTS == 0)).sum()) for route in routes}
    assert extra["a"] > 20
    assert extra["b"] == extra["both"] == 0
    wrong = dict.fromkeys(routes, 0)
    for seed in range(20):
        noise = OracleNoise(leak=1.0, confuse=1.0, seed=seed)
        for route in routes:
            wrong[route] += int((drawn(route, noise) & (PARTS == 0)).sum())
    assert wrong["both"] < 0.7 * min(wrong["a"], wrong["b"])


def test_a_route_that_finds_nothing_leaves_it_to_the_other() -> None:
    lost = OracleNoise(lose=1.0)
    assert not drawn("both", lost).any()
    assert not drawn("direct", lost).any()


def test_outlines_move_by_a_share_of_the_size() -> None:
    sizes = {
        int(drawn("a", OracleNoise(edge=0.1, seed=seed), Prompt(box_xyxy=(0.0, 0.0, 60.0, 40.0))).sum())
        for seed in range(12)
    }
    assert min(sizes) < 200 < max(sizes)
    assert min(sizes) > 0


def test_where_nothing_is_points_draw_something_and_a_phrase_finds_nothing() -> None:
    empty = Prompt(box_xyxy=(0.0, 24.0, 20.0, 40.0))
    assert drawn("a", prompt=empty, part=INVENTED_PART).any()
    assert not drawn("b", prompt=empty, part=INVENTED_PART).any()
    assert drawn("both", prompt=empty, part=INVENTED_PART).any()  # the paper's rule: A alone counts


def test_a_prompt_without_a_box_is_refused() -> None:
    with pytest.raises(ModelError, match="needs a box in every prompt"):
        drawn("a", prompt=Prompt(box_xyxy=None, points_xy=((3.0, 3.0),), point_labels=(1,)))
