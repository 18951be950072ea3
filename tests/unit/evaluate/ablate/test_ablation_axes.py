"""Variants change what they say and nothing else; what cannot run has a reason."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.evaluate.ablate.ablation_axes import AXES, SAM3, AxisName, AxisOptions, read_models, variants_of
from pipeline.run.config import build_preset

MODELS = ("oracle", "embedded", "oracle+embedded", "oracle+mobile-sam", "think2seg-3b+embedded")


def test_models_are_read() -> None:
    assert read_models("oracle").name == "oracle"
    mixed = read_models("oracle+mobile-sam")
    assert (mixed.prompts, mixed.masks, mixed.preset) == ("oracle", "mobile-sam", "mobile-sam")
    other = read_models("think2seg-3b+embedded")
    assert other.preset == "think2seg-3b"
    assert build_preset(other.tables).segmenter.model_id == "embedded-segmenter"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "names oracle, presets"),
        ("oracle+", None),
        ("+embedded", "names oracle"),
        ("embedded+oracle", "need prompts of the oracle"),
    ],
)
def test_other_models_are_refused(text: str, said: str | None) -> None:
    if said is None:
        assert read_models(text).name == "oracle"
        return
    with pytest.raises(InputError, match=said):
        read_models(text)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("models", MODELS)
def test_every_variant_is_a_preset_and_has_a_name_of_its_own(axis: AxisName, models: str) -> None:
    choice = read_models(models)
    variants = variants_of(axis, choice, AxisOptions())
    assert len({variant.name for variant in variants}) == len(variants) >= 2
    for variant in variants:
        build_preset({**choice.tables, **variant.tables})


def test_routes_of_a_preset_name_the_checkpoints_that_each_needs() -> None:
    needed = {
        variant.name: variant.needs
        for variant in variants_of("routes", read_models("embedded"), AxisOptions())
    }
    assert needed["route B alone"] == (SAM3,)
    assert [len(names) for names in needed.values()] == [2, 2, 1, 1, 0]


def test_a_model_that_was_not_trained_for_it_is_not_asked_for_four_points() -> None:
    reasons = [
        variant.impossible for variant in variants_of("combinations", read_models("embedded"), AxisOptions())
    ]
    assert [bool(reason) for reason in reasons] == [False, False, False, True, True]
    assert all(v.impossible for v in variants_of("combinations", read_models("oracle"), AxisOptions()))
    own = variants_of("combinations", read_models("oracle+embedded"), AxisOptions())
    assert not any(variant.impossible for variant in own)
