"""The command line of jobs/segment_region.py as a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from job_files import load_job

from pipeline.errors import InputError

BASE = ("--source", "scene.tif", "--whole-scene", "--query", "tanks", "--out", "out")


def config_of(*words: str) -> Any:
    job = load_job("segment_region")
    return job.request_of(job.parser().parse_args([*BASE, *words])).config


def test_files_that_workers_open_are_named_absolutely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's working directory is another one than the driver's."""
    monkeypatch.chdir(tmp_path)
    assert config_of("--prompts", "known/tanks.geojson").prompter.model == str(
        tmp_path / "known" / "tanks.geojson"
    )
    oracle = config_of("--models", "oracle:labels.tif?noise=strong&seed=7")
    assert (
        oracle.prompter.model
        == oracle.segmenter.checkpoint
        == f"oracle:{tmp_path}/labels.tif?noise=strong&seed=7"
    )


@pytest.mark.parametrize(
    "text",
    [
        "oracle:/data/labels.tif?noise=mild",
        "oracle:https://h/labels.tif",
        "oracle:",
        "oracle:?noise=mild",
        "gpt",
    ],
)
def test_what_is_absolute_or_no_path_stays(text: str) -> None:
    assert config_of("--models", text).prompter.model == text


def test_how_pixels_are_read_lies_over_the_preset() -> None:
    load = config_of("--nodata", "-9999", "--collar", "black", "--scale", "0,3000").load
    assert (load.nodata, load.collar, load.scale) == ("-9999", "black", (0.0, 3000.0))
    assert (load.resampling, load.percentiles) == (config_of().load.resampling, config_of().load.percentiles)
    assert (config_of().load.nodata, config_of().load.collar, config_of().load.scale) == (
        "file",
        "auto",
        None,
    )


@pytest.mark.parametrize(
    "words", [("--nodata", "dark"), ("--scale", "1"), ("--scale", "a,b"), ("--scale", "9,1")]
)
def test_pixels_that_cannot_be_read_so_are_refused(words: tuple[str, str]) -> None:
    with pytest.raises(InputError):
        config_of(*words)


def test_a_url_of_prompts_stays() -> None:
    assert config_of("--prompts", "https://h/tanks.geojson").prompter.model == "https://h/tanks.geojson"


def test_the_runner_is_left_to_the_size_of_the_run_unless_one_is_named() -> None:
    job = load_job("segment_region")
    assert job.request_of(job.parser().parse_args([*BASE])).runner == "auto"
    assert job.request_of(job.parser().parse_args([*BASE, "--runner", "ray"])).runner == "ray"
    again = load_job("restitch_region")
    assert again.request_of(again.parser().parse_args(["--run", "out"])).runner == "auto"


@pytest.mark.parametrize(
    "bbox",
    [
        ("--bbox", "-1e-05", "51.5", "0.0015", "51.5015"),
        ("--bbox", "-1.5E-3", "-2e-3", ".5", "1e-3"),
        ("--bbox", "-1e-05,51.5,0.0015,51.5015"),
        ("--bbox=-1e-05,51.5,0.0015,51.5015",),
    ],
)
def test_small_negative_numbers_are_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bbox: tuple[str, ...]
) -> None:
    """The command line is read to its end: what is missing is the raster."""
    missing = tmp_path / "missing.tif"
    words = ["--source", str(missing), *bbox, "--query", "tanks", "--out", str(tmp_path / "out")]
    assert load_job("segment_region").main(words) == 2
    assert f"A source file must exist. Got: {missing}" in capsys.readouterr().err


def test_clouds_are_masked_by_rule_and_limited_per_tile() -> None:
    config = config_of("--mask", "SCL in (3,8)", "--mask-file", "{stem}_SCL.tif", "--max-cloud-tile", "30")
    assert (config.source.mask, config.source.mask_file) == ("SCL in (3,8)", "{stem}_SCL.tif")
    assert config.tiles.max_cloud_share == 0.3
    assert config_of().tiles.max_cloud_share == 0.8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--mask", "SCL less than 3"), "--mask"),
        (("--max-cloud-tile", "101"), "--max-cloud-tile"),
        (("--max-cloud-tile", "nan"), "--max-cloud-tile"),
    ],
)
def test_what_clouds_cannot_be_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=rf"{said}.* To fix: "):
        config_of(*words)


@pytest.mark.parametrize("text", ["-1", "inf", "nan"])
def test_a_grace_that_is_no_time_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--source", "a.tif", "--whole-scene", "--query", "tanks", "--out", "out", f"--grace={text}"]
    assert load_job("segment_region").main(words) == 2
    assert "--grace must be seconds, from 0 up" in capsys.readouterr().err
