"""What the nouns of an answer refuse."""

from __future__ import annotations

import pytest

from pipeline.schema.tile_answers import Prompt


def test_a_prompt_needs_geometry_and_labels_for_its_points() -> None:
    with pytest.raises(ValueError, match="box or at least one point"):
        Prompt(box_xyxy=None)
    with pytest.raises(ValueError, match="as many labels"):
        Prompt(box_xyxy=None, points_xy=((1.0, 1.0),))
