"""The calibration's page: figures at their place, and a picture that opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluate.gate_curves import Costs, JudgedPairs, gate_curve, verifier_curve
from pipeline.evaluate.gate_page import calibration_markdown, draw_calibration

pytest.importorskip("matplotlib")


def document(*, masks: bool = True) -> dict[str, object]:
    present = np.array([True] * 50 + [False] * 50)
    p = np.concatenate([np.linspace(0.5, 1, 50), np.linspace(0, 0.6, 50)])
    pairs = JudgedPairs(p=p, present=present, absent=~present, found=present)
    return {
        "world": "seven",
        "prompter": "vllm:x@1",
        "counts": {"pairs": 100, "present": 50, "absent": 50, "found": 50, "masks": 4, "right": 2},
        "costs": {"prompter_s": 0.5, "look_s": {"tile": 0.25, "parent": 0.01}},
        "gate": {"tile": gate_curve(pairs, Costs(look_s=0.25, prompter_s=0.5))},
        "verifier": verifier_curve(np.array([0.9, 0.8, 0.1, 0.9]), np.array([True, True, False, False])) if masks else [],
    }


def test_the_page_proposes_thresholds_and_shows_the_curves() -> None:
    page = calibration_markdown(document())
    assert "# Gate and verifier: vllm:x@1, world seven" in page
    assert "- recall 0.99: threshold = 0.5 (asked 0.59)" in page  # 50 present and 9 of the others reach 0.5
    assert "| 0.5 | 1 | 0.929-1.000 | 1 | 0.18 | 0.59 | 1.09 |" in page
    assert "- recall 0.9: threshold = 0.8 (kept wrong 0.5)" in page
    assert "## Verifier" not in calibration_markdown(document(masks=False))


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    from PIL import Image

    for masks in (True, False):
        draw_calibration(document(masks=masks), tmp_path / "c.png")
        with Image.open(tmp_path / "c.png") as picture:
            assert picture.format == "PNG"
            assert picture.width > 800
