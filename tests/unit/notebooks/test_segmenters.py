"""The smaller segmenter of the ablation is a SAM2 that a training preset can name, and it is smaller."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.finetune.grpo.grpo_options import load_training_preset
from pipeline.segment.build_segmenter import check_sam2_options
from pipeline.segment.sam2_model import EMBEDDED_DIR, build_architecture
from pipeline.segment.sam2_segmenter import Sam2Segmenter

torch = pytest.importorskip("torch")

SMALL = Path(__file__).parents[3] / "notebooks/grpo/segmenters/small.yaml"


def n_parameters(config: Path) -> int:
    return sum(parameter.numel() for parameter in build_architecture(config).parameters())


def test_it_is_smaller_and_takes_the_same_image() -> None:
    small = build_architecture(SMALL)
    shipped = build_architecture(EMBEDDED_DIR / "config.yaml")
    assert small.image_size == shipped.image_size == 384
    assert n_parameters(SMALL) == 917_120
    assert n_parameters(SMALL) < n_parameters(EMBEDDED_DIR / "config.yaml") / 3


def test_a_training_preset_names_it(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = tmp_path / "small.safetensors"
    save_file(build_architecture(SMALL).state_dict(), weights)
    preset = load_training_preset(
        "embedded", [f"segmenter.config={SMALL}", f"segmenter.checkpoint={weights}"]
    )
    check_sam2_options(preset.segmenter)
    Sam2Segmenter(preset.segmenter)
    with pytest.raises(InputError, match="one architecture"):
        check_sam2_options(load_training_preset("embedded", [f"segmenter.config={SMALL}"]).segmenter)
