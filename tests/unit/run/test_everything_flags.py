"""The options that ask for everything, as a request."""

from __future__ import annotations

from typing import Any

import pytest
from job_files import load_job

from pipeline.errors import InputError
from pipeline.run.everything_flags import CROP_SHARE, POINTS_PER_SIDE

BASE = ("--source", "scene.tif", "--whole-scene", "--preset", "mobile-sam", "--out", "out")


def config_of(*words: str) -> Any:
    job = load_job("segment_region")
    return job.request_of(job.parser().parse_args([*BASE, *words])).config


def test_points_are_counted_along_a_tile() -> None:
    plain = config_of("--everything")
    assert (plain.prompter.kind, plain.queries) == ("grid", ("everything",))
    assert plain.prompter.point_spacing_px == 1024 / POINTS_PER_SIDE
    assert (
        config_of("--everything", "--tile", "512", "--points-per-side", "8").prompter.point_spacing_px == 64
    )
    metres = config_of("--everything", "--point-spacing-m", "2.5").prompter
    assert metres.result_parameters() == {"kind": "grid", "model": "every 2.5 m"}
    assert config_of("--everything", "--query", "roofs").queries == ("roofs",)


def test_a_label_raster_may_draw() -> None:
    oracle = config_of("--everything", "--models", "oracle:/data/labels.tif")
    assert (oracle.prompter.kind, oracle.segmenter.kind) == ("grid", "oracle")


def test_crops_lie_over_the_preset_s_segmenter() -> None:
    cropping = config_of("--prompts", "p.geojson", "--crop-prompts").segmenter
    assert (cropping.kind, cropping.crop_share) == ("sam-onnx", CROP_SHARE)
    assert config_of("--prompts", "p.geojson", "--crop-prompts", "0.7").segmenter.crop_share == 0.7
    assert config_of("--prompts", "p.geojson").segmenter.crop_share == 0


def test_examples_lie_over_the_preset() -> None:
    examples = config_of("--everything", "--examples", "/data/m.geojson").preset.examples
    assert (examples.marks, examples.threshold) == ("/data/m.geojson", 0.5)
    words = ("--prompts", "p.geojson", "--examples", "/data/m.geojson", "--examples-threshold", "0.3")
    verifying = config_of(*words)
    assert (verifying.prompter.kind, verifying.preset.examples.threshold) == ("vector", 0.3)
    assert not config_of("--everything").preset.examples.on


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--everything", "--prompts", "p.geojson"), "exclude each other"),
        (("--points-per-side", "8", "--query", "x"), "--points-per-side is for --everything"),
        (("--everything", "--points-per-side", "8", "--point-spacing-m", "2"), "exclude each other"),
        (("--everything", "--points-per-side", "0"), "at least 1"),
        (("--everything", "--point-spacing-m", "0"), "positive number of metres"),
        (("--everything", "--point-spacing-m", "nan"), "positive number of metres"),
        (("--everything", "--query", "a", "--query", "b"), "reads no query"),
        (("--everything", "--crop-prompts"), "exclude each other"),
        (("--examples", "m.geojson"), "something must draw them"),
        (("--prompts", "p.geojson", "--crop-prompts", "0"), "above 0 and at most 1"),
        (("--everything", "--examples-threshold", "0.5"), "--examples-threshold is for --examples"),
        (("--everything", "--examples", "m.geojson", "--examples-threshold", "2"), "must be a probability"),
    ],
)
def test_what_does_not_fit_together_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config_of(*words)
