"""Route B over transformers' SAM3, with random weights: what it finds means nothing, its form does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from segment.dual_route.tiny_phrases import write_sam3

from pipeline.errors import ModelError
from pipeline.segment.dual_route.sam3_text import Sam3Text


def test_a_phrase_gives_one_mask_of_the_picture_and_a_threshold_takes_it_away(tmp_path: Path) -> None:
    folder = write_sam3(tmp_path / "sam3")
    rgb = np.random.default_rng(0).integers(0, 256, (30, 44, 3), dtype=np.uint8)
    every = Sam3Text(str(folder), threshold=0.0)
    mask, score = every.find(rgb, "storage tank")
    assert (mask.shape, mask.dtype) == ((30, 44), np.bool_)
    assert mask.any()
    assert 0 < score < 1
    none, nothing = Sam3Text(str(folder), threshold=1.0).find(rgb, "storage tank")
    assert (none.shape, none.any(), nothing) == ((30, 44), False, 0.0)
    assert every.find(rgb, "storage tank")[1] == score


def test_a_folder_without_a_sam3_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="SAM3 does not load"):
        Sam3Text(str(tmp_path))
