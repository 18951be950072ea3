"""Rules of the processors of five published families, by hand, and from both generations of settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from published_checkpoints import SHAPES

from pipeline.prompt.image_rules import ImageRule, image_rule, local_image_rule, visual_tokens
from pipeline.prompt.profile import load_profile

QWEN25 = ImageRule(factor_px=28, min_area_px=3136, max_area_px=12_845_056)
QWEN3 = ImageRule(factor_px=32, min_area_px=65_536, max_area_px=16_777_216)


def test_rule_from_both_generations_of_settings(tmp_path: Path) -> None:
    old = {"patch_size": 14, "merge_size": 2, "min_pixels": 3136, "max_pixels": 12_845_056}
    new = {
        "image_processor": {
            "patch_size": 16,
            "merge_size": 2,
            "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216},
        }
    }
    assert image_rule(old) == QWEN25
    assert local_image_rule(tmp_path) is None
    (tmp_path / "processor_config.json").write_text(json.dumps(new))
    assert local_image_rule(tmp_path) == QWEN3
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old))
    assert local_image_rule(tmp_path) == QWEN25


@pytest.mark.parametrize(
    ("name", "profile", "tokens"),
    [
        ("qwen2.5-vl-3b", "think2seg", 30 * 30),
        ("qwen2.5-vl-7b", "think2seg", 900),
        ("qwen3-vl-4b", "qwen3-vl", 28 * 28),
        ("internvl3-2b", "internvl3", (2 * 2 + 1) * 256),
        ("internvl3-8b", "internvl3", 1280),
        ("llava-1.5-7b", "llava-1.5", 24 * 24),
    ],
)
def test_tokens_of_each_profile_s_image(name: str, profile: str, tokens: int) -> None:
    shape = SHAPES[name]
    rule = image_rule({**shape.processor, **shape.image})
    assert rule is not None
    assert visual_tokens(load_profile(profile), rule) == tokens


def test_a_single_tile_has_no_overview() -> None:
    rule = ImageRule(factor_px=336, min_area_px=1, max_area_px=336**2, cell_tokens=256, overview=True)
    assert visual_tokens(load_profile("llava-1.5"), rule) == 256


def test_other_processors_are_not_guessed_at() -> None:
    assert image_rule({"size": {"height": 384, "width": 384}}) is None
    assert image_rule({}) is None
