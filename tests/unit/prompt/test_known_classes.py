"""What is read from the sources of vLLM and transformers is what they say when they are imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.errors import InputError
from pipeline.prompt.known_classes import check_classes, known_processors, served_architectures

PUBLISHED = (
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3VLForConditionalGeneration",
    "InternVLForConditionalGeneration",
    "LlavaForConditionalGeneration",
)


def test_the_published_architectures_are_served() -> None:
    found = served_architectures()
    assert found is not None
    assert set(PUBLISHED) <= found


@pytest.mark.long
def test_architectures_are_those_of_vllm_s_own_registry() -> None:
    found = served_architectures()
    assert found is not None
    program = "from vllm.model_executor.models.registry import _MULTIMODAL_MODELS as m; print(*sorted(m))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.split() == sorted(found)


def test_processors_are_classes_of_transformers() -> None:
    found = known_processors()
    assert found is not None
    assert {"Qwen2_5_VLProcessor", "Qwen3VLProcessor", "InternVLProcessor", "LlavaProcessor"} <= found


@pytest.mark.parametrize(
    ("config", "settings", "said"),
    [
        ({"architectures": ["ResNetForImageClassification"]}, {}, "installed vLLM serves"),
        ({}, {}, "Got: none in config.json"),
        (
            {"architectures": [PUBLISHED[0]]},
            {"processor_class": "TheirOwnProcessor"},
            "TheirOwnProcessor of here.*code that comes with a checkpoint is not run",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(config: dict, settings: dict, said: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=said):
        check_classes("here", config, settings)


def test_what_can_be_served_passes() -> None:
    check_classes("here", {"architectures": [PUBLISHED[1]]}, {"processor_class": "Qwen3VLProcessor"})
    check_classes("here", {"architectures": [PUBLISHED[1]]}, {})
