from __future__ import annotations

import pytest

from pipeline.stitch.stitch_options import MergeOptions, StitchOptions


@pytest.mark.parametrize(
    "bad",
    [
        {"tau": 0.0},
        {"tau": float("nan")},
        {"min_overlap_px": 0},
        {"min_area_px": -1},
        {"nms_iou": 1.5},
        {"split_tiles": 0},
        {"min_visible_share": 1.5},
        {"rescue_share": 1.5},
        {"keep_share": -0.1},
        {"keep_share": 1.1},
        {"trusted_margin_px": -1},
        {"trusted_margin_px": 2**15},
    ],
)
def test_senseless_thresholds_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        StitchOptions(**bad)  # type: ignore[arg-type]


def test_tau_above_one_is_allowed() -> None:
    assert StitchOptions(tau=1.01).tau == 1.01


def test_a_super_tile_has_a_tile() -> None:
    assert MergeOptions().super_tile_tiles == 32
    with pytest.raises(ValueError, match="super_tile_tiles"):
        MergeOptions(super_tile_tiles=0)
