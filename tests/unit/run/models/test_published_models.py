"""Published facts agree with the packages that know them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.run.config import known_presets, preset_tables
from pipeline.run.models.hub_pins import hub_models
from pipeline.run.models.published_models import published_models


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
    """As tests/unit/segment/test_sam2_model.py counts them in the models that the package builds."""
    golden = Path(__file__).parents[3] / "golden/segment/sam2_state_hashes.json"
    repo_id = f"facebook/sam2.1-hiera-{size}"
    facts = published_models()[repo_id]
    assert facts.parameters == json.loads(golden.read_text())[repo_id]["numbers"]
    assert facts.weights_bytes == 4 * facts.parameters


@pytest.mark.parametrize(
    ("repo_id", "gb"), [("RicardoString/Think2Seg-RS-3B", 7.51), ("RicardoString/Think2Seg-RS-7B", 16.58)]
)
def test_sizes_are_those_of_the_base_models(repo_id: str, gb: float) -> None:
    """Their indices say total_size 7509245952 and 16584333312."""
    assert published_models()[repo_id].weights_bytes / 1e9 == pytest.approx(gb, abs=0.01)
