"""Published facts agree with the packages that know them."""

from __future__ import annotations

import pytest

from pipeline.run.config import known_presets, preset_tables
from pipeline.run.models.hub_pins import hub_models
from pipeline.run.models.published_models import published_models
from pipeline.segment.sam2_model import build_architecture, hub_entry, package_config_dir


def test_every_preset_s_model_of_the_hub_has_a_licence_and_a_source() -> None:
    from pipeline.run.config import build_preset

    named = {
        model.repo_id for name in known_presets() for model in hub_models(build_preset(preset_tables(name)))
    }
    assert {"RicardoString/Think2Seg-RS-3B", "facebook/sam2.1-hiera-small"} <= named
    for repo_id in named:
        facts = published_models()[repo_id]
        assert facts.licence
        assert facts.source


@pytest.mark.parametrize("size", ["tiny", "small", "base-plus", "large"])
def test_parameters_of_sam2_are_those_of_its_package(size: str) -> None:
    repo_id = f"facebook/sam2.1-hiera-{size}"
    model = build_architecture(package_config_dir() / hub_entry(repo_id)[0])
    counted = sum(tensor.numel() for tensor in model.state_dict().values())
    assert published_models()[repo_id].parameters == counted
    assert published_models()[repo_id].weights_bytes == 4 * counted


@pytest.mark.parametrize(
    ("repo_id", "gb"), [("RicardoString/Think2Seg-RS-3B", 7.51), ("RicardoString/Think2Seg-RS-7B", 16.58)]
)
def test_sizes_are_those_of_the_base_models(repo_id: str, gb: float) -> None:
    """Their indices say total_size 7509245952 and 16584333312."""
    assert published_models()[repo_id].weights_bytes / 1e9 == pytest.approx(gb, abs=0.01)
