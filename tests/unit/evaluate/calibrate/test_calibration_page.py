"""The calibration's page: figures at their place, and a picture that opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluate.calibrate.calibration_page import calibration_markdown, draw_calibration
from pipeline.evaluate.calibrate.curves import Costs, JudgedMasks, JudgedPairs, gate_curve, verifier_curve

pytest.importorskip("matplotlib")


def document(*, masks: bool = True) -> dict[str, object]:
    present = np.array([True] * 50 + [False] * 50)
    p = np.concatenate([np.linspace(0.5, 1, 50), np.linspace(0, 0.6, 50)])
    pairs = JudgedPairs(p=p, present=present, absent=~present, found=present, picture=np.arange(100))
    looked = JudgedMasks(
        p=np.array([0.9, 0.8, 0.1, 0.9]), right=np.array([True, True, False, False]), picture=np.arange(4)
    )

    def spread(seconds: float) -> dict[str, float]:
        return {"median": seconds, "low": seconds / 2, "high": 2 * seconds}

    return {
        "world": "seven",
        "prompter": "vllm:x@1",
        "counts": {"pairs": 100, "present": 50, "absent": 50, "found": 50, "masks": 4, "right": 2},
        "costs": {
            "repeats": 3,
            "prompter_s": spread(0.5),
            "segmenter_s": spread(0.125),
            "look_s": {"tile": spread(0.25), "parent": spread(0.01)},
            "verifier_s": spread(0.0625) if masks else None,
            "verifier_cost": spread(1.5),
            "masks_per_pair": 0.75,
        },
        "gate": {"tile": gate_curve(pairs, Costs(look_s=0.25, prompter_s=0.5))},
        "verifier": verifier_curve(looked, 1.5) if masks else [],
    }


def test_the_page_proposes_thresholds_and_shows_the_curves() -> None:
    page = calibration_markdown(document())
    assert "# Gate and verifier: vllm:x@1, world seven" in page
    # all 50 present pairs pass, so the interval begins at 0.025 ** (1 / 50) = 0.9289: only 0.9 is in reach
    # of the 50 others 9 reach 0.5
    assert "- recall 0.9: threshold = 0.5 (at least 0.9289, asked 0.59)" in page
    assert "- recall 0.99: no threshold: at 0.001 it is 1, but 50 pairs are worth 50 independent ones" in page
    assert "and 368 are needed: about 368 like these" in page
    assert "| 0.5 | 1 | 0.929-1.000 | 1 | 0.18 | 0.59 | 1.09 |" in page
    assert (
        "Seconds per pair, median of 3 blocks [smallest, largest]: a look (tile) 0.25 [0.125, 0.5], " in page
    )
    assert (
        "0.5], a look (parent) 0.01 [0.005, 0.02], the prompter 0.5 [0.25, 1], the segmenter 0.125 [" in page
    )
    assert "0.125 [0.0625, 0.25]. Seconds per mask: the verifier 0.0625 [0.03125, 0.125]." in page
    assert "over seconds without it, 1.5 [0.75, 3], with 0.75 masks per pair" in page
    assert "- recall 0.9: no threshold: at 0.001 it is 1, but 2 masks are worth 2 independent ones" in page
    assert "| 0.8 | 1 | 0.158-1.000 | 0.5 | 0.6667 | 1.5 |" in page
    without = calibration_markdown(document(masks=False))
    assert "## Verifier" not in without
    assert "No timed block had a mask for the verifier." in without


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    from PIL import Image

    for masks in (True, False):
        draw_calibration(document(masks=masks), tmp_path / "c.png")
        with Image.open(tmp_path / "c.png") as picture:
            assert picture.format == "PNG"
            assert picture.width > 800
